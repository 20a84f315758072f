package app

import (
	"context"
	"fmt"
	"time"

	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/policy"
)

// onCatalog takes what the source publishes.
func (a *app) onCatalog(s catalog.Snapshot) {
	a.inbox.putCatalog(s, time.Now())
	a.lastGood.note(s)
	a.latch.Done("catalog")
}

// onRevision takes what is in force.
func (a *app) onRevision(r policy.Revision) {
	a.events.use(r)
	a.inbox.putRevision(r, a.want(compile.Remotes(r)), time.Now())
	a.latch.Done("policies")
}

// tell passes a published change on to those who watch.
func (a *app) tell(before, next admin.State) {
	a.understudy.follow(next.Snapshot)
	a.hub.Publish(admin.Changes(before, next)...)
	if restated(before, next) {
		a.status.Documents()
	} else {
		a.status.Proxies() // they have something new to fetch
	}
	a.events.poke()
}

// view is what is served now; nil before the first publish.
func (a *app) view() *admin.State { return a.builder.view.Load() }

func (a *app) state() (admin.State, bool) {
	if v := a.view(); v != nil {
		return *v, true
	}
	return admin.State{}, false
}

// vouched tells when the source last answered; false while all that is served
// comes from last known good.
func (a *app) vouched() (time.Time, bool) {
	s := a.catalog.Status()
	return lastRead(s), !s.Stale
}

// lastRead is the newest answer of any watch.
func lastRead(s catalog.Status) time.Time {
	var at time.Time
	for _, w := range s.Watches {
		if w.LastRead.After(at) {
			at = w.LastRead
		}
	}
	return at
}

// expiry refuses new proxies while all there is to serve is older than
// lastGoodMaxAge; connected ones keep what they have.
func expiry(source catalog.Source, kept catalog.LastGood) func() error {
	return func() error {
		if age := time.Since(kept.At); !kept.At.IsZero() && age > lastGoodMaxAge && source.Status().Stale {
			return fmt.Errorf("the catalog does not answer, and what is known of it is %s old: too old for a new proxy", age.Round(time.Minute))
		}
		return nil
	}
}

// watchFirst reports ready once the first state is published, and never takes
// it back: a source's outage is an alarm, not unreadiness.
func (a *app) watchFirst(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-a.builder.ready:
		a.xds.health.SetServingStatus("", healthv1.HealthCheckResponse_SERVING)
		a.latch.Done("configuration")
	}
	return nil
}

// watchReadiness tells the latch of a source that is away: an alarm, never
// unreadiness; and what its guard holds to whoever tells events. The sources have
// no event of their own for either.
func (a *app) watchReadiness(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		s := a.catalog.Status()
		a.holds.Store(&s.Holds)
		a.latch.Alarm("catalog", alarm(s))
		a.latch.Alarm("policies", a.policies.problem())
		a.latch.Alarm("events", a.events.problem())
		a.latch.Alarm("broker", a.events.waiting())
		select {
		case <-ctx.Done():
			a.latch.Stop()
			return nil
		case <-tick.C:
		}
	}
}

func alarm(s catalog.Status) string {
	switch {
	case s.Stale:
		return "serving last known good: " + s.LastError
	case !s.Connected && s.LastError != "":
		return s.LastError
	case len(s.Holds) > 0:
		return fmt.Sprintf("%d services are held back from losing instances", len(s.Holds))
	default:
		return ""
	}
}

// checks are the server's own lines of `meshctl doctor`.
func (a *app) checks(cfg Config) []func(context.Context) []adminapi.Check {
	checks := []func(context.Context) []adminapi.Check{admin.CheckFolder(cfg.StateDir)}
	for name, r := range a.reload {
		checks = append(checks, admin.CheckCertificate(name, time.Now, r.NotAfter, r.Problem))
	}
	if a.events != nil {
		checks = append(checks, a.events.check)
	}
	return checks
}
