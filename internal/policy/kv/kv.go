// Package kv is the policy carrier of Consul's key-value store: one document a
// key, mesh/policies/KIND/NAMESPACE/NAME, its value JSON. One blocking query
// follows the prefix. Whoever comes from Consul's own mesh gets its config
// entries from here too.
package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/gather"
)

// DefaultPrefix is the folder of the documents.
const DefaultPrefix = "mesh/policies/"

const (
	wait       = 60 * time.Second
	slack      = 15 * time.Second // Consul adds up to wait/16
	direct     = 10 * time.Second
	backoffMin = 500 * time.Millisecond
	backoffMax = 15 * time.Second
)

// ErrToken reports that Consul refuses the token.
var ErrToken = errors.New("policy/kv: token refused")

// Config of a Source. Zero values stand for those of Default; address, token
// and TLS come from Consul's own variables where they are empty.
type Config struct {
	Addr, Token string
	CAFile      string
	Prefix      string
	gather.Timing
	// Known returns the documents in force when Run begins; nil: none.
	Known func() []*policy.Document
	Log   *slog.Logger
}

// Default returns the values in use where a field is zero.
func Default() Config { return Config{Prefix: DefaultPrefix, Timing: gather.Default()} }

// Source proposes the documents below a prefix.
type Source struct {
	cfg    Config
	kv     *api.KV
	newest atomic.Pointer[folder] // read last
	gather *gather.Gatherer[string]
}

var _ policy.Source = (*Source)(nil)

// New returns a source that reads nothing until Run.
func New(cfg Config) (*Source, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	client, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	s := &Source{cfg: cfg, kv: client.KV()}
	s.gather = gather.New(gather.Config[string]{
		Timing: cfg.Timing, Known: cfg.Known, Log: cfg.Log.With("source", "kv:"+cfg.Prefix),
		Decode: func(key, value string) policy.Proposal { return decode(cfg.Prefix, key, value) },
		Read:   func(context.Context) (folder, bool) { return *s.newest.Load(), true },
		// A token that lost its rights reads nothing and no error: only a
		// consistent read that hides nothing confirms a loss.
		Reread: func(ctx context.Context) (folder, error) {
			state, _, err := s.read(ctx, 0)
			return state, err
		},
	})
	return s, nil
}

// Problem says why what is in force may be older than the keys; "" where all is
// well.
func (s *Source) Problem() string { return s.gather.Problem() }

// Run implements policy.Source. The first set is proposed as soon as Consul
// answers; later ones once edits have been quiet. While Consul is away the
// last proposal stays.
func (s *Source) Run(ctx context.Context, propose func(policy.Proposal)) error {
	first, index, err := s.next(ctx, 0, true)
	if err != nil || ctx.Err() != nil {
		return err
	}
	s.newest.Store(&first)
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.follow(ctx, index) })
	s.gather.Run(ctx, first, propose)
	stop()
	wg.Wait()
	return nil
}

// follow keeps the newest state and tells of each, until ctx ends.
func (s *Source) follow(ctx context.Context, index uint64) {
	for {
		state, at, _ := s.next(ctx, index, false)
		if ctx.Err() != nil {
			return
		}
		if at < index {
			at = 0 // Consul was restored: read anew
		}
		index = at
		if state.Equal(*s.newest.Load()) {
			continue
		}
		s.newest.Store(&state)
		s.gather.Touch()
	}
}

// next returns the state after index, trying until there is one. Only a token
// that the very first answer refuses is an error.
func (s *Source) next(ctx context.Context, index uint64, first bool) (folder, uint64, error) {
	pause := backoffMin
	for {
		state, at, err := s.read(ctx, index)
		if ctx.Err() != nil {
			return nil, 0, nil
		}
		if first && forbidden(err) {
			return nil, 0, fmt.Errorf("%w: %w", ErrToken, err)
		}
		s.gather.Trouble(ctx, err)
		if err == nil {
			return state, at, nil
		}
		if !rest(ctx, pause/2+rand.N(pause)) {
			return nil, 0, nil
		}
		pause, index = min(2*pause, backoffMax), 0
	}
}

func (s *Source) read(ctx context.Context, index uint64) (folder, uint64, error) {
	limit := direct
	if index > 0 {
		limit = wait + slack
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	pairs, meta, err := s.kv.List(s.cfg.Prefix, (&api.QueryOptions{WaitIndex: index, WaitTime: wait, RequireConsistent: index == 0}).WithContext(ctx))
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", s.cfg.Prefix, err)
	}
	if meta.ResultsFilteredByACLs {
		return nil, 0, fmt.Errorf("read %s: the token hides keys; it needs key_prefix %q read", s.cfg.Prefix, s.cfg.Prefix)
	}
	state := folder{}
	for _, p := range pairs {
		if !strings.HasSuffix(p.Key, "/") { // a folder of Consul's UI
			state[p.Key] = string(p.Value)
		}
	}
	return state, max(meta.LastIndex, 1), nil
}

func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func forbidden(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == http.StatusForbidden
}

// folder is every value below the prefix, by key.
type folder = gather.State[string]

// decode reads one key, whose path names the document too.
func decode(prefix, key, value string) policy.Proposal {
	source := "kv:" + key
	refuse := func(k policy.Key, path, text, reason string) policy.Proposal {
		return policy.Proposal{Refused: []policy.Refusal{{Key: k, Source: source, Faults: []policy.FieldError{{Source: source, Key: k, Path: path, Value: text, Reason: reason}}}}}
	}
	parts := strings.Split(strings.TrimPrefix(key, prefix), "/")
	if len(parts) != 3 {
		return refuse(policy.Key{}, "", "", "the key must be "+prefix+"KIND/NAMESPACE/NAME")
	}
	want := policy.Key{Kind: parts[0], Namespace: parts[1], Name: parts[2]}
	if !json.Valid([]byte(value)) {
		return refuse(want, "", "", "the value must be JSON")
	}
	p := policy.Decode(source, []byte(value))
	for i := range p.Refused {
		if p.Refused[i].Key.Name == "" {
			p.Refused[i].Key = want // the last good version stays
		}
	}
	switch {
	case len(p.Documents)+len(p.Refused) != 1:
		return refuse(want, "", "", "the value must be one document")
	case len(p.Documents) == 1 && p.Documents[0].Key != want:
		return refuse(want, "metadata", p.Documents[0].Key.String(), "must be what the key says, "+want.String())
	}
	return p
}
