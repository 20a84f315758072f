package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"

	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/internal/xds/server/xdstest"
)

// bad makes an Envoy refuse single contents.
func bad(rs ...*resource.Resource) func(string, *discoveryv3.Resource) string {
	return func(typeURL string, x *discoveryv3.Resource) string {
		for _, r := range rs {
			if r.Type == typeURL && r.Name == x.GetName() && r.Version == x.GetVersion() {
				return "missing ): a(b"
			}
		}
		return ""
	}
}

// P7: a refused resource stays at its last good version, on that proxy; what
// was published beside it arrives.
func TestP7QuarantinePerResource(t *testing.T) {
	for _, partial := range []bool{false, true} {
		t.Run(fmt.Sprintf("partly applied %v", partial), func(t *testing.T) {
			bubble(t, nil, two(), func(t *testing.T, r *rig) {
				poison := xdstest.Route("orders", 13*time.Second, "orders")
				e, other := envoy("c-1", "client"), envoy("c-2", "client")
				e.Refuse, e.Partial = bad(poison), partial
				r.connect(e)
				r.connect(other)
				good := e.Has(resource.RouteType)["orders"]
				orders := xdstest.Service("orders", 8001)
				orders.Resources[5] = poison
				pay := xdstest.Tuned("pay", 3*time.Second, 9001)
				r.store.Apply([]resource.Set{orders, pay})
				synctest.Wait()
				if got := e.Has(resource.RouteType); got["orders"] != good || got["pay"] != pay.Resources[5].Version {
					t.Errorf("routes = %v, want the old orders and the new pay", got)
				}
				if got := other.Has(resource.RouteType)["orders"]; got != poison.Version {
					t.Errorf("the proxy that accepts it has %s", got)
				}
				want := []server.Rejection{{
					Type: "RDS", Resource: "orders", Service: "orders", Policies: []string{"rp/default/orders@1"},
					Message: "missing ): a(b", Version: poison.Version, LastGood: good, At: r.seen.rejected[0].At,
				}}
				p, _ := r.srv.Proxy("c-1")
				if diff := cmp.Diff(want, p.Errors); diff != "" {
					t.Errorf("rejections (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(want, r.seen.rejected); diff != "" {
					t.Errorf("told the observer (-want +got):\n%s", diff)
				}
				if p.Status != server.Error {
					t.Errorf("status = %s", p.Status)
				}
				states, _ := r.srv.Resources("c-1")
				i := slices.IndexFunc(states, func(s server.ResourceState) bool { return s.Type == resource.RouteType && s.Name == "orders" })
				if s := states[i]; s.Status != server.Error || s.Acked != good || s.Wanted != poison.Version || s.Message != "missing ): a(b" || s.Body == nil {
					t.Errorf("state = %+v", s)
				}
				e.Log()
				r.store.Apply([]resource.Set{xdstest.Tuned("orders", 4*time.Second, 8001)})
				synctest.Wait()
				p, _ = r.srv.Proxy("c-1")
				if p.Status != server.Synced || len(p.Errors) != 0 {
					t.Errorf("after a correction: %s %v", p.Status, p.Errors)
				}
			})
		})
	}
}

// P8: refused content is never sent again unchanged, not after other changes,
// not after a reconnect, not when it comes back.
func TestP8NoNackLoop(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		poison := xdstest.Cluster("orders", 13*time.Second)
		e := envoy("c-1", "client")
		e.Refuse = bad(poison)
		hang := r.connect(e)
		spoilt := xdstest.Service("orders", 8001)
		spoilt.Resources[0] = poison
		r.store.Apply([]resource.Set{spoilt})
		synctest.Wait()
		nacks := e.Nacks
		if nacks != 1 {
			t.Errorf("%d refusals of a content that travels alone, want 1", nacks)
		}
		e.Log()
		for i := range 20 {
			next := xdstest.Service("orders", 8001, 8002+uint32(i))
			next.Resources[0] = poison
			r.store.Apply([]resource.Set{next})
			synctest.Wait()
		}
		hang()
		hang = r.connect(e)
		r.store.Apply([]resource.Set{xdstest.Service("orders", 8001)}) // the last good comes back
		synctest.Wait()
		if p, _ := r.srv.Proxy("c-1"); p.Status != server.Synced {
			t.Errorf("status = %s though the last good is in force again: %v", p.Status, p.Errors)
		}
		r.store.Apply([]resource.Set{spoilt}) // and the bad one again
		synctest.Wait()
		if p, _ := r.srv.Proxy("c-1"); p.Status != server.Error {
			t.Errorf("status = %s though the refused content is in force again", p.Status)
		}
		if e.Nacks != nacks {
			t.Errorf("%d refusals, want no more than %d:\n%s", e.Nacks, nacks, e.Log())
		}
		hang()
	})
}

// The first answer of a stream is a batch; a fault in it is singled out and
// the rest arrives, as do updates that Envoy lost with the batch.
func TestFaultInAFirstAnswerIsSingledOut(t *testing.T) {
	var sets []resource.Set
	for i := range 21 {
		sets = append(sets, xdstest.Service(fmt.Sprintf("s-%02d", i), 8000))
	}
	poison := sets[7].Resources[5]
	bubble(t, nil, sets, func(t *testing.T, r *rig) {
		e := envoy("c-1", "client")
		e.Refuse, e.Partial = bad(poison), true
		r.connect(e)
		has := e.Has(resource.RouteType)
		if len(has) != 20 || has["s-07"] != "" {
			t.Errorf("%d routes, want the 20 good ones", len(has))
		}
		if e.Nacks != 2 {
			t.Errorf("%d refusals, want one of the batch and one of the culprit", e.Nacks)
		}
		p, _ := r.srv.Proxy("c-1")
		if len(p.Errors) != 1 || p.Errors[0].Resource != "s-07" || p.Errors[0].LastGood != "" {
			t.Errorf("errors = %+v", p.Errors)
		}
	})
}

// A proxy that starts while a content is in quarantine elsewhere gets the
// last content that an Envoy accepted.
func TestNewProxyGetsTheLastGoodOfAnother(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		poison := xdstest.Route("orders", 13*time.Second, "orders")
		e := envoy("c-1", "client")
		e.Refuse = bad(poison)
		r.connect(e)
		good := e.Has(resource.RouteType)["orders"]
		spoilt := xdstest.Service("orders", 8001)
		spoilt.Resources[5] = poison
		r.store.Apply([]resource.Set{spoilt})
		synctest.Wait()
		fresh := envoy("c-2", "client")
		fresh.Refuse = bad(poison)
		r.connect(fresh)
		if got := fresh.Has(resource.RouteType)["orders"]; got != good {
			t.Errorf("route = %q, want the last good %q:\n%s", got, good, fresh.Log())
		}
		if p, _ := r.srv.Proxy("c-2"); p.Status != server.Error || len(p.Errors) != 1 || p.Errors[0].LastGood != good {
			t.Errorf("errors = %+v", p.Errors)
		}
	})
}

// A proxy that starts while routes are in quarantine, with no good ones to fall
// back on, has no scope that leads to them: it gets both once they are mended.
func TestNewProxyGetsMendedRoutes(t *testing.T) {
	poison := xdstest.Route("orders", 13*time.Second, "orders")
	spoilt := xdstest.Service("orders", 8001)
	spoilt.Resources[5] = poison
	bubble(t, nil, []resource.Set{spoilt}, func(t *testing.T, r *rig) {
		e := envoy("c-1", "client")
		e.Refuse = bad(poison)
		hang := r.connect(e)
		hang()
		again := envoy("c-1", "client") // has nothing, and the ledger knows
		again.Refuse = bad(poison)
		r.connect(again)
		if got := again.Has(resource.ScopedRouteType); len(got) != 0 || again.Nacks != 0 {
			t.Errorf("scopes %v that lead nowhere, %d refusals", got, again.Nacks)
		}
		mended := xdstest.Service("orders", 8001)
		r.store.Apply([]resource.Set{mended})
		synctest.Wait()
		if got := again.Has(resource.RouteType)["orders"]; got != mended.Resources[5].Version {
			t.Errorf("route = %q, want the mended one", got)
		}
		if got := again.Has(resource.ScopedRouteType); len(got) != 3 {
			t.Errorf("scopes = %v, want three", got)
		}
	})
}

// Content that no Envoy has accepted travels alone, what one has accepted
// travels together.
func TestUnprovenContentTravelsAlone(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		e := envoy("c-1", "client")
		r.connect(e)
		e.Log()
		sets := []resource.Set{xdstest.Tuned("orders", 2*time.Second, 8001, 8002), xdstest.Tuned("pay", 2*time.Second, 9001)}
		r.store.Apply(sets)
		synctest.Wait()
		log := e.Log()
		for _, line := range strings.Split(log, "\n") {
			if strings.Count(line, "+") != 1 && !strings.HasPrefix(line, "EDS") {
				t.Errorf("unproven content shares a response: %s", line)
			}
		}
		late := envoy("c-2", "client")
		r.connect(late)
		if got := strings.Count(late.Log(), "\n"); got != 4 {
			t.Errorf("%d responses of proven content, want one per type", got+1)
		}
	})
}

// A thousand new contents prove themselves a few per stream, so that most of
// them reach most proxies in batches.
func TestFleetSharesTheProving(t *testing.T) {
	var sets, next []resource.Set
	for i := range 200 {
		sets = append(sets, xdstest.Service(fmt.Sprintf("s-%03d", i), 8000))
		next = append(next, xdstest.Tuned(fmt.Sprintf("s-%03d", i), 2*time.Second, 8000))
	}
	bubble(t, func(c *server.Config) { c.Window = 10 }, sets, func(t *testing.T, r *rig) {
		var fleet []*xdstest.Envoy
		for i := range 20 {
			e := envoy(fmt.Sprintf("c-%02d", i), "client")
			r.connect(e)
			e.Log()
			fleet = append(fleet, e)
		}
		r.store.Apply(next)
		synctest.Wait()
		worst := 0
		for _, e := range fleet {
			worst = max(worst, len(e.Responses))
			if got := e.Has(resource.RouteType)["s-199"]; got != next[199].Resources[5].Version {
				t.Errorf("%s was not brought up to date", e.Node.GetId())
			}
		}
		if worst > 200 {
			t.Errorf("%d responses on one stream for 400 changes, want far fewer", worst)
		}
		t.Logf("at most %d responses for 400 changed resources", worst)
	})
}
