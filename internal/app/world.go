package app

import (
	"time"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/facts"
	"meshlite.dev/internal/events/teller"
	"meshlite.dev/internal/xds/server"
)

const (
	// staleAfter is how long a proxy may leave an answer open before it is told.
	staleAfter = 5 * time.Second
	// proxyGrace is how long after the start proxies may take to come back
	// before they are told to be gone.
	proxyGrace = time.Minute
)

// world is what is told of; false before anything is served.
func (a *app) world(replica string, started time.Time) (teller.World, bool) {
	s, ok := a.state()
	if !ok {
		return teller.World{}, false
	}
	now := time.Now()
	w := teller.World{
		Services: s.Result.Model.Services, Revision: s.Revision, Settled: now.Sub(started) > proxyGrace,
		Rollouts: toldRollouts(a.policies.rollouts.Kept()),
	}
	if holds := a.holds.Load(); holds != nil {
		w.HoldsKnown, w.Holds = true, toldHolds(*holds)
	}
	statuses := a.status.Statuses()
	w.Status = statuses.Of
	if statuses != nil {
		w.Statuses = statuses.List
	}
	for _, p := range a.xds.streams.Proxies() {
		if p.Connected {
			w.Proxies = append(w.Proxies, toldProxy(p, replica, now))
		}
	}
	return w, true
}

func toldProxy(p server.Proxy, replica string, now time.Time) facts.Proxy {
	out := facts.Proxy{ID: p.ID, Service: p.Service, Envoy: p.Envoy, Replica: replica, ConnectedAt: p.ConnectedAt}
	switch p.Status {
	case server.Synced:
		out.Sync = "synced"
	case server.Stale:
		if late(p, now) {
			out.Sync = "stale"
		}
	case server.Error:
		out.Sync = "nacked"
	}
	for _, r := range p.Errors {
		out.Errors = append(out.Errors, events.Rejection{Type: r.Type, Resource: r.Resource, Policies: r.Policies, Message: r.Message})
	}
	return out
}

// late reports whether something has waited for long.
func late(p server.Proxy, now time.Time) bool {
	for _, t := range p.Types {
		if t.InFlight > 0 && now.Sub(t.LastSent) > staleAfter {
			return true
		}
	}
	for _, h := range p.Held {
		if now.Sub(h.Since) > staleAfter {
			return true
		}
	}
	return false
}

// eventObserver has events told of proxies at once.
type eventObserver struct {
	server.NopObserver
	of func() *eventRole // nil is none
}

// Connected implements server.Observer.
func (o eventObserver) Connected(server.Proxy) { o.of().poke() }

// Disconnected implements server.Observer.
func (o eventObserver) Disconnected(string, string) { o.of().poke() }

// Rejected implements server.Observer.
func (o eventObserver) Rejected(string, server.Rejection) { o.of().poke() }
