package compile_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
)

// specs that keep every rule across fields, however they are combined.
var harmless = []string{
	`limits: {connections: 7}`, `limits: {requests: 8}, timeouts: {connect: 1s}`, `retry: {attempts: 1, methods: [POST], retryOn: [5xx]}`,
	`connection: {protocol: grpc}`, `rateLimit: {perCaller: {requests: 5, per: 1s, burst: 5}}`, `timeouts: {request: 20s}`,
	`outlierDetection: {maxEjectionPercent: 100, panicThresholdPercent: 0}`,
	`loadBalancing: {type: RingHash, hash: [{header: x-user}, {query: q}]}`, `loadBalancing: {hash: [{query: q}, {sourceIP: true}]}`,
}

var (
	serviceNames = []string{"a", "b", "c", "d", "a@dc1", "a@dc2", "b@dc2"}
	namespaces   = []string{"default", "team"}
	targetings   = []string{
		`targetRefs: [{kind: Mesh}]`,
		`targetRefs: [{kind: Service, name: a}]`,
		`targetRefs: [{kind: Service, name: a}, {kind: Service, name: b}]`,
		`targetRefs: [{kind: Service, name: b}], from: [{service: c}]`,
		`targetRefs: [{kind: Service, name: a}], from: [{service: b}, {service: c}]`,
		`targetRefs: [{kind: Service, name: c}], effect: shadow`,
		`targetRefs: [{kind: Mesh}], effect: shadow`,
		`targetRefs: [{kind: TrafficRoute, name: x}]`,
		`targetRefs: [{kind: TrafficRoute, name: x, sectionName: one}]`,
		`targetRefs: [{kind: TrafficRoute, name: y, sectionName: two}, {kind: TrafficRoute, name: y}, {kind: Service, name: d}]`,
		`targetRefs: [{kind: TrafficRoute, name: y, sectionName: one}], effect: shadow`,
	}
	routings = []string{
		`rules: [{name: one, matches: [{path: {type: Prefix, value: /x}}]}]`,
		`rules: [{name: one, backends: [{subset: v1, weight: 9}, {service: b, subset: v2}], failover: [{datacenter: dc2}, {service: c}]}]`,
		`rules: [{name: two, backends: [{service: c}, {service: d, weight: 0}], filters: {mirrors: [{service: b}]}, retry: {attempts: 1}}, {name: one}]`,
		`rules: [{name: two, backends: [{datacenter: dc1}, {service: b, datacenter: dc2, subset: v1}], timeouts: {request: 18s}}]`,
		`rules: [{name: one, filters: {directResponse: {status: 503}}}, {name: two, retry: {attempts: 3}}]`,
	}
	// harmfulRoutings break a rule across fields with mesh-default or a policy.
	harmfulRoutings = []string{
		`rules: [{name: one, retry: {perTryTimeout: 20s}}, {name: two, timeouts: {request: 300ms}}]`,
		`rules: [{name: two, retry: {backoff: {base: 2s}, perTryTimeout: 19s}}]`,
	}
	subsettings = []string{
		``, `subsets: [{name: v1, tags: [v1]}], `, `subsets: [{name: v2, tags: [v2], meta: {track: beta}}, {name: v1, meta: {v: one}}], `,
	}
)

// specs are what steps of a world draw from.
type specs struct{ policies, routes []string }

var (
	sound = specs{harmless, routings}
	risky = specs{slices.Concat(harmless, harmful), slices.Concat(routings, harmfulRoutings)}
)

// step changes the world at random.
func (w *world) step(t *rapid.T, from specs) {
	switch rapid.IntRange(0, 5).Draw(t, "what") {
	case 0, 1:
		name := rapid.SampledFrom(serviceNames).Draw(t, "service")
		if _, ok := w.services[name]; ok && rapid.IntRange(0, 3).Draw(t, "remove") == 0 {
			w.removeService(name)
			return
		}
		w.service(name, rapid.IntRange(0, 3).Draw(t, "instances"), w.some(t))
	case 2, 3, 4:
		w.draw(t, from, []string{"p", "q", "r"}, []string{"x", "y"})
	case 5:
		w.home = rapid.SampledFrom([]string{"", "dc1", "dc2"}).Draw(t, "own datacenter")
	}
}

// draw writes or removes one of these documents at random.
func (w *world) draw(t *rapid.T, from specs, policies, routes []string) {
	namespace := rapid.SampledFrom(namespaces).Draw(t, "document namespace") + "/"
	name := rapid.SampledFrom(slices.Concat(policies, routes)).Draw(t, "document")
	remove := rapid.IntRange(0, 3).Draw(t, "remove") == 0
	switch isRoute := slices.Contains(routes, name); {
	case isRoute && remove:
		w.removeRoute(namespace + name)
	case remove:
		w.removePolicy(namespace + name)
	case isRoute:
		w.route(namespace+name, "{service: "+rapid.SampledFrom(serviceNames[:4]).Draw(t, "routed")+", "+
			rapid.SampledFrom([]string{"", "", "effect: shadow, "}).Draw(t, "effect")+
			rapid.SampledFrom(subsettings).Draw(t, "subsets")+rapid.SampledFrom(from.routes).Draw(t, "rules")+"}")
	default:
		w.policy(namespace+name, "{"+rapid.SampledFrom(targetings).Draw(t, "target")+", "+rapid.SampledFrom(from.policies).Draw(t, "spec")+"}")
	}
}

// some makes a service one at random.
func (w *world) some(t *rapid.T) func(*catalog.Service) {
	return func(s *catalog.Service) {
		s.Namespace = rapid.SampledFrom([]string{"", "default", "team"}).Draw(t, "namespace")
		s.Protocol = rapid.SampledFrom([]mesh.Protocol{mesh.HTTP1, mesh.HTTP1, mesh.GRPC, mesh.TCP}).Draw(t, "protocol")
		s.Synced = rapid.IntRange(0, 3).Draw(t, "synced") > 0
		if rapid.Bool().Draw(t, "check") {
			s.HealthCheck = someCheck()
		}
		for i := range s.Endpoints {
			s.Endpoints[i].Tags = rapid.SampledFrom([][]string{nil, {"v1"}, {"v1", "v2"}}).Draw(t, "tags")
			s.Endpoints[i].Meta = rapid.SampledFrom([]map[string]string{nil, {"track": "beta"}, {"v": "one"}}).Draw(t, "meta")
		}
	}
}

func TestUpdateEqualsFull(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		c := compile.New(compile.Default())
		var before compile.Result
		for range rapid.IntRange(1, 12).Draw(rt, "updates") {
			for range rapid.IntRange(0, 4).Draw(rt, "changes") {
				w.step(rt, sound)
			}
			snap, rev := w.take()
			got := c.Update(snap, rev)
			want := compile.Full(compile.Default(), snap, rev)
			if diff := cmp.Diff(picture(want), picture(got)); diff != "" {
				rt.Fatalf("Update differs from Full (-full +update):\n%s", diff)
			}
			checkChanged(rt, before, got)
			before = got
		}
	})
}

// picture is all of a result that must not depend on the road to it.
func picture(r compile.Result) map[string]any {
	services := map[string]mesh.Service{}
	for name, s := range r.Model.Services.All() {
		services[name] = *s
	}
	var statuses []string
	for _, s := range r.Documents() {
		s.Document = nil
		statuses = append(statuses, fmt.Sprintf("%+v", s))
	}
	return map[string]any{"services": services, "findings": r.Findings(), "documents": statuses, "revision": r.Model.Revision}
}

// checkChanged fails unless Changed names exactly the services that differ,
// and those that do not are the very same values.
func checkChanged(t *rapid.T, before, after compile.Result) {
	b, a := maps.Collect(before.Model.Services.All()), maps.Collect(after.Model.Services.All())
	names := map[string]bool{}
	for name := range b {
		names[name] = true
	}
	for name := range a {
		names[name] = true
	}
	for name := range names {
		listed := slices.Contains(after.Changed, name)
		if !listed && a[name] != b[name] {
			t.Fatalf("%s changed and is not in Changed %v", name, after.Changed)
		}
		if listed && a[name] != nil && b[name] != nil && cmp.Equal(a[name], b[name]) {
			t.Fatalf("%s is in Changed and did not change", name)
		}
	}
	if !slices.IsSorted(after.Changed) {
		t.Fatalf("Changed is not sorted: %v", after.Changed)
	}
}

func TestOnlyEndpointsChangeWhenEndpointsChange(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 12).Draw(rt, "changes") {
			w.step(rt, risky)
		}
		c := compile.New(compile.Default())
		before := c.Update(w.take())
		for name, s := range w.services {
			w.service(name, rapid.IntRange(0, 5).Draw(rt, "instances"), func(n *catalog.Service) {
				n.Namespace, n.Protocol, n.Synced, n.HealthCheck = s.Namespace, s.Protocol, s.Synced, s.HealthCheck
			})
		}
		after := c.Update(w.take())
		for name, b := range before.Model.Services.All() {
			a, _ := after.Model.Services.Get(name)
			if a.Default != b.Default || !maps.Equal(a.ByCaller, b.ByCaller) {
				rt.Fatalf("a destination of %s changed with its endpoints", name)
			}
		}
	})
}

func TestCompilingIsDeterministic(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 20).Draw(rt, "changes") {
			w.step(rt, risky)
		}
		snap, rev := w.take()
		one, two := compile.Full(compile.Default(), snap, rev), compile.Full(compile.Default(), snap, rev)
		if diff := cmp.Diff(picture(one), picture(two)); diff != "" {
			rt.Fatalf("the same input gave two results:\n%s", diff)
		}
	})
}

// sameBut fails where two results differ in more than their revisions.
func sameBut(t *rapid.T, want, got compile.Result, what string) {
	a, b := picture(want), picture(got)
	delete(a, "revision")
	delete(b, "revision")
	if diff := cmp.Diff(a, b); diff != "" {
		t.Fatalf("%s:\n%s", what, diff)
	}
}

func TestDocumentsInAnyOrderGiveTheSameModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 16).Draw(rt, "changes") {
			w.step(rt, sound)
		}
		snap, rev := w.take()
		want := compile.Full(compile.Default(), snap, rev)
		c := compile.New(compile.Default())
		got := c.Update(snap, policy.Revision{})
		snap.Changed = nil
		var applied []*policy.Document
		for _, d := range rapid.Permutation(rev.Documents).Draw(rt, "order") {
			applied = append(applied, d)
			next := policy.Revision{Hash: rev.Hash, Documents: slices.Clone(applied), Changed: []policy.Key{d.Key}}
			slices.SortFunc(next.Documents, func(a, b *policy.Document) int { return strings.Compare(a.Key.String(), b.Key.String()) })
			got = c.Update(snap, next)
		}
		sameBut(rt, want, got, "one by one the documents give something else (-at once +one by one)")
	})
}

func TestApplyThenDeleteLeavesTheModelAsItWas(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 12).Draw(rt, "changes") {
			w.step(rt, sound)
		}
		c := compile.New(compile.Default())
		before := c.Update(w.take())
		for range rapid.IntRange(1, 6).Draw(rt, "documents") {
			w.draw(rt, risky, []string{"m", "z"}, []string{"a", "z"})
			if rapid.Bool().Draw(rt, "update") {
				c.Update(w.take())
			}
		}
		c.Update(w.take())
		for key := range w.docs {
			if slices.Contains([]string{"m", "z", "a"}, key.Name) {
				w.remove(key)
			}
		}
		sameBut(rt, before, c.Update(w.take()), "something is left (-before +after)")
	})
}

func TestAServiceThatIsNotNamedKeepsWhatItHad(t *testing.T) {
	w := newWorld(t)
	w.service("a", 1)
	w.service("b", 1)
	c := compile.New(compile.Default())
	before := c.Update(w.take())
	w.service("a", 2)
	w.service("b", 2)
	snap, rev := w.take()
	snap.Changed = []string{"a"} // b's change is still held back by its debounce
	after := c.Update(snap, rev)
	if got := strings.Join(after.Changed, " "); got != "a" {
		t.Errorf("Changed = %s, want a", got)
	}
	old, _ := before.Model.Services.Get("b")
	if got, _ := after.Model.Services.Get("b"); got != old {
		t.Error("b changed though the snapshot does not name it")
	}
	snap.Changed = []string{"b"}
	if got := c.Update(snap, rev).Changed; !slices.Equal(got, []string{"b"}) {
		t.Errorf("Changed = %v, want b", got)
	}
}

func TestARevisionThatForgetsToNameAChangeIsComparedWhole(t *testing.T) {
	w := newWorld(t)
	w.service("a", 1)
	c := compile.New(compile.Default())
	c.Update(w.take())
	w.policy("default/p", `{targetRefs: [{kind: Service, name: a}], limits: {connections: 7}}`)
	w.policy("default/q", `{targetRefs: [{kind: Service, name: a}], limits: {requests: 8}}`)
	snap, rev := w.take()
	rev.Changed = rev.Changed[:1]
	d := on(t, c.Update(snap, rev), "a", "")
	if d.Limits.Connections != 7 || d.Limits.Requests != 8 {
		t.Errorf("limits = %+v, want both documents in force", d.Limits)
	}
}
