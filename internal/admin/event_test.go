package admin_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/xds/server"
)

func TestChangesBetweenTwoStates(t *testing.T) {
	before := state(t)
	next := before
	next.Snapshot.Services = next.Snapshot.Services.Edit(func(set func(string, *catalog.Service), del func(string)) {
		orders, _ := before.Snapshot.Services.Get("orders")
		fewer := *orders
		fewer.Endpoints = fewer.Endpoints[1:]
		set("orders", &fewer)
		set("pay", &catalog.Service{Name: "pay", Protocol: mesh.GRPC, Synced: true, Endpoints: fewer.Endpoints[:1]})
		del("late")
	})
	next.Snapshot.Changed = []string{"late", "orders", "pay"}
	next.Revision = policy.Revision{Number: 13, Hash: "aaaaaaaabbbb", Documents: before.Revision.Documents[:1], Changed: []policy.Key{before.Revision.Documents[1].Key, before.Revision.Documents[2].Key}}
	c := compile.New(compile.Default())
	before.Result = c.Update(before.Snapshot, before.Revision)
	next.Result = c.Update(next.Snapshot, next.Revision)
	want := []adminapi.Event{
		{Type: "service.removed", Service: "late", Message: "removed"},
		{Type: "service.changed", Service: "orders", Policies: []string{},
			Message: "0 of 2 instances healthy (before: 1 of 3 instances healthy); policies mesh-default (before: rp/default/orders@3, rp/default/orders-web@3)"},
		{Type: "service.added", Service: "pay", Message: "added: 0 of 1 instances healthy", Policies: []string{}},
		{Type: "policy.revision", Message: "policies in force: revision 13 (aaaaaaaa)", Policies: []string{"rp/default/orders", "rp/default/orders-web"}},
	}
	if diff := cmp.Diff(want, admin.Changes(before, next)); diff != "" {
		t.Error(diff)
	}
	if got := admin.Changes(admin.State{}, next); got != nil {
		t.Errorf("at the start: %v, want nothing", got)
	}
}

// listen collects the events of a hub through its API, within a bubble.
func listen(t *testing.T, hub *admin.Hub) (next func() adminapi.Event, stop func()) {
	t.Helper()
	cfg := config(t)
	cfg.Hub = hub
	p, stopServer := running(t, cfg)
	client := p.dial(t, "/v1/watch")
	lines := decodeLines(t, client)
	synctest.Wait()
	return func() adminapi.Event {
			t.Helper()
			select {
			case e := <-lines:
				e.Time = time.Time{}
				return e
			case <-time.After(time.Minute):
				t.Fatal("no event")
				return adminapi.Event{}
			}
		}, func() {
			stopServer()
			client.Close()
			for range lines { // ends with the connection
			}
		}
}

func TestWhatHappensToProxiesIsPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := admin.NewHub(nil)
		next, stop := listen(t, hub)
		defer stop()
		o := admin.Observers{server.NopObserver{}, hub.Observer()}
		o.Connected(server.Proxy{Node: server.Node{ID: "web-1", Service: "web", Envoy: "1.40.0"}, Address: "10.0.0.1:1"})
		o.Rejected("web-1", server.Rejection{Type: "RDS", Resource: "orders", Service: "orders", Message: "missing )", Policies: []string{"rp/a/b@1"}})
		o.Disconnected("web-1", "closed by the proxy")
		o.Refused("overload")
		o.Sent("CDS", 1, 0, 10)
		o.Acked("CDS", 1, time.Second)
		o.Held("web-1", server.Held{})
		want := []adminapi.Event{
			{Type: "proxy.connected", Service: "web", Proxy: "web-1", Message: "connected from 10.0.0.1:1, Envoy 1.40.0"},
			{Type: "proxy.error", Service: "orders", Proxy: "web-1", Policies: []string{"rp/a/b@1"}, Message: "RDS orders rejected: missing ); the last good version serves"},
			{Type: "proxy.gone", Proxy: "web-1", Message: "closed by the proxy"},
		}
		if diff := cmp.Diff(want, []adminapi.Event{next(), next(), next()}); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTheGuardsHoldsArePublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, src := admin.NewHub(nil), make(statuses, 1)
		next, stop := listen(t, hub)
		defer stop()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		src <- catalog.Status{}
		go func() { done <- admin.FollowGuard(ctx, hub, src) }()
		src.set(catalog.Status{Holds: []catalog.Hold{{Service: "orders", Lost: []string{"a", "b"}, Reason: "mass loss"}}})
		if e := next(); e.Type != "guard.hold" || e.Service != "orders" || e.Message != "2 instances held back from removal: mass loss" {
			t.Errorf("got %+v", e)
		}
		<-time.After(5 * time.Second) // an unchanged hold is told once
		src.set(catalog.Status{})
		if e := next(); e.Type != "guard.release" || e.Service != "orders" {
			t.Errorf("got %+v", e)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// statuses holds the newest status.
type statuses chan catalog.Status

func (s statuses) Status() catalog.Status {
	v := <-s
	s <- v
	return v
}

func (s statuses) set(v catalog.Status) {
	<-s
	s <- v
}

func TestATransitionIsAnEventPerCondition(t *testing.T) {
	condition := func(kind string, status policy.ConditionStatus, reason string) policy.Condition {
		return policy.Condition{Type: kind, Status: status, Reason: reason, Message: "why"}
	}
	before := policy.Status{Key: policy.Key{Kind: policy.KindResiliencePolicy, Namespace: "default", Name: "orders"}}
	now := before
	before.Conditions = []policy.Condition{condition("Accepted", policy.True, "Accepted"), condition("Enforced", policy.True, "Enforced")}
	now.Conditions = []policy.Condition{condition("Accepted", policy.True, "Accepted"), condition("Enforced", policy.False, "RejectedByProxies")}
	got := admin.StatusChanges(before, now)
	if len(got) != 1 || got[0].Type != "policy.status" || got[0].Message != "Enforced False (RejectedByProxies): why" || got[0].Policies[0] != "rp/default/orders" {
		t.Errorf("events %+v", got)
	}
}
