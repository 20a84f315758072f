package compile_test

import (
	"fmt"
	"strings"
	"testing"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/policy"
)

// told writes down what became of a document for each target.
func told(s compile.DocumentStatus) string {
	one := func(name string, reason compile.Reason, inForce int64, overridden bool, unresolved string) string {
		out := fmt.Sprintf("%s %s %d", name, reason, inForce)
		if overridden {
			out += " overridden"
		}
		if unresolved != "" {
			out += " unresolved"
		}
		return out
	}
	parts := []string{one("all", s.Accepted, s.InForce, s.Overridden, s.Unresolved)}
	for _, t := range s.PerTarget {
		parts = append(parts, one(t.Name, t.Accepted, t.InForce, t.Overridden, t.Unresolved))
	}
	return strings.Join(parts, "; ")
}

func TestStatusPerTarget(t *testing.T) {
	const route = `{service: orders, subsets: [{name: v1, tags: [v1]}], rules: [{name: canary, retry: {attempts: 1}}, {name: rest}]}`
	for _, tc := range []struct {
		name     string
		policies map[string]string
		routes   map[string]string
		want     map[string]string // by name of the document
	}{
		{
			name: "each target has a state of its own",
			policies: map[string]string{
				"default/a": `{targetRefs: [{kind: Service, name: orders}, {kind: Service, name: gone}, {kind: Mesh}], limits: {requests: 5}}`,
				"shop/b":    `{targetRefs: [{kind: Mesh}, {kind: Service, name: stock}], limits: {connections: 5}}`,
			},
			want: map[string]string{
				"a": "all TargetNotFound 1 unresolved; Service/orders Accepted 1; Service/gone TargetNotFound 0 unresolved; Mesh Accepted 1",
				"b": "all NotPermitted 1; Mesh NotPermitted 0; Service/stock Accepted 1",
			},
		},
		{
			name: "overridden by more specific documents",
			policies: map[string]string{
				"default/all":    `{targetRefs: [{kind: Mesh}], retry: {attempts: 3}}`,
				"default/orders": `{targetRefs: [{kind: Service, name: orders}, {kind: Service, name: stock}], retry: {attempts: 4}}`,
				"default/rule":   `{targetRefs: [{kind: TrafficRoute, name: orders}, {kind: TrafficRoute, name: orders, sectionName: canary}], retry: {attempts: 5}}`,
			},
			routes: map[string]string{"default/orders": route},
			want: map[string]string{
				"all":    "all Accepted 0 overridden; Mesh Accepted 0 overridden",
				"orders": "all Accepted 1; Service/orders Accepted 1; Service/stock Accepted 1",
				"rule":   "all Accepted 1; TrafficRoute/orders Accepted 1; TrafficRoute/orders/canary Accepted 0 overridden",
			},
		},
		{
			name: "a rule and a route that are not there, a field that cannot go there",
			policies: map[string]string{
				"default/p": `{targetRefs: [{kind: TrafficRoute, name: orders, sectionName: rest}, {kind: TrafficRoute, name: orders, sectionName: nope}, {kind: TrafficRoute, name: gone}], retry: {attempts: 1}}`,
				"default/q": `{targetRefs: [{kind: TrafficRoute, name: orders, sectionName: rest}, {kind: Service, name: orders}], limits: {requests: 1}, timeouts: {request: 3s}}`,
			},
			routes: map[string]string{"default/orders": route},
			want: map[string]string{
				"p": "all TargetNotFound 1 unresolved; TrafficRoute/orders/rest Accepted 1; TrafficRoute/orders/nope TargetNotFound 0 unresolved; TrafficRoute/gone TargetNotFound 0 unresolved",
				"q": "all Invalid 1; TrafficRoute/orders/rest Invalid 1; Service/orders Accepted 1",
			},
		},
		{
			name: "a merge that breaks a rule is the matter of its target alone",
			policies: map[string]string{
				"default/p": `{targetRefs: [{kind: TrafficRoute, name: orders, sectionName: canary}, {kind: Service, name: stock}], retry: {perTryTimeout: 10s}}`,
				"default/q": `{targetRefs: [{kind: TrafficRoute, name: orders}], timeouts: {request: 2s}}`,
			},
			routes: map[string]string{"default/orders": route},
			want: map[string]string{
				"p": "all Invalid 1; TrafficRoute/orders/canary Invalid 0; Service/stock Accepted 1",
				"q": "all Accepted 1; TrafficRoute/orders Accepted 1",
			},
		},
		{
			name: "conflicts",
			policies: map[string]string{
				"default/a": `{targetRefs: [{kind: TrafficRoute, name: orders, sectionName: rest}, {kind: Service, name: orders}], retry: {attempts: 5}}`,
				"default/b": `{targetRefs: [{kind: TrafficRoute, name: orders, sectionName: rest}], retry: {attempts: 6}}`,
				"default/c": `{targetRefs: [{kind: Service, name: stock}, {kind: Service, name: orders}], retry: {attempts: 7}}`,
			},
			routes: map[string]string{"default/orders": route},
			want: map[string]string{
				"a": "all Accepted 1; TrafficRoute/orders/rest Accepted 1; Service/orders Accepted 1",
				"b": "all Conflicted 0; TrafficRoute/orders/rest Conflicted 0",
				"c": "all Conflicted 1; Service/stock Accepted 1; Service/orders Conflicted 0",
			},
		},
		{
			name: "routes",
			routes: map[string]string{
				"default/first": `{service: stock, rules: [{name: a, backends: [{service: gone}]}]}`, "default/second": `{service: stock}`,
				"default/shadow": `{service: orders, effect: shadow}`, "default/lost": `{service: gone}`, "shop/foreign": `{service: orders}`,
			},
			want: map[string]string{
				"first": "all Accepted 1 unresolved; Service/stock Accepted 1 unresolved", "second": "all Conflicted 0; Service/stock Conflicted 0",
				"shadow": "all Accepted 0; Service/orders Accepted 0", "lost": "all TargetNotFound 0 unresolved; Service/gone TargetNotFound 0 unresolved",
				"foreign": "all NotPermitted 0; Service/orders NotPermitted 0",
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.service("orders", 1, func(s *catalog.Service) { s.Endpoints[0].Tags = []string{"v1"} })
			w.service("stock", 1, func(s *catalog.Service) { s.Namespace = "shop" })
			for name, spec := range tc.policies {
				w.policy(name, spec)
			}
			for name, spec := range tc.routes {
				w.route(name, spec)
			}
			for _, s := range w.full().Documents() {
				if tc.policies != nil && s.Key.Kind == policy.KindTrafficRoute {
					continue // the routes are there for the policies
				}
				if got, want := told(s), tc.want[s.Key.Name]; got != want {
					t.Errorf("%s: %s\nwant %s\n(%s)", s.Key, got, want, s.Message)
				}
			}
		})
	}
}

func TestAnOlderGenerationCountsWhereTheNewestBreaksARule(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	w.service("stock", 1)
	w.policy("default/p", `{targetRefs: [{kind: Service, name: orders}, {kind: Service, name: stock}], retry: {perTryTimeout: 1s}}`)
	w.policy("default/q", `{targetRefs: [{kind: Service, name: orders}], timeouts: {request: 2s}}`)
	c := compile.New(compile.Default())
	c.Update(w.take())
	w.policy("default/p", `{targetRefs: [{kind: Service, name: orders}, {kind: Service, name: stock}], retry: {perTryTimeout: 3s}}`)
	got := told(c.Update(w.take()).Documents()[0])
	if want := "all Invalid 2; Service/orders Invalid 1; Service/stock Accepted 2"; got != want {
		t.Errorf("status is %s, want %s", got, want)
	}
}
