package app

import (
	"maps"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/status/report"
	"meshlite.dev/internal/store"
)

// openStatus makes the reporter. state is this process's own store, shared that
// of all replicas; nil where there is one replica.
func (a *app) openStatus(cfg Config, state store.Locker, shared sharedStore) error {
	out := report.Config{
		View: func() (compile.Result, policy.Revision, bool) {
			s, ok := a.state()
			return s.Result, s.Revision, ok
		},
		Fleet: a.xds.streams, Held: a.policies.rollouts.Held, Deliveries: a.deliveries, Lock: state, Log: a.log,
		Changed: func(before, now policy.Status) {
			a.hub.Publish(admin.StatusChanges(before, now)...)
			a.events.poke()
		},
	}
	if shared != nil {
		out.Lock, out.Board = shared, shared
	}
	var err error
	if out.Sink, err = openSink(cfg, a.log); err != nil {
		return err
	}
	a.status = report.New(out)
	return nil
}

// restated reports whether what documents are for may have changed: which there
// are, which services, and what is made of them. Endpoints come and go without.
func restated(before, next admin.State) bool {
	if before.At.IsZero() || before.Revision.Hash != next.Revision.Hash || len(before.Revision.Refused)+len(next.Revision.Refused) > 0 {
		return true
	}
	for _, name := range next.Result.Changed {
		was, had := before.Result.Model.Services.Get(name)
		is, has := next.Result.Model.Services.Get(name)
		if had != has || has && !sameDestinations(was, is) {
			return true
		}
	}
	return false
}

// sameDestinations relies on compile, which keeps the pointer of a destination
// that did not change.
func sameDestinations(a, b *mesh.Service) bool {
	return a.Namespace == b.Namespace && a.Synced == b.Synced && a.Default == b.Default && maps.Equal(a.ByCaller, b.ByCaller)
}
