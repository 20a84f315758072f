package app

import (
	"context"
	"fmt"
	"net/url"

	"golang.org/x/sync/errgroup"

	"meshlite.dev/internal/admin"
	brokerqueues "meshlite.dev/internal/events/amqp/queues"
	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/events/outbox/queues"
	"meshlite.dev/internal/events/pauses"
	"meshlite.dev/internal/httpcall"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/store"
)

// subscriptions are what carries EventSubscriptions out. Without a broker events
// wait in the log of each replica, and each delivers its own; with one, replicas
// share its queues.
type subscriptions struct {
	*dispatch.Dispatcher
	*pauses.Keeper
	backend dispatch.Backend
	end     func() // of the backend
}

var _ admin.Subscriptions = (*subscriptions)(nil)

// openSubscriptions makes them, with the role; nil without it or the log. where is
// what replicas share, or this one's own store.
func (a *app) openSubscriptions(cfg Config, where store.Store) error {
	e := a.events
	if e == nil || e.box == nil || !cfg.has("events") {
		return nil
	}
	proxy, err := url.Parse(cfg.AppProxy)
	if err != nil {
		return fmt.Errorf("--app-proxy: %w", err)
	}
	s := &subscriptions{backend: queues.New(e.box), end: func() {}}
	if e.broker != nil {
		b := brokerqueues.New(e.broker, queues.Memory{Log: e.box}, e.tell, a.log)
		s.backend, s.end = b, b.Close
	}
	s.Dispatcher = dispatch.New(dispatch.Config{Backend: s.backend, Client: httpcall.Through(proxy, 0), Source: e.teller.Source, Log: a.log})
	s.Keeper = pauses.New(where, s.Pause, a.log)
	e.subscriptions = s
	return nil
}

// use says which documents are in force.
func (s *subscriptions) use(r policy.Revision) {
	if s == nil {
		return
	}
	var all []dispatch.Subscription
	var keys []string
	for _, d := range r.Documents {
		if d.Subscription != nil {
			one := dispatch.Of(d.Namespace, d.Name, d.Subscription)
			all, keys = append(all, one), append(keys, one.Key())
		}
	}
	s.Dispatcher.Use(all)
	s.Keeper.Use(keys)
}

// run delivers until ctx ends.
func (s *subscriptions) run(ctx context.Context) error {
	if s == nil {
		return nil
	}
	defer s.end()
	var g errgroup.Group
	g.Go(func() error { return s.Dispatcher.Run(ctx) })
	g.Go(func() error { return s.Keeper.Run(ctx) })
	return g.Wait()
}

// SetPaused implements admin.Subscriptions.
func (s *subscriptions) SetPaused(ctx context.Context, key string, paused bool, reason string) error {
	return s.Set(ctx, key, paused, reason)
}

// Letters implements admin.Subscriptions.
func (s *subscriptions) Letters(key string) (dispatch.DeadLetters, dispatch.Subscription, bool) {
	one, ok := s.Of(key)
	return s.backend, one, ok
}

// page is what the admin API asks; nil where nothing is delivered.
func (e *eventRole) page() admin.Subscriptions {
	if e == nil || e.subscriptions == nil {
		return nil
	}
	return e.subscriptions
}

// use says which documents are in force.
func (e *eventRole) use(r policy.Revision) {
	if e != nil {
		e.subscriptions.use(r)
	}
}

// sharedOr is what replicas share, or this one's own store.
func sharedOr(shared sharedStore, own store.Store) store.Store {
	if shared != nil {
		return shared
	}
	return own
}
