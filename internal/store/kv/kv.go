// Package kv is the store of several replicas: Consul's key-value store, below
// one prefix. Reads are consistent; a write is one transaction.
package kv

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"meshlite.dev/internal/store"
)

// DefaultPrefix is the folder of every key.
const DefaultPrefix = "mesh/"

// Limits of one transaction, below Consul's own (128 operations, 512 KiB):
// https://developer.hashicorp.com/consul/api-docs/txn
const (
	maxOps   = 120
	maxBytes = 350 << 10
	zipOver  = 32 << 10 // a larger value is stored gzipped
	timeout  = 10 * time.Second
)

// Config says which Consul; the zero value is that of CONSUL_HTTP_ADDR with
// Consul's other variables.
type Config struct {
	Addr, Token string
	Prefix      string       // default DefaultPrefix
	Name        string       // of this process, shown in the locks that it holds; default "meshlite"
	Log         *slog.Logger // of locks that cannot be had; nil is silent
}

// Store implements store.Store.
type Store struct {
	kv       *api.KV
	txn      *api.Txn
	sessions *api.Session
	prefix   string
	name     string
	log      *slog.Logger
}

var _ store.Store = (*Store)(nil)

// New returns a store that reads nothing yet.
func New(cfg Config) (*Store, error) {
	c := api.DefaultConfig()
	if cfg.Addr != "" {
		c.Address = cfg.Addr
	}
	if cfg.Token != "" {
		c.Token, c.TokenFile = cfg.Token, ""
	}
	client, err := api.NewClient(c)
	if err != nil {
		return nil, fmt.Errorf("set up the client for Consul at %s: %w", c.Address, err)
	}
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	if cfg.Name == "" {
		cfg.Name = "meshlite"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Store{client.KV(), client.Txn(), client.Session(), cfg.Prefix, cfg.Name, cfg.Log}, nil
}

func query(ctx context.Context) (*api.QueryOptions, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	return (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx), cancel
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	q, cancel := query(ctx)
	defer cancel()
	pair, _, err := s.kv.Get(s.prefix+key, q)
	if err != nil {
		return store.Entry{}, fmt.Errorf("read %s of Consul: %w", s.prefix+key, err)
	}
	if pair == nil {
		return store.Entry{}, store.ErrNotFound
	}
	return s.entry(pair)
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]store.Entry, error) {
	q, cancel := query(ctx)
	defer cancel()
	pairs, _, err := s.kv.List(s.prefix+prefix, q)
	if err != nil {
		return nil, fmt.Errorf("list %s of Consul: %w", s.prefix+prefix, err)
	}
	out := make([]store.Entry, 0, len(pairs))
	for _, p := range pairs {
		e, err := s.entry(p)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b store.Entry) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

func (s *Store) entry(p *api.KVPair) (store.Entry, error) {
	value, err := unzip(p.Value)
	if err != nil {
		return store.Entry{}, fmt.Errorf("read %s of Consul: %w", p.Key, err)
	}
	return store.Entry{Key: strings.TrimPrefix(p.Key, s.prefix), Value: value, Version: p.ModifyIndex}, nil
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, ops ...store.Op) error {
	var puts, checked, deletes api.TxnOps
	for _, op := range ops {
		t, err := s.ops(op)
		switch {
		case err != nil:
			return err
		case op.Check:
			checked = append(checked, t...)
		case op.Value == nil:
			deletes = append(deletes, t...)
		default:
			puts = append(puts, t...)
		}
	}
	if len(checked) > maxOps {
		return fmt.Errorf("commit to Consul: %d operations on checked keys; a transaction takes %d", len(checked), maxOps)
	}
	all := slices.Concat(puts, checked, deletes)
	if fits(all) {
		_, err := s.transact(ctx, all)
		return err
	}
	if err := s.compare(ctx, ops); err != nil {
		return err
	}
	if err := s.inParts(ctx, puts); err != nil {
		return err
	}
	if _, err := s.transact(ctx, checked); err != nil { // where it is too large Consul tells
		return err
	}
	return s.inParts(ctx, deletes)
}

// compare answers ErrConflict where a checked op would.
func (s *Store) compare(ctx context.Context, ops []store.Op) error {
	for _, op := range ops {
		if !op.Check {
			continue
		}
		e, err := s.Get(ctx, op.Key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if e.Version != op.IfVersion {
			return store.ErrConflict
		}
	}
	return nil
}

func (s *Store) inParts(ctx context.Context, ops api.TxnOps) error {
	for len(ops) > 0 {
		n := fitting(ops)
		if _, err := s.transact(ctx, ops[:n]); err != nil {
			return err
		}
		ops = ops[n:]
	}
	return nil
}

func fits(ops api.TxnOps) bool { return len(ops) <= maxOps && size(ops) <= maxBytes }

func size(ops api.TxnOps) (n int) {
	for _, o := range ops {
		n += len(o.KV.Value) + len(o.KV.Key)
	}
	return n
}

// fitting is how many of ops fit one transaction; one always does.
func fitting(ops api.TxnOps) int {
	n, bytes := 0, 0
	for n < min(len(ops), maxOps) && (n == 0 || bytes+size(ops[n:n+1]) <= maxBytes) {
		bytes += size(ops[n : n+1])
		n++
	}
	return n
}

// ops are the operations of one op of ours.
func (s *Store) ops(op store.Op) (api.TxnOps, error) {
	kv := api.KVTxnOp{Key: s.prefix + op.Key, Index: op.IfVersion}
	if op.Value != nil {
		value, err := zip(op.Value)
		if err != nil {
			return nil, err
		}
		kv.Value, kv.Flags = value, rand.Uint64() // Consul counts no change where all stays the same
	}
	var verbs []api.KVOp
	switch {
	case op.Value == nil && op.Check && op.IfVersion == 0:
		verbs = []api.KVOp{api.KVCheckNotExists}
	case op.Value == nil && op.Check: // the second alone takes a key that is gone for deleted
		verbs = []api.KVOp{api.KVCheckIndex, api.KVDeleteCAS}
	case op.Value == nil:
		verbs = []api.KVOp{api.KVDelete}
	case op.Check:
		verbs = []api.KVOp{api.KVCAS} // with index 0: the key must not exist
	default:
		verbs = []api.KVOp{api.KVSet}
	}
	var out api.TxnOps
	for _, verb := range verbs {
		one := kv
		one.Verb = verb
		out = append(out, &api.TxnOp{KV: &one})
	}
	return out, nil
}

// transact runs one transaction and returns the index of what it wrote.
func (s *Store) transact(ctx context.Context, ops api.TxnOps) (uint64, error) {
	if len(ops) == 0 {
		return 0, nil
	}
	q, cancel := query(ctx)
	defer cancel()
	ok, resp, _, err := s.txn.Txn(ops, q)
	if err != nil {
		return 0, fmt.Errorf("commit to Consul: %w", err)
	}
	if !ok {
		return 0, refusal(ops, resp.Errors)
	}
	for _, r := range resp.Results { // a deletion has none, a check that of another write
		if r.KV != nil && slices.ContainsFunc(ops, func(o *api.TxnOp) bool { return writes(o.KV.Verb) && o.KV.Key == r.KV.Key }) {
			return r.KV.ModifyIndex, nil
		}
	}
	return 0, nil
}

func writes(v api.KVOp) bool { return v == api.KVSet || v == api.KVCAS }

// refusal is why Consul applied nothing of ops: the lost lock before a conflict,
// which may be its consequence, before other faults.
func refusal(ops api.TxnOps, found api.TxnErrors) error {
	var faults []error
	conflict := false
	for _, e := range found {
		switch {
		case e.OpIndex < len(ops) && ops[e.OpIndex].KV.Verb == api.KVCheckSession:
			return store.ErrLost
		case e.OpIndex < len(ops) && conditional(ops[e.OpIndex].KV.Verb):
			conflict = true
		default:
			faults = append(faults, errors.New(e.What))
		}
	}
	if conflict {
		return store.ErrConflict
	}
	return fmt.Errorf("commit to Consul: %w", errors.Join(faults...))
}

func conditional(v api.KVOp) bool {
	return v == api.KVCAS || v == api.KVDeleteCAS || v == api.KVCheckNotExists || v == api.KVCheckIndex
}

// gzipMark begins a stored value that is gzipped; the store's own values are
// JSON and never begin so.
var gzipMark = []byte{0x1f, 0x8b}

func zip(value []byte) ([]byte, error) {
	if len(value) <= zipOver && !bytes.HasPrefix(value, gzipMark) {
		return value, nil
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(value)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("compress a value: %w", err)
	}
	return b.Bytes(), nil
}

func unzip(value []byte) ([]byte, error) {
	if !bytes.HasPrefix(value, gzipMark) {
		if value == nil {
			value = []byte{} // Consul does not tell empty from absent
		}
		return value, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(value))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, 64<<20))
}
