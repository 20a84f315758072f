package kv

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/hashicorp/consul/api"

	"meshlite.dev/internal/policy"
)

// Bounds of a transaction. Consul takes 128 operations and a body of 512 KiB,
// in which values are in base64.
const (
	maxOps   = 100
	maxBytes = 320 << 10
)

// Writer writes the keys that a Source reads.
type Writer struct {
	txn    *api.Txn
	prefix string
}

var _ policy.Writer = (*Writer)(nil)

// NewWriter returns a writer with the credentials of cfg, else of Consul's own
// variables.
func NewWriter(cfg Config) (*Writer, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	client, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	return &Writer{client.Txn(), cfg.Prefix}, nil
}

func newClient(cfg Config) (*api.Client, error) {
	c := api.DefaultConfig()
	if cfg.Addr != "" {
		c.Address = cfg.Addr
	}
	if cfg.Token != "" {
		c.Token, c.TokenFile = cfg.Token, ""
	}
	if cfg.CAFile != "" {
		c.TLSConfig.CAFile = cfg.CAFile
	}
	client, err := api.NewClient(c)
	if err != nil {
		return nil, fmt.Errorf("set up the client for Consul at %s: %w", c.Address, err)
	}
	return client, nil
}

// Held implements policy.Writer. A key's version is its ModifyIndex.
func (w *Writer) Held(ctx context.Context, keys []policy.Key) (map[policy.Key]policy.Held, error) {
	out := map[policy.Key]policy.Held{}
	for len(keys) > 0 {
		n := min(len(keys), maxOps)
		var ops api.TxnOps
		for _, k := range keys[:n] {
			ops = append(ops, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVGetOrEmpty, Key: w.key(k)}})
		}
		pairs, err := w.commit(ctx, ops)
		if err != nil {
			return nil, fmt.Errorf("read policies in Consul: %w", err)
		}
		for _, k := range keys[:n] {
			pair, ok := pairs[w.key(k)]
			if !ok { // Consul leaves out what the token may not see
				return nil, fmt.Errorf("read policies in Consul: the token may not read %s; it needs key_prefix %q write", w.key(k), w.prefix)
			}
			if pair.ModifyIndex > 0 {
				out[k] = policy.Held{Text: pair.Value, Version: strconv.FormatUint(pair.ModifyIndex, 10)}
			}
		}
		keys = keys[n:]
	}
	return out, nil
}

func (w *Writer) key(k policy.Key) string { return w.prefix + k.String() }

// Check implements policy.Writer.
func (w *Writer) Check(ctx context.Context, changes []policy.Change) error {
	held, err := w.Held(ctx, policy.KeysOf(changes))
	if err != nil {
		return err
	}
	return policy.Refused(held, changes)
}

// Write implements policy.Writer. Up to 100 documents of 320 KiB are one
// transaction; more are several, in order, and an error names what is left out.
func (w *Writer) Write(ctx context.Context, changes []policy.Change) error {
	for done := 0; done < len(changes); {
		n := batch(changes[done:])
		var ops api.TxnOps
		for _, c := range changes[done : done+n] {
			op, err := w.op(c)
			if err != nil {
				return err
			}
			ops = append(ops, &api.TxnOp{KV: op})
		}
		_, err := w.commit(ctx, ops)
		if err != nil {
			if changed := w.Check(ctx, changes[done:done+n]); errors.Is(changed, policy.ErrChanged) {
				err = changed // Consul does not say what the key holds instead
			}
		}
		if err != nil && done > 0 {
			return fmt.Errorf("%d of %d documents are written, the rest is not: %w", done, len(changes), err)
		}
		if err != nil {
			return fmt.Errorf("write policies to Consul: %w", err)
		}
		done += n
	}
	return nil
}

// batch is how many of changes fit one transaction, at least one.
func batch(changes []policy.Change) int {
	size := 0
	for i, c := range changes {
		if c.Document != nil {
			text, _ := c.Document.Text() // op tells of a fault
			size += len(text)
		}
		if i == maxOps || i > 0 && size > maxBytes {
			return i
		}
	}
	return len(changes)
}

func (w *Writer) op(c policy.Change) (*api.KVTxnOp, error) {
	op := &api.KVTxnOp{Verb: api.KVDelete, Key: w.key(c.Key)}
	if c.Document != nil {
		text, err := c.Document.Text()
		if err != nil {
			return nil, err
		}
		op.Verb, op.Value = api.KVSet, text
	}
	switch c.Version {
	case "":
		return op, nil
	case policy.Absent:
		op.Verb = api.KVCheckNotExists
		if c.Document != nil {
			op.Verb = api.KVCAS // with index 0
		}
		return op, nil
	}
	index, err := strconv.ParseUint(c.Version, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%s: the version %q is no ModifyIndex", c.Key, c.Version)
	}
	op.Verb, op.Index = api.KVDeleteCAS, index
	if c.Document != nil {
		op.Verb = api.KVCAS
	}
	return op, nil
}

// commit runs one transaction and returns what it read, by key.
func (w *Writer) commit(ctx context.Context, ops api.TxnOps) (map[string]*api.KVPair, error) {
	ctx, cancel := context.WithTimeout(ctx, direct)
	defer cancel()
	ok, resp, _, err := w.txn.Txn(ops, (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	if err != nil {
		return nil, err
	}
	if !ok {
		var faults []error
		for _, e := range resp.Errors {
			faults = append(faults, errors.New(e.What))
		}
		return nil, errors.Join(faults...)
	}
	out := map[string]*api.KVPair{}
	for _, r := range resp.Results {
		if r.KV != nil {
			out[r.KV.Key] = r.KV
		}
	}
	return out, nil
}
