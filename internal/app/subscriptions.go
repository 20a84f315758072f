package app

import (
	"fmt"
	"net/url"

	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/events/outbox/queues"
	"meshlite.dev/internal/httpcall"
	"meshlite.dev/internal/policy"
)

// openSubscriptions makes what carries out EventSubscriptions, with the role that
// does. Without a broker events wait in the log of each replica, and each
// delivers its own.
func (a *app) openSubscriptions(cfg Config) error {
	e := a.events
	if e == nil || e.box == nil || !cfg.has("events") {
		return nil
	}
	proxy, err := url.Parse(cfg.AppProxy)
	if err != nil {
		return fmt.Errorf("--app-proxy: %w", err)
	}
	e.dispatcher = dispatch.New(dispatch.Config{
		Backend: queues.New(e.box), Client: httpcall.Through(proxy, 0), Source: e.teller.Source, Log: a.log,
	})
	return nil
}

// subscribe says which documents are in force.
func (e *eventRole) subscribe(r policy.Revision) {
	if e == nil || e.dispatcher == nil {
		return
	}
	var all []dispatch.Subscription
	for _, d := range r.Documents {
		if d.Subscription != nil {
			all = append(all, dispatch.Of(d.Namespace, d.Name, d.Subscription))
		}
	}
	e.dispatcher.Use(all)
}
