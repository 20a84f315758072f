package catalogtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
)

// Instance is one instance as every catalog can hold it.
type Instance struct {
	ID, Address string
	Port        int
	Tags        []string
	Meta        map[string]string
}

// World is a catalog that tests can change, with sources that read it.
type World struct {
	// Source returns a new source that has not run.
	Source func(t *testing.T) catalog.Source
	// Set makes these the instances of the services named, in one go as far as
	// the catalog can; a service without instances is removed. Services not
	// named stay.
	Set func(t *testing.T, services map[string][]Instance)
	// Abroad does what Set does for instances that stand in the datacenter
	// dc2, and makes sources made afterwards serve them.
	Abroad func(t *testing.T, services map[string][]Instance)
	// Break makes the catalog unreadable, Mend readable again, as it was.
	Break, Mend func(t *testing.T)
	// Within is how long a change may take to be seen, Far one of dc2.
	Within, Far time.Duration
}

// Run checks that the sources of a world fulfil the contract of
// catalog.Source. newWorld is called for each test.
func Run(t *testing.T, newWorld func(t *testing.T) World) {
	for name, test := range map[string]func(*testing.T, World){
		"the first snapshot is whole and names every service":      firstIsWhole,
		"a change names the service that changed and no other":     changesAreNamed,
		"published snapshots never change":                         snapshotsStay,
		"a service of another datacenter is one of its own":        elsewhere,
		"a name that is not a DNS label is skipped and reported":   namesAreChecked,
		"a source that cannot be read keeps what was known":        staleBeatsPartial,
		"losing one of three and scaling to zero go through":       smallLosses,
		"a mass loss is held until it is accepted":                 massLossIsHeld,
		"a hold ends by itself when the instances come back":       holdsEnd,
		"an instance beside a hold is added at once":               holdsDoNotBlock,
		"the protocol is meta's, else a tag's, else http1":         protocols,
		"instances that disagree keep the protocol in force":       disagreement,
		"an address that is no IP address is skipped and reported": addresses,
		"the status tells when each service was read":              freshness,
		"the end of the context ends Run without an error":         ends,
	} {
		t.Run(name, func(t *testing.T) {
			leaks := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, leaks) }) // runs last, after the world has ended
			test(t, newWorld(t))
		})
	}
}

// at makes n instances of a service at addresses of their own.
func at(service string, net, n int) []Instance {
	var all []Instance
	for i := range n {
		all = append(all, Instance{ID: fmt.Sprintf("%s-%d", service, i+1), Address: fmt.Sprintf("10.0.%d.%d", net, i+1), Port: 80})
	}
	return all
}

func listed(net, n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("10.0.%d.%d:80=HEALTHY", net, i+1))
	}
	return strings.Join(all, " ")
}

func start(t *testing.T, w World) *Recorder {
	t.Helper()
	r := Record(t, w.Source(t))
	r.Until(w.Within+10*time.Second, "first snapshot", func() error {
		if r.Count() == 0 {
			return fmt.Errorf("nothing published")
		}
		return nil
	})
	return r
}

func firstIsWhole(t *testing.T, w World) {
	w.Set(t, map[string][]Instance{"orders": at("orders", 1, 3), "billing": at("billing", 2, 1)})
	first := start(t, w).All()[0]
	if got := []string{"billing", "orders"}; !slices.Equal(first.Changed, got) {
		t.Errorf("Changed = %q, want %q", first.Changed, got)
	}
	for name, want := range map[string]string{"orders": listed(1, 3), "billing": listed(2, 1)} {
		s, _ := first.Services.Get(name)
		if got := Addresses(s); got != want {
			t.Errorf("%s = [%s], want [%s]", name, got, want)
		}
	}
}

func changesAreNamed(t *testing.T, w World) {
	w.Set(t, map[string][]Instance{"orders": at("orders", 1, 2), "billing": at("billing", 2, 1)})
	r := start(t, w)
	for _, step := range []struct {
		what, service string
		now           []Instance
		want          string
	}{
		{"an instance is added", "orders", at("orders", 1, 3), listed(1, 3)},
		{"an instance goes", "orders", at("orders", 1, 2), listed(1, 2)},
		{"an instance moves", "orders", []Instance{{ID: "orders-1", Address: "10.0.9.1", Port: 80}, at("orders", 1, 2)[1]}, "10.0.1.2:80=HEALTHY 10.0.9.1:80=HEALTHY"},
		{"a service is added", "stock", at("stock", 3, 1), listed(3, 1)},
	} {
		before := r.Count()
		w.Set(t, map[string][]Instance{step.service: step.now})
		r.UntilAddresses(w.Within, step.service, step.want)
		for _, s := range r.All()[before:] {
			if slices.ContainsFunc(s.Changed, func(n string) bool { return n != step.service }) {
				t.Errorf("%s: Changed = %q, want %s alone", step.what, s.Changed, step.service)
			}
		}
	}
	w.Set(t, map[string][]Instance{"stock": nil})
	r.Until(w.Within, "a service is removed", func() error {
		if s := r.Service("stock"); s != nil && len(s.Endpoints) > 0 {
			return fmt.Errorf("it has %s", Addresses(s))
		}
		return nil
	})
}

func snapshotsStay(t *testing.T, w World) {
	w.Set(t, map[string][]Instance{"orders": at("orders", 1, 2)})
	r := start(t, w)
	first := r.All()[0]
	w.Set(t, map[string][]Instance{"orders": at("orders", 1, 5), "billing": at("billing", 2, 1)})
	r.UntilAddresses(w.Within, "orders", listed(1, 5))
	r.UntilAddresses(w.Within, "billing", listed(2, 1))
	s, _ := first.Services.Get("orders")
	if got := Addresses(s); got != listed(1, 2) || first.Services.Len() != 1 {
		t.Errorf("the first snapshot has become [%s] of %d services", got, first.Services.Len())
	}
}

func elsewhere(t *testing.T, w World) {
	w.Set(t, map[string][]Instance{"orders": at("orders", 1, 2)})
	w.Abroad(t, map[string][]Instance{"orders": at("orders", 2, 2)})
	r := start(t, w)
	r.UntilAddresses(w.Far, "orders@dc2", listed(2, 2))
	if got := r.Addresses("orders"); got != listed(1, 2) {
		t.Errorf("orders is [%s]", got)
	}
	if s := r.Service("orders@dc2"); s.Name != "orders@dc2" || s.Endpoints[0].Datacenter != "dc2" {
		t.Errorf("orders@dc2 is %+v", s)
	}
	before := r.Count()
	w.Abroad(t, map[string][]Instance{"orders": at("orders", 2, 1)})
	r.UntilAddresses(w.Far, "orders@dc2", listed(2, 1))
	for _, s := range r.All()[before:] {
		if slices.ContainsFunc(s.Changed, func(n string) bool { return n != "orders@dc2" }) {
			t.Errorf("Changed = %q, want orders@dc2 alone", s.Changed)
		}
	}
	raw, err := catalog.Encode(catalog.Keep(r.Latest(), time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	if good, err := catalog.Decode(raw); err != nil || len(good.Services) != 2 {
		t.Errorf("kept for the next start are %+v, %v", good.Services, err)
	}
}

func namesAreChecked(t *testing.T, w World) {
	w.Set(t, map[string][]Instance{"orders": at("orders", 1, 1), "Legacy_Shop": at("legacy", 2, 1)})
	r := start(t, w)
	r.Until(w.Within, "the finding", func() error {
		if !slices.ContainsFunc(r.Latest().Problems, func(f mesh.Finding) bool {
			return f.Code == mesh.CodeNotADNSLabel && strings.Contains(f.Message, "Legacy_Shop") && f.Hint != ""
		}) {
			return fmt.Errorf("problems are %+v", r.Latest().Problems)
		}
		return nil
	})
	if r.Service("Legacy_Shop") != nil || r.Service("orders") == nil {
		t.Errorf("services are %v", slices.Collect(maps.Keys(maps.Collect(r.Latest().Services.All()))))
	}
	if !slices.ContainsFunc(r.Source.Status().Skipped, func(s catalog.Skipped) bool { return s.Name == "Legacy_Shop" && s.Reason != "" }) {
		t.Errorf("skipped = %+v", r.Source.Status().Skipped)
	}
}

func staleBeatsPartial(t *testing.T, w World) {
	w.Set(t, map[string][]Instance{"orders": at("orders", 1, 3), "billing": at("billing", 2, 2)})
	r := start(t, w)
	w.Break(t)
	r.Until(w.Within+10*time.Second, "the fault shows", func() error {
		if s := r.Source.Status(); s.Connected || s.LastError == "" {
			return fmt.Errorf("connected %v, last error %q", s.Connected, s.LastError)
		}
		return nil
	})
	r.Always(time.Second, "nothing is lost", func() error {
		if got := r.Addresses("orders") + "; " + r.Addresses("billing"); got != listed(1, 3)+"; "+listed(2, 2) {
			return fmt.Errorf("endpoints are %s", got)
		}
		return nil
	})
	w.Mend(t)
	w.Set(t, map[string][]Instance{"orders": at("orders", 1, 4)})
	r.UntilAddresses(w.Within+30*time.Second, "orders", listed(1, 4))
	r.Until(w.Within+30*time.Second, "the fault is over", func() error {
		if s := r.Source.Status(); !s.Connected || s.LastError != "" {
			return fmt.Errorf("connected %v, last error %q", s.Connected, s.LastError)
		}
		return nil
	})
}

func smallLosses(t *testing.T, w World) {
	w.Set(t, map[string][]Instance{"orders": at("orders", 1, 3), "billing": at("billing", 2, 2), "stock": at("stock", 3, 3)})
	r := start(t, w)
	w.Set(t, map[string][]Instance{"orders": at("orders", 1, 2)})
	r.UntilAddresses(w.Within, "orders", listed(1, 2))
	w.Set(t, map[string][]Instance{"billing": nil})
	r.Until(w.Within, "billing scales to zero", func() error {
		if s := r.Service("billing"); s != nil && len(s.Endpoints) > 0 {
			return fmt.Errorf("it has %s", Addresses(s))
		}
		return nil
	})
	if got := r.Addresses("stock"); got != listed(3, 3) {
		t.Errorf("stock = [%s]", got)
	}
}

// mass fills a world with five services of four and takes four of them away.
func mass(t *testing.T, w World) (r *Recorder, lost []string) {
	t.Helper()
	all, gone := map[string][]Instance{"stays": at("stays", 9, 4)}, map[string][]Instance{}
	for i := range 4 {
		name := fmt.Sprintf("s%d", i+1)
		all[name], gone[name] = at(name, i+1, 4), nil
		lost = append(lost, name)
	}
	w.Set(t, all)
	r = start(t, w)
	w.Set(t, gone)
	r.Until(w.Within, "the holds show", func() error {
		for _, name := range lost {
			if h := r.Held(name); h == nil || h.Reason == "" || h.Since.IsZero() || len(h.Lost) != 4 {
				return fmt.Errorf("hold on %s is %+v", name, h)
			}
		}
		return nil
	})
	for _, s := range r.All() {
		for i, name := range lost {
			got, _ := s.Services.Get(name)
			if Addresses(got) != listed(i+1, 4) {
				t.Fatalf("%s was published as [%s]", name, Addresses(got))
			}
		}
	}
	return r, lost
}

func massLossIsHeld(t *testing.T, w World) {
	r, lost := mass(t, w)
	if got := r.Source.Accept([]string{"stays", "s1", "nobody"}, false); !slices.Equal(got, []string{"s1"}) {
		t.Errorf("Accept named %q, want s1 alone", got)
	}
	gone := func(names ...string) func() error {
		return func() error {
			for _, name := range names {
				if s := r.Service(name); s != nil && len(s.Endpoints) > 0 {
					return fmt.Errorf("%s has %s", name, Addresses(s))
				}
			}
			return nil
		}
	}
	r.Until(w.Within, "the accepted loss", gone("s1"))
	if got := r.Addresses("s2"); got != listed(2, 4) {
		t.Errorf("s2, which nobody accepted, is [%s]", got)
	}
	if got := r.Source.Accept(nil, true); !slices.Equal(got, lost[1:]) {
		t.Errorf("Accept of all named %q, want %q", got, lost[1:])
	}
	r.Until(w.Within, "all is accepted", gone(lost...))
	if got := r.Source.Status().Holds; len(got) != 0 {
		t.Errorf("holds = %+v", got)
	}
	if got := r.Addresses("stays"); got != listed(9, 4) {
		t.Errorf("stays = [%s]", got)
	}
}

func holdsEnd(t *testing.T, w World) {
	r, _ := mass(t, w)
	w.Set(t, map[string][]Instance{"s1": at("s1", 1, 4)})
	r.Until(w.Within, "the hold ends", func() error {
		if h := r.Held("s1"); h != nil {
			return fmt.Errorf("hold is %+v", h)
		}
		return nil
	})
	if h := r.Held("s2"); h == nil {
		t.Error("the hold on s2 ended too")
	}
}

func holdsDoNotBlock(t *testing.T, w World) {
	r, _ := mass(t, w)
	w.Set(t, map[string][]Instance{"s1": at("s1", 7, 1)})
	r.UntilAddresses(w.Within, "s1", listed(1, 4)+" "+listed(7, 1))
}

func protocols(t *testing.T, w World) {
	of := func(id string, net int, tags []string, meta map[string]string) []Instance {
		return []Instance{{ID: id, Address: fmt.Sprintf("10.0.%d.1", net), Port: 80, Tags: tags, Meta: meta}}
	}
	w.Set(t, map[string][]Instance{
		"plain": of("a", 1, nil, nil),
		"meta":  of("b", 2, []string{"tcp"}, map[string]string{"protocol": "grpc", "namespace": "shop", "zone": "z1", "region": "r1"}),
		"tag":   of("c", 3, []string{"blue", "http2"}, nil),
		"wrong": of("d", 4, nil, map[string]string{"protocol": "carrier-pigeon"}),
	})
	r := start(t, w)
	for name, want := range map[string]mesh.Protocol{"plain": mesh.HTTP1, "meta": mesh.GRPC, "tag": mesh.HTTP2, "wrong": mesh.HTTP1} {
		if s := r.Service(name); s == nil || s.Protocol != want {
			t.Errorf("%s = %+v, want protocol %s", name, s, want)
		}
	}
	s := r.Service("meta")
	if s.Namespace != "shop" || s.Endpoints[0].Locality != (mesh.Locality{Region: "r1", Zone: "z1"}) || s.Endpoints[0].ID != "b" {
		t.Errorf("meta = %+v", s)
	}
	if !slices.ContainsFunc(r.Latest().Problems, func(f mesh.Finding) bool {
		return f.Service == "wrong" && strings.Contains(f.Message, "carrier-pigeon")
	}) {
		t.Errorf("problems = %+v", r.Latest().Problems)
	}
}

func disagreement(t *testing.T, w World) {
	speaks := func(i int, protocol string) Instance {
		return Instance{ID: fmt.Sprint("o", i), Address: fmt.Sprintf("10.0.1.%d", i), Port: 80, Meta: map[string]string{"protocol": protocol}}
	}
	w.Set(t, map[string][]Instance{"orders": {speaks(1, "http1")}})
	r := start(t, w)
	w.Set(t, map[string][]Instance{"orders": {speaks(1, "http1"), speaks(2, "grpc"), speaks(3, "grpc")}})
	r.UntilAddresses(w.Within, "orders", listed(1, 3))
	if got := r.Service("orders").Protocol; got != mesh.HTTP1 {
		t.Errorf("protocol = %s, want http1, which was in force", got)
	}
	r.Until(w.Within, "the finding", func() error {
		if !slices.ContainsFunc(r.Latest().Problems, func(f mesh.Finding) bool {
			return f.Code == mesh.CodeProtocolDisagreed && f.Service == "orders" && strings.Contains(f.Message, "o2")
		}) {
			return fmt.Errorf("problems are %+v", r.Latest().Problems)
		}
		return nil
	})
	w.Set(t, map[string][]Instance{"orders": {speaks(1, "grpc"), speaks(2, "grpc"), speaks(3, "grpc")}})
	r.Until(w.Within, "all agree", func() error {
		if got := r.Service("orders").Protocol; got != mesh.GRPC || len(r.Latest().Problems) > 0 {
			return fmt.Errorf("protocol is %s, problems are %+v", got, r.Latest().Problems)
		}
		return nil
	})
}

func addresses(t *testing.T, w World) {
	named := Instance{ID: "by-name", Address: "orders.example.com", Port: 80}
	w.Set(t, map[string][]Instance{"orders": append(at("orders", 1, 1), named)})
	r := start(t, w)
	r.UntilAddresses(w.Within, "orders", listed(1, 1))
	if !slices.ContainsFunc(r.Latest().Problems, func(f mesh.Finding) bool {
		return f.Code == mesh.CodeInvalidCatalogEntry && strings.Contains(f.Message, "orders.example.com") && f.Hint != ""
	}) {
		t.Errorf("problems = %+v", r.Latest().Problems)
	}
}

func freshness(t *testing.T, w World) {
	began := time.Now()
	w.Set(t, map[string][]Instance{"orders": at("orders", 1, 1)})
	r := start(t, w)
	r.Until(w.Within, "every watch was read", func() error {
		s := r.Source.Status()
		if s.Kind == "" || s.Address == "" || !s.Connected || s.Stale || s.LastError != "" {
			return fmt.Errorf("status is %+v", s)
		}
		seen := map[string]bool{}
		for _, watch := range s.Watches {
			seen[watch.Service] = watch.LastRead.After(began) && watch.LastError == ""
		}
		if !seen[""] || !seen["orders"] {
			return fmt.Errorf("watches are %+v", s.Watches)
		}
		return nil
	})
}

func ends(t *testing.T, w World) {
	w.Set(t, map[string][]Instance{"orders": at("orders", 1, 1)})
	r := start(t, w)
	if err := r.Stop(); err != nil {
		t.Errorf("Run returned %v", err)
	}
	count := r.Count()
	w.Set(t, map[string][]Instance{"orders": at("orders", 1, 2)})
	r.Always(200*time.Millisecond, "nothing is published after the end", func() error {
		if r.Count() != count {
			return fmt.Errorf("%d snapshots, were %d", r.Count(), count)
		}
		return nil
	})
}
