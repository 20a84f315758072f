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
	in.putRevision(policy.Revision{}, nil, now)
	w, _, ok := in.take(now.Add(time.Hour))
	if !ok || !slices.Equal(w.snapshot.Changed, []string{"orders"}) {
		t.Fatalf("got %v, %v; want orders", w.snapshot.Changed, ok)
	}
}

func TestAnEmptyCatalogIsAnAnswerToo(t *testing.T) {
	now := time.Unix(0, 0)
	in := newInbox()
	in.putCatalog(catalog.Snapshot{}, now)
	in.putRevision(policy.Revision{}, nil, now)
	if _, _, ok := in.take(now.Add(structureAtMost)); !ok {
		t.Fatal("an empty catalog was never published")
	}
}

// Routes that name the own datacenter lead to other clusters once it is known.
func TestTheOwnDatacenterIsNewsByItself(t *testing.T) {
	now := time.Unix(0, 0)
	in := newInbox()
	in.putCatalog(snapshotOf([]string{"a"}, serviceWith("a", 1)), now)
	in.putRevision(policy.Revision{}, nil, now)
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
	in.putRevision(policy.Revision{}, nil, now)
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
	in.putRevision(policy.Revision{Hash: "1", Changed: []policy.Key{two}}, nil, now)
	in.putRevision(policy.Revision{Hash: "2", Changed: []policy.Key{one}}, nil, now)
	w, _, ok := in.take(now.Add(structureAtMost))
	if !ok || w.revision.Hash != "2" || !slices.Equal(w.revision.Changed, []policy.Key{one, two}) {
		t.Fatalf("revision %q changed %v; want both documents of revision 2", w.revision.Hash, w.revision.Changed)
	}
}

// Until the catalog has answered for what a route newly leads to, the routes
// before it stay: calls would be refused in between.
func TestARevisionWaitsForServicesOfOtherDatacenters(t *testing.T) {
	one, two := policy.Key{Kind: "TrafficRoute", Namespace: "default", Name: "one"}, policy.Key{Kind: "TrafficRoute", Namespace: "default", Name: "two"}
	start := time.Unix(0, 0)
	begin := func() (*inbox, time.Time) {
		in := newInbox()
		s := snapshotOf([]string{"a"}, serviceWith("a", 1))
		s.Datacenter = "dc1"
		in.putCatalog(s, start)
		in.putRevision(policy.Revision{Hash: "1"}, []string{"a@dc9"}, start) // the first waits for nobody
		now := start.Add(time.Minute)
		if w, _, ok := in.take(now); !ok || w.revision.Hash != "1" {
			t.Fatalf("the first revision: %+v, %v", w.revision, ok)
		}
		in.putRevision(policy.Revision{Hash: "2", Changed: []policy.Key{one}}, []string{"a@dc1", "a@dc2"}, now)
		return in, now
	}
	for what, tell := range map[string]func(in *inbox, now time.Time) (at time.Time, hash string){
		"the answer": func(in *inbox, now time.Time) (time.Time, string) {
			s := snapshotOf([]string{"a@dc2"}, serviceWith("a", 1), serviceWith("a@dc2", 1))
			s.Datacenter = "dc1"
			in.putCatalog(s, now)
			return now.Add(structureQuiet), "2"
		},
		"no answer in time": func(_ *inbox, now time.Time) (time.Time, string) { return now.Add(awaitRemotes + structureQuiet), "2" },
		"a revision that needs none": func(in *inbox, now time.Time) (time.Time, string) {
			in.putRevision(policy.Revision{Hash: "3", Changed: []policy.Key{two}}, nil, now)
			return now.Add(structureQuiet), "3"
		},
	} {
		in, now := begin()
		now = now.Add(time.Second)
		pending := serviceWith("a@dc2")
		pending.Synced = false
		s := snapshotOf([]string{"a", "a@dc2"}, serviceWith("a", 1, 2), pending)
		s.Datacenter = "dc1"
		in.putCatalog(s, now)
		w, next, ok := in.take(now)
		if !ok || w.revision.Hash != "1" || len(w.revision.Changed) > 0 {
			t.Fatalf("%s: meanwhile %+v, %v", what, w.revision, ok)
		}
		if next.IsZero() || next.After(now.Add(awaitRemotes)) {
			t.Fatalf("%s: the next look is at %v", what, next)
		}
		at, hash := tell(in, now)
		in.take(at.Add(-structureQuiet)) // the deadline itself
		w, _, ok = in.take(at)
		if !ok || w.revision.Hash != hash || !slices.Contains(w.revision.Changed, one) {
			t.Errorf("%s: %+v, %v; want revision %s with what it changed", what, w.revision, ok, hash)
		}
	}
}
