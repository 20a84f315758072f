package app

import (
	"testing"
	"time"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/policy"
)

// While frozen, endpoints flow; a new service, one that is gone and one of
// another protocol wait for the end, and then come.
func TestAFreezeLetsEndpointsThrough(t *testing.T) {
	in := newInbox()
	now := time.Unix(100, 0)
	later := func() time.Time { now = now.Add(time.Second); return now }
	service := func(protocol mesh.Protocol, addresses ...string) *catalog.Service {
		s := &catalog.Service{Protocol: protocol, Synced: true}
		for _, a := range addresses {
			s.Endpoints = append(s.Endpoints, mesh.Endpoint{ID: a, Address: a, Port: 80, Weight: 1})
		}
		return s
	}
	put := func(all map[string]*catalog.Service, changed ...string) {
		for name, s := range all {
			s.Name = name
		}
		in.putCatalog(catalog.Snapshot{Services: pmap.From(all), Changed: changed}, later())
	}
	take := func() catalog.Snapshot {
		w, _, ok := in.take(later())
		if !ok {
			t.Fatal("nothing is due")
		}
		return w.snapshot
	}
	expect := func(s catalog.Snapshot, name string, protocol mesh.Protocol, endpoints int) {
		t.Helper()
		got, ok := s.Services.Get(name)
		if !ok || got.Protocol != protocol || len(got.Endpoints) != endpoints {
			t.Errorf("%s is %+v, want %s with %d endpoints", name, got, protocol, endpoints)
		}
	}
	in.putRevision(policy.Revision{}, nil, later())
	put(map[string]*catalog.Service{"orders": service(mesh.HTTP1, "10.0.0.1"), "stock": service(mesh.HTTP1, "10.0.0.2")}, "orders", "stock")
	take()

	in.freeze(true, later())
	put(map[string]*catalog.Service{"orders": service(mesh.GRPC, "10.0.0.1", "10.0.0.3"), "fresh": service(mesh.HTTP1, "10.0.0.4")}, "orders", "stock", "fresh")
	frozen := take()
	expect(frozen, "orders", mesh.HTTP1, 2)
	expect(frozen, "stock", mesh.HTTP1, 0)
	if frozen.Services.Has("fresh") {
		t.Error("a new service came through")
	}

	in.freeze(false, later())
	after := take()
	expect(after, "orders", mesh.GRPC, 2)
	expect(after, "fresh", mesh.HTTP1, 1)
	if after.Services.Has("stock") {
		t.Error("a service that is gone stays after the end")
	}
}
