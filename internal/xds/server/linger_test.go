package server_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/internal/xds/server/xdstest"
)

// splitAndBack leads orders to canary too, and then no more.
func splitAndBack() (split, back []resource.Set) {
	set := xdstest.Service("orders", 8001, 8002)
	set.Resources[5] = xdstest.Route("orders", time.Second, "orders", "canary")
	canary := xdstest.Only(xdstest.Service("canary", 8101), resource.ClusterType, resource.EndpointType)
	return []resource.Set{set, canary}, []resource.Set{two()[0], {Service: "canary"}}
}

// A cluster, with its endpoints, outlives the routes to it, for requests that
// have chosen their route already; the proxy counts as settled meanwhile.
func TestClusterLingersBehindItsRoutes(t *testing.T) {
	bubble(t, func(c *server.Config) { c.Linger = 30 * time.Second }, two(), func(t *testing.T, r *rig) {
		split, back := splitAndBack()
		r.store.Apply(split)
		h := newHand(t, r, "orders", "pay", "canary")
		r.store.Apply(back)
		if diff := cmp.Diff([]string{"RDS +orders"}, h.settle()); diff != "" {
			t.Errorf("at first (-want +got):\n%s", diff)
		}
		<-time.After(29 * time.Second) // the bubble's clock
		if got := h.settle(); got != nil {
			t.Errorf("before its time: %v", got)
		}
		if p, _ := r.srv.Proxy("h-1"); p.Status != server.Synced || p.Held != nil || len(r.seen.held) > 0 {
			t.Errorf("status %s, held %v, reported %v", p.Status, p.Held, r.seen.held)
		}
		states, _ := r.srv.Resources("h-1")
		for _, s := range states {
			if s.Status != server.Synced {
				t.Errorf("%s %s is %s", s.Type, s.Name, s.Status)
			}
		}
		<-time.After(2 * time.Second)
		if diff := cmp.Diff([]string{"CDS -canary", "EDS -canary"}, h.settle()); diff != "" {
			t.Errorf("in the end (-want +got):\n%s", diff)
		}
	})
}

// One that comes back while it lingers is where it was, and lingers anew the
// next time.
func TestLingeringClusterComesBack(t *testing.T) {
	bubble(t, func(c *server.Config) { c.Linger = 30 * time.Second }, two(), func(t *testing.T, r *rig) {
		split, back := splitAndBack()
		r.store.Apply(split)
		h := newHand(t, r, "orders", "pay", "canary")
		for range 3 {
			r.store.Apply(back)
			h.settle()
			<-time.After(20 * time.Second)
			r.store.Apply(split)
			if diff := cmp.Diff([]string{"RDS +orders"}, h.settle()); diff != "" {
				t.Errorf("back again (-want +got):\n%s", diff)
			}
		}
		<-time.After(time.Minute)
		if got := h.settle(); got != nil {
			t.Errorf("in use: %v", got)
		}
	})
}

// It goes with a proxy that restarts, and stays with one that reconnects, for
// the whole time again.
func TestLingeringClusterAndReconnect(t *testing.T) {
	bubble(t, func(c *server.Config) { c.Linger = 30 * time.Second }, two(), func(t *testing.T, r *rig) {
		split, back := splitAndBack()
		r.store.Apply(split)
		e := envoy("c-1", "client")
		hang := r.connect(e)
		r.store.Apply(back)
		<-time.After(20 * time.Second)
		hang()
		r.connect(e)
		<-time.After(20 * time.Second)
		if e.Has(resource.ClusterType)["canary"] == "" || e.Has(resource.EndpointType)["canary"] == "" {
			t.Error("it went before its time")
		}
		<-time.After(20 * time.Second)
		synctest.Wait()
		if e.Has(resource.ClusterType)["canary"] != "" || e.Has(resource.EndpointType)["canary"] != "" || e.Faults() != nil {
			t.Errorf("it stayed; faults %v", e.Faults())
		}
		fresh := envoy("c-2", "client")
		r.connect(fresh)
		if fresh.Has(resource.ClusterType)["canary"] != "" {
			t.Error("a new proxy has it")
		}
	})
}
