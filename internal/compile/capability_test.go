package compile

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
)

func TestAFieldNewerThanAConnectedEnvoyIsReported(t *testing.T) {
	rp := &policy.Document{Key: policy.Key{Kind: policy.KindResiliencePolicy, Namespace: "default", Name: "p"}, Generation: 2, Resilience: &v1alpha1.ResiliencePolicySpec{}}
	tr := &policy.Document{Key: policy.Key{Kind: policy.KindTrafficRoute, Namespace: "default", Name: "r"}, Generation: 3, Route: &v1alpha1.TrafficRouteSpec{}}
	for text, into := range map[string]any{
		`{targetRefs: [{kind: Mesh}], retry: {attempts: 0, budget: {percent: 5}}, loadBalancing: {hash: []}}`:                                                               rp.Resilience,
		`{service: a, rules: [{name: x}, {name: y, backends: [{weight: 1}, {subset: v1}], filters: {mirrors: [{service: b, percent: 5}], requestHeaders: {set: {a: b}}}}]}`: tr.Route,
	} {
		if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	r := Full(Default(), catalog.Snapshot{}, policy.Revision{Documents: []*policy.Document{rp, tr}})
	table := func(kind, path, since string) []mesh.Capability {
		return []mesh.Capability{{Kind: kind, Path: path, Since: since}}
	}
	for _, tc := range []struct {
		table  []mesh.Capability
		builds string
		want   string
	}{
		{mesh.Capabilities(), "1.0.0", ""},
		{table("ResiliencePolicy", "retry.budget.percent", "1.38"), "1.37.9 1.40.0 1.37.9 1.36.10-dev 1.36.2 1.38.0", "rp/default/p@2 spec.retry.budget.percent 1.36.2, 1.36.10-dev, 1.37.9"},
		{table("ResiliencePolicy", "retry.budget.percent", "1.38"), "1.38.0 1.40.1", ""},
		{table("ResiliencePolicy", "retry.budget.percent", "1.38"), "unknown", ""},
		{table("ResiliencePolicy", "retry.budget.minConcurrency", "1.38"), "1.37.0", ""},
		{table("ResiliencePolicy", "retry.attempts", "1.38"), "1.37.0", "rp/default/p@2 spec.retry.attempts 1.37.0"},
		{table("ResiliencePolicy", "retry", "1.38"), "1.37.0", "rp/default/p@2 spec.retry 1.37.0"},
		{table("ResiliencePolicy", "service", "1.38"), "1.37.0", ""},
		{table("TrafficRoute", "rules[].backends[].subset", "1.38"), "1.37.0", "tr/default/r@3 spec.rules[1].backends[1].subset 1.37.0"},
		{table("TrafficRoute", "rules[].filters.mirrors[].percent", "1.38"), "1.37.0", "tr/default/r@3 spec.rules[1].filters.mirrors[0].percent 1.37.0"},
		{table("TrafficRoute", "rules[].filters.requestHeaders.set", "2.0"), "1.37.0", "tr/default/r@3 spec.rules[1].filters.requestHeaders.set 1.37.0"},
		{table("TrafficRoute", "rules[].failover", "1.38"), "1.37.0", ""},
	} {
		var got []string
		for _, f := range r.findingsWith(Observed{Builds: strings.Fields(tc.builds)}, tc.table) {
			if f.Code == mesh.CodeFieldTooNew {
				builds, _, _ := strings.Cut(f.Message[strings.Index(f.Message, " run ")+5:], " and do not")
				got = append(got, fmt.Sprint(f.Document, " ", f.Path, " ", builds))
			}
		}
		if strings.Join(got, "|") != tc.want {
			t.Errorf("%+v, %s: %q, want %q", tc.table, tc.builds, got, tc.want)
		}
	}
}
