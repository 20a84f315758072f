package compile_test

import (
	"strings"
	"testing"

	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
)

const manyRules = `{service: orders, rules: [
	{name: post, matches: [{method: POST}, {path: {type: Exact, value: /up}, headers: [{name: x-a, type: Present}]}]},
	{name: api, matches: [{path: {type: Prefix, value: /api}}]},
	{name: query, matches: [{path: {type: Suffix, value: .png}, queryParams: [{name: q, type: Present}]}, {path: {type: Suffix, value: .jpg}}]},
	{name: digits, matches: [{path: {type: Regex, value: "/[0-9]+|/x"}}]},
	{name: old, matches: [{path: {type: Exact, value: /old}}], filters: {redirect: {path: /new}}}]}`

func TestRuleForAPath(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	w.route("default/orders", manyRules)
	d := on(t, w.full(), "orders", "")
	for _, tc := range []struct{ path, rule, sooner string }{
		{"/api", "api", "post"},
		{"/apis/1?x=y", "api", "post"},
		{"/up", "", "post"},
		{"/a.png", "", "post query"},
		{"/a.jpg", "query", "post"},
		{"/17", "digits", "post"},
		{"/17/", "", "post"},
		{"/x", "digits", "post"},
		{"/old?a", "old", "post"},
		{"/older", "", "post"},
	} {
		rule, sooner := compile.RuleFor(d, tc.path)
		var names []string
		for _, r := range sooner {
			names = append(names, r.Name)
		}
		if rule == nil || rule.Name != tc.rule || strings.Join(names, " ") != tc.sooner {
			t.Errorf("%s falls to %+v, sooner to %q; want %q, %q", tc.path, rule, names, tc.rule, tc.sooner)
		}
	}
}

func TestWithoutARouteThereIsNoRule(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	if rule, sooner := compile.RuleFor(on(t, w.full(), "orders", ""), "/"); rule != nil || sooner != nil {
		t.Errorf("rule = %+v, sooner %+v", rule, sooner)
	}
	broken := &mesh.Destination{Routes: &mesh.Routes{Rules: []mesh.Rule{
		{Name: "a", Matches: []mesh.Match{{Path: &mesh.ValueMatch{Type: mesh.MatchRegex, Value: "("}}}},
	}}}
	if rule, sooner := compile.RuleFor(broken, "/"); rule != nil || sooner != nil {
		t.Errorf("a pattern that is none matched: %+v, %+v", rule, sooner)
	}
}

func TestExplainARule(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	w.service("audit", 1)
	w.route("default/orders", `{service: orders, rules: [{name: away, backends: [{service: audit}, {service: audit, datacenter: dc2}, {weight: 0}], timeouts: {request: 3s}},
		{name: home, retry: {attempts: 1}}, {name: closed, filters: {directResponse: {status: 503}}}]}`)
	d := on(t, w.full(), "orders", "")
	for _, tc := range []struct{ rule, field, value, why string }{
		{"away", "timeouts.request", "3s", "rule away, inline"},
		{"away", "timeouts.connect", "5s", "built-in; instances of audit and audit@dc2 have their own"},
		{"home", "retry.attempts", "1", "rule home, inline"},
		{"home", "timeouts.connect", "5s", "built-in"},
		{"closed", "timeouts.request", "15s", "built-in; no effect: the rule calls no backend"},
	} {
		for i := range d.Routes.Rules {
			if r := &d.Routes.Rules[i]; r.Name == tc.rule {
				for _, f := range compile.ExplainRule("orders", d, r) {
					if f.Path == tc.field && (f.Value != tc.value || f.Origin.Why != tc.why) {
						t.Errorf("%s: %s = %s (%s); want %s (%s)", tc.rule, f.Path, f.Value, f.Origin.Why, tc.value, tc.why)
					}
				}
			}
		}
	}
}
