// Package kv is the policy carrier of Consul's key-value store: one document a
// key, mesh/policies/KIND/NAMESPACE/NAME, its value JSON. One blocking query
// follows the prefix.
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
	"time"

	"github.com/hashicorp/consul/api"

	"meshlite.dev/internal/policy"
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
	Prefix      string
	Quiet       time.Duration // gathers edits: proposed once nothing changed for so long
	AtMost      time.Duration // bounds that wait
	Log         *slog.Logger
}

// Default returns the values in use where a field is zero.
func Default() Config {
	return Config{Prefix: DefaultPrefix, Quiet: 2 * time.Second, AtMost: 10 * time.Second}
}

// Source proposes the documents below a prefix.
type Source struct {
	cfg Config
	kv  *api.KV
}

var _ policy.Source = (*Source)(nil)

// New returns a source that reads nothing until Run.
func New(cfg Config) (*Source, error) {
	d := Default()
	if cfg.Prefix == "" {
		cfg.Prefix = d.Prefix
	}
	if cfg.Quiet <= 0 {
		cfg.Quiet = d.Quiet
	}
	if cfg.AtMost <= 0 {
		cfg.AtMost = max(d.AtMost, cfg.Quiet)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	client, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	return &Source{cfg: cfg, kv: client.KV()}, nil
}

// Run implements policy.Source. The first set is proposed as soon as Consul
// answers; later ones once edits have been quiet. While Consul is away the
// last proposal stays.
func (s *Source) Run(ctx context.Context, propose func(policy.Proposal)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	states, ended := make(chan folder), make(chan struct{})
	var failed error // of follow, once ended is closed
	go func() {
		defer close(ended)
		failed = s.follow(ctx, states)
	}()
	defer func() { stop(); <-ended }()
	quiet := time.NewTimer(time.Hour)
	defer quiet.Stop()
	var last, next folder
	var first time.Time // of the edits that wait
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
			return failed
		case next = <-states:
			now := time.Now()
			if last == nil {
				last = next
				propose(last.proposal(s.cfg.Prefix))
				continue
			}
			if first.IsZero() {
				first = now
			}
			quiet.Reset(max(min(s.cfg.Quiet, first.Add(s.cfg.AtMost).Sub(now)), 0))
		case <-quiet.C:
			if first.IsZero() || next == nil {
				continue
			}
			first = time.Time{}
			if !next.equal(last) {
				last = next
				propose(last.proposal(s.cfg.Prefix))
			}
		}
	}
}

// follow sends each state of the prefix. It returns an error only where the
// very first answer refuses the token.
func (s *Source) follow(ctx context.Context, states chan<- folder) error {
	var index uint64
	var known folder
	pause := backoffMin
	for {
		state, at, err := s.read(ctx, index)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && known == nil && forbidden(err):
			return fmt.Errorf("%w: %w", ErrToken, err)
		case err != nil:
			if pause == backoffMin {
				s.cfg.Log.ErrorContext(ctx, "policies in Consul cannot be read; those in force stay", "prefix", s.cfg.Prefix, "err", err)
			}
			if !rest(ctx, pause/2+rand.N(pause)) {
				return nil
			}
			pause, index = min(2*pause, backoffMax), 0
			continue
		}
		pause = backoffMin
		if at < index {
			at = 0 // Consul was restored: read anew
		}
		index = at
		if known != nil && state.equal(known) {
			continue
		}
		if known != nil && state.lostHalf(known) {
			// A token that lost its rights reads nothing and no error: only a
			// second, consistent read that hides nothing is believed.
			if state, err = s.confirm(ctx); err != nil {
				s.cfg.Log.ErrorContext(ctx, "most policies are gone from Consul, and a second read does not confirm it; those in force stay", "err", err)
				if !rest(ctx, backoffMax/2+rand.N(backoffMax)) {
					return nil
				}
				index = 0
				continue
			}
		}
		known = state
		select {
		case states <- state:
		case <-ctx.Done():
			return nil
		}
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

func (s *Source) confirm(ctx context.Context) (folder, error) {
	state, _, err := s.read(ctx, 0)
	return state, err
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
type folder map[string]string

func (a folder) equal(b folder) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if other, ok := b[k]; !ok || other != v {
			return false
		}
	}
	return true
}

// lostHalf reports whether more than half of what was there is gone, and more
// than one document.
func (a folder) lostHalf(before folder) bool {
	lost := 0
	for k := range before {
		if _, ok := a[k]; !ok {
			lost++
		}
	}
	return lost > 1 && 2*lost > len(before)
}

func (a folder) proposal(prefix string) policy.Proposal {
	var parts []policy.Proposal
	for key, value := range a {
		parts = append(parts, decode(prefix, key, value))
	}
	return policy.Join(parts...)
}

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
