package app

import (
	"slices"
	"testing"
	"time"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/policy"
)

func snapshotOf(changed []string, services ...*catalog.Service) catalog.Snapshot {
	s := catalog.Snapshot{Changed: changed}
	for _, svc := range services {
		s.Services = s.Services.Set(svc.Name, svc)
	}
	return s
}

func serviceWith(name string, ports ...uint32) *catalog.Service {
	s := &catalog.Service{Name: name, Protocol: mesh.HTTP1, Synced: true}
	for _, p := range ports {
		s.Endpoints = append(s.Endpoints, mesh.Endpoint{ID: name, Address: "127.0.0.1", Port: p, Weight: 1})
	}
	return s
}

func TestP2NothingIsBuiltBeforeCatalogAndPoliciesHaveAnswered(t *testing.T) {
	now := time.Unix(0, 0)
	in := newInbox()
	in.putCatalog(snapshotOf([]string{"orders"}, serviceWith("orders", 1)), now)
	if _, _, ok := in.take(now.Add(time.Hour)); ok {
		t.Fatal("built without the policies: bare defaults would have been served")
	}
	in.putRevision(policy.Revision{}, now)
	w, _, ok := in.take(now.Add(time.Hour))
	if !ok || !slices.Equal(w.snapshot.Changed, []string{"orders"}) {
		t.Fatalf("got %v, %v; want orders", w.snapshot.Changed, ok)
	}
}

func TestAnEmptyCatalogIsAnAnswerToo(t *testing.T) {
	now := time.Unix(0, 0)
	in := newInbox()
	in.putCatalog(catalog.Snapshot{}, now)
	in.putRevision(policy.Revision{}, now)
	if _, _, ok := in.take(now.Add(structureAtMost)); !ok {
		t.Fatal("an empty catalog was never published")
	}
}

// Routes that name the own datacenter lead to other clusters once it is known.
func TestTheOwnDatacenterIsNewsByItself(t *testing.T) {
	now := time.Unix(0, 0)
	in := newInbox()
	in.putCatalog(snapshotOf([]string{"a"}, serviceWith("a", 1)), now)
	in.putRevision(policy.Revision{}, now)
	now = now.Add(time.Minute)
	in.take(now)
	s := snapshotOf(nil, serviceWith("a", 1))
	s.Datacenter = "dc1"
	in.putCatalog(s, now)
	w, _, ok := in.take(now.Add(structureAtMost))
	if !ok || w.snapshot.Datacenter != "dc1" {
		t.Fatalf("own datacenter = %q, %v; want dc1", w.snapshot.Datacenter, ok)
	}
}

func TestEndpointsOvertakeAStructuralChangeOfAnotherService(t *testing.T) {
	now := time.Unix(0, 0)
	in := newInbox()
	in.putCatalog(snapshotOf([]string{"a", "b"}, serviceWith("a", 1), serviceWith("b", 1)), now)
	in.putRevision(policy.Revision{}, now)
	now = now.Add(time.Minute)
	in.take(now)

	now = now.Add(time.Minute)
	grpc := serviceWith("b", 1)
	grpc.Protocol = mesh.GRPC
	in.putCatalog(snapshotOf([]string{"a", "b"}, serviceWith("a", 1, 2), grpc), now)
	w, next, ok := in.take(now)
	if !ok || !slices.Equal(w.snapshot.Changed, []string{"a"}) {
		t.Fatalf("at once: %v, %v; want a alone", w.snapshot.Changed, ok)
	}
	if !next.Equal(now.Add(structureQuiet)) {
		t.Fatalf("b is due at %v, want %v", next.Sub(now), structureQuiet)
	}
}

func TestChangedDocumentsAddUpUntilTheyAreBuilt(t *testing.T) {
	now := time.Unix(0, 0)
	in := newInbox()
	in.putCatalog(catalog.Snapshot{Services: pmap.Map[*catalog.Service]{}}, now)
	one, two := policy.Key{Kind: "ResiliencePolicy", Namespace: "default", Name: "one"}, policy.Key{Kind: "ResiliencePolicy", Namespace: "default", Name: "two"}
	in.putRevision(policy.Revision{Hash: "1", Changed: []policy.Key{two}}, now)
	in.putRevision(policy.Revision{Hash: "2", Changed: []policy.Key{one}}, now)
	w, _, ok := in.take(now.Add(structureAtMost))
	if !ok || w.revision.Hash != "2" || !slices.Equal(w.revision.Changed, []policy.Key{one, two}) {
		t.Fatalf("revision %q changed %v; want both documents of revision 2", w.revision.Hash, w.revision.Changed)
	}
}
