// Package crd is the policy carrier of Kubernetes: objects of our kinds in every
// namespace, followed by shared informers, and their status. It reads and
// writes no other object. Its main type is Source.
package crd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"meshlite.dev/internal/kube"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/gather"
	"meshlite.dev/internal/store"
)

// askAgain is how long it takes until a kind that is not served is asked for
// again.
const askAgain = 5 * time.Second

// ErrCredentials reports that the API server refuses who asks.
var ErrCredentials = errors.New("policy/crd: credentials refused")

// Config of a Source. REST is required; zero durations stand for
// gather.Default's.
type Config struct {
	REST *rest.Config
	gather.Timing
	// Known returns the documents in force when Run begins; nil: none.
	Known func() []*policy.Document
	Log   *slog.Logger // nil discards
}

// Source proposes the policies of a Kubernetes API.
type Source struct {
	log    *slog.Logger
	client *rest.RESTClient
	gather *gather.Gatherer[item]
	health *health

	// Owned by Run.
	informers map[string]cache.SharedIndexInformer // by kind
	last      state                                // read last

	kept atomic.Bool // last holds objects whose kind is not served
}

var _ policy.Source = (*Source)(nil)

// state is every object by its place.
type state = gather.State[item]

// New returns a source that calls nothing until Run.
func New(cfg Config) (*Source, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	client, err := newClient(cfg.REST)
	if err != nil {
		return nil, err
	}
	s := &Source{log: cfg.Log, client: client}
	s.gather = gather.New(gather.Config[item]{
		Timing: cfg.Timing, Known: cfg.Known, Log: cfg.Log.With("source", cfg.REST.Host),
		Read: s.read, Reread: s.list, Decode: decode,
	})
	s.health = newHealth(s.gather)
	return s, nil
}

// Problem says why what is in force may be older than the objects; "" where all
// is well.
func (s *Source) Problem() string { return s.gather.Problem() }

// Run implements policy.Source. The first set is proposed once every kind is
// listed; later ones once edits have been quiet. While the API server is away,
// or does not serve a kind, what was proposed of it stays.
func (s *Source) Run(ctx context.Context, propose func(policy.Proposal)) error {
	ctx, stop := context.WithCancel(kube.WithLog(ctx, s.log))
	var wg sync.WaitGroup
	defer func() { stop(); wg.Wait() }()
	refused := make(chan error, len(resources))
	s.informers = map[string]cache.SharedIndexInformer{}
	for kind := range resources {
		informer, err := s.informer(kind, refused)
		if err != nil {
			return fmt.Errorf("follow %s in Kubernetes: %w", kind, err)
		}
		s.informers[kind] = informer
		wg.Go(func() { informer.RunWithContext(ctx) })
	}
	for _, informer := range s.informers {
		select {
		case <-informer.HasSyncedChecker().Done():
		case err := <-refused:
			return fmt.Errorf("%w: %w", ErrCredentials, err)
		case <-ctx.Done():
			return nil
		}
	}
	s.last = s.cached()
	wg.Go(func() { s.lookAgain(ctx) })
	s.gather.Run(ctx, s.last, propose)
	return nil
}

// lookAgain makes gather read for as long as objects are kept: that their kind
// is served again is told by no event.
func (s *Source) lookAgain(ctx context.Context) {
	for store.Rest(ctx, askAgain) {
		if s.kept.Load() {
			s.gather.Touch()
		}
	}
}

// cached is what the informers know.
func (s *Source) cached() state {
	out := state{}
	for kind, informer := range s.informers {
		for _, o := range informer.GetStore().List() {
			out[place(kind, o.(*object))] = itemOf(o.(*object))
		}
	}
	return out
}

// read is cached, with a second look at what is gone: a definition that is
// deleted takes all of its objects along, and that is no wish of their authors.
func (s *Source) read(ctx context.Context) (state, bool) {
	next := s.cached()
	var lost []string
	for at := range s.last {
		if _, ok := next[at]; !ok {
			lost = append(lost, at)
		}
	}
	kept := false
	var absent error
	if len(lost) > 0 {
		served, err := s.served(ctx)
		if err != nil {
			s.health.note(ctx, "", err)
			return nil, false
		}
		absent = unserved(served)
		for _, at := range lost {
			if !served[kindOf(at)] {
				next[at], kept = s.last[at], true
			}
		}
	}
	s.health.note(ctx, "", absent)
	s.kept.Store(kept)
	s.last = next
	return next, true
}
