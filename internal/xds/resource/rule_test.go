package resource_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/resource"
)

var ruledPolicies = []string{
	"", one("orders", allFields), one("orders", "  retry: {attempts: 0}\n"),
	one("orders", "  from: [{service: checkout}]\n  timeouts: {request: 1s}\n  outlierDetection: {panicThresholdPercent: 40}\n"),
}

// drawShop is the shop under other rules, with what is asked of it.
func drawShop(t *rapid.T, tb testing.TB) []*mesh.Service {
	all := shop(tb, pick(t, "policy", ruledPolicies...), pick(t, "protocol", mesh.HTTP1, mesh.HTTP2, mesh.GRPC))
	all[0] = ruled(all[0], drawRules(t, all[0])...)
	return all
}

func built(all []*mesh.Service) (rs []*resource.Resource, faults []resource.Fault) {
	for _, s := range all {
		set := resource.Build(resource.Config{}, s)
		rs, faults = append(rs, set.Resources...), append(faults, set.Faults...)
	}
	return rs, faults
}

// leadsTo are the clusters that routes name, and those behind a failover list.
func leadsTo(tb testing.TB, rs []*resource.Resource, rc *routev3.RouteConfiguration, caller string) []string {
	tb.Helper()
	var names []string
	add := func(name string) {
		names = append(names, name)
		c := find(rs, resource.ClusterType, name, caller)
		if c == nil {
			c = find(rs, resource.ClusterType, name, "")
		}
		if c == nil || c.Body == nil {
			tb.Fatalf("no cluster %s", name)
		}
		if any := message(tb, c).(*clusterv3.Cluster).GetClusterType().GetTypedConfig(); any != nil {
			list := &aggregatev3.ClusterConfig{}
			if err := any.UnmarshalTo(list); err != nil {
				tb.Fatal(err)
			}
			names = append(names, list.GetClusters()...)
		}
	}
	for _, r := range rc.GetVirtualHosts()[0].GetRoutes() {
		if c := r.GetRoute().GetCluster(); c != "" {
			add(c)
		}
		for _, c := range r.GetRoute().GetWeightedClusters().GetClusters() {
			add(c.GetName())
		}
		for _, m := range r.GetRoute().GetRequestMirrorPolicies() {
			add(m.GetCluster())
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func checkAnyRules(t *rapid.T, tb testing.TB) {
	all := drawShop(t, tb)
	rs, faults := built(all)
	for _, f := range faults {
		t.Fatalf("%s %s: %v", f.Type, f.Name, f.Err)
	}
	for _, r := range rs {
		rc, ok := message(tb, r).(*routev3.RouteConfiguration)
		if !ok || r.Service != "orders" {
			continue
		}
		var refs []string
		for _, ref := range r.Refs {
			refs = append(refs, ref.Name)
			if find(rs, ref.Type, ref.Name, "") == nil {
				t.Fatalf("routes lead to %s, which nobody makes", ref.Name)
			}
		}
		if diff := cmp.Diff(leadsTo(tb, rs, rc, r.Caller), refs); diff != "" {
			t.Fatalf("what routes lead to (-) is not what they refer to (+):\n%s", diff)
		}
		last := rc.GetVirtualHosts()[0].GetRoutes()[len(rc.GetVirtualHosts()[0].GetRoutes())-1]
		if last.GetName() != "orders/rest" || last.GetRoute().GetCluster() != "orders" || last.GetMatch().GetPrefix() != "/" || last.GetMatch().GetHeaders() != nil {
			t.Fatalf("the last route is %v", last)
		}
	}
	again, _ := built(all)
	for i, r := range rs {
		if again[i].Name != r.Name || again[i].Version != r.Version || !slices.Equal(again[i].Refs, r.Refs) {
			t.Fatalf("made twice, %s %s differs", r.Type, r.Name)
		}
	}
}

// Whatever rules say, every message passes Envoy's own rules, routes refer to
// exactly what they lead to, all of that is made, and requests that no rule
// matches go where they went without rules.
func TestP5P6P7OfAnyRules(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) { checkAnyRules(rt, t) })
}

func FuzzRules(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		rapid.MakeFuzz(func(rt *rapid.T) { checkAnyRules(rt, t) })(t, data)
	})
}

// Other rules change no cluster and no endpoint: no connection is closed and no
// ejection forgotten. Failover lists come and go under names of their own.
func TestRulesChangeNoCluster(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		before := drawShop(rt, t)
		after := slices.Clone(before)
		after[0] = ruled(before[0], drawRules(rt, before[0])...)
		if rapid.Bool().Draw(rt, "all rules go") {
			plain := *after[0]
			d := *plain.Default
			d.Routes = nil
			plain.Default = &d
			after[0] = &plain
		}
		a, _ := built(before)
		b, _ := built(after)
		for _, was := range a {
			now := find(b, was.Type, was.Name, was.Caller)
			switch {
			case was.Type == resource.RouteType:
			case now == nil && was.Type == resource.ClusterType && strings.Contains(was.Name, ">"):
			case now == nil:
				rt.Fatalf("%s %s is gone", was.Type, was.Name)
			case was.Body != nil && now.Body != nil && now.Version != was.Version:
				rt.Fatalf("%s %s changed", was.Type, was.Name)
			}
		}
	})
}

// A route to a pool that the catalog has not told of takes nothing from proxies
// that have routes; neither does it leave an unfinished failover list to be
// removed.
func TestRoutesToPoolsNotSyncedReplaceNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := drawShop(rt, t)
		rs, _ := built(all)
		waits := false
		for _, r := range all[0].Default.Routes.Rules {
			for _, b := range r.Backends {
				if b.Weight == 0 {
					continue
				}
				list := append([]mesh.Pool{b.Pool}, r.Failover...)
				if !slices.ContainsFunc(list, func(p mesh.Pool) bool { return p.State == mesh.NotSynced }) {
					continue
				}
				waits = true
				if name := full(list); name != "" {
					if c := find(rs, resource.ClusterType, name, ""); c == nil || c.State != resource.Withheld {
						rt.Fatalf("%s may be removed: %+v", name, c)
					}
				}
			}
			waits = waits || slices.ContainsFunc(r.Mirrors, func(m mesh.Mirror) bool { return m.State == mesh.NotSynced })
		}
		if got := find(rs, resource.RouteType, "orders", "").State == resource.IfAbsent; got != waits {
			rt.Fatalf("routes replace nothing: %v, want %v", got, waits)
		}
	})
}

// full names the list with all that may come, "" when it is none.
func full(list []mesh.Pool) string {
	var pools []mesh.Pool
	for _, p := range list {
		if p.State != mesh.Missing && !slices.ContainsFunc(pools, func(q mesh.Pool) bool { return q.Cluster() == p.Cluster() }) {
			pools = append(pools, p)
		}
	}
	if len(pools) < 2 {
		return ""
	}
	return mesh.FailoverCluster("orders", pools)
}

// Endpoints of a subset are those that have all of its tags and meta, and none
// is a truth like another.
func TestSubsetEndpoints(t *testing.T) {
	rs, _ := built(shop(t, "", mesh.HTTP1))
	for name, want := range map[string][]string{
		"orders": {"10.0.0.1", "10.0.0.2", "10.0.0.3"}, "orders/v2": {"10.0.0.1"}, "orders/beta": {"10.0.0.2"}, "orders/none": nil, "orders@dc2/v2": nil,
	} {
		cla, ok := message(t, find(rs, resource.EndpointType, name, "")).(*endpointv3.ClusterLoadAssignment)
		if !ok {
			t.Fatalf("no endpoints of %s", name)
		}
		var got []string
		for _, l := range cla.GetEndpoints() {
			for _, e := range l.GetLbEndpoints() {
				got = append(got, e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress())
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", name, got, want)
		}
	}
}

// TestShares: weights are kept as they are, and what is missing is answered for
// its part only.
func TestShares(t *testing.T) {
	plain := shop(t, "", mesh.HTTP1)[0]
	gone := in(mesh.Missing, pool("gone"))
	for _, tc := range []struct {
		name     string
		backends []mesh.Backend
		failover []mesh.Pool
		want     string
	}{
		{"one", []mesh.Backend{{Pool: pool("stock"), Weight: 7}}, nil, "stock"},
		{"one of weight", []mesh.Backend{{Pool: pool("stock"), Weight: 0}, {Pool: pool("orders"), Weight: 1}}, nil, "orders"},
		{"two", []mesh.Backend{{Pool: pool("orders", "v2"), Weight: 10}, {Pool: pool("orders"), Weight: 90}}, nil, "orders/v2=10 orders=90"},
		{"one is missing", []mesh.Backend{{Pool: gone, Weight: 10}, {Pool: pool("orders"), Weight: 90}}, nil, "orders>~nothing=10 orders=90"},
		{"the missing one of no weight", []mesh.Backend{{Pool: gone, Weight: 0}, {Pool: pool("orders"), Weight: 90}}, nil, "orders"},
		{"all are missing", []mesh.Backend{{Pool: gone, Weight: 10}, {Pool: gone, Weight: 1}}, nil, "503"},
		{"the missing one fails over", []mesh.Backend{{Pool: gone, Weight: 10}}, []mesh.Pool{pool("stock")}, "stock"},
		{"to two", []mesh.Backend{{Pool: gone, Weight: 10}}, []mesh.Pool{pool("stock"), pool("orders@dc2")}, "orders>stock>orders@dc2"},
		{"to itself", []mesh.Backend{{Pool: pool("orders"), Weight: 10}}, []mesh.Pool{pool("orders"), gone}, "orders"},
		{
			"each of two", []mesh.Backend{{Pool: pool("orders", "v2"), Weight: 1}, {Pool: pool("orders"), Weight: 9}}, []mesh.Pool{pool("orders"), pool("stock")},
			"orders>orders/v2>orders>stock=1 orders>orders>stock=9",
		},
		{"more than 32 bits", []mesh.Backend{{Pool: pool("orders"), Weight: 1<<32 - 1}, {Pool: pool("stock"), Weight: 1<<32 - 2}}, nil, "orders=2147483647 stock=2147483647"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rs, _ := built([]*mesh.Service{ruled(plain, mesh.Rule{Name: "r", Backends: tc.backends, Failover: tc.failover})})
			rc := message(t, find(rs, resource.RouteType, "orders", "")).(*routev3.RouteConfiguration)
			if got := share(rc.GetVirtualHosts()[0].GetRoutes()[0]); got != tc.want {
				t.Errorf("goes to %s, want %s", got, tc.want)
			}
		})
	}
}

func share(r *routev3.Route) string {
	if d := r.GetDirectResponse(); d != nil {
		return "503"
	}
	if c := r.GetRoute().GetCluster(); c != "" {
		return c
	}
	var out []string
	for _, c := range r.GetRoute().GetWeightedClusters().GetClusters() {
		out = append(out, c.GetName()+"="+c.GetWeight().String()[len("value:"):])
	}
	return strings.Join(out, " ")
}

// TestRewritePrefix does what Envoy does with the messages.
func TestRewritePrefix(t *testing.T) {
	plain := shop(t, "", mesh.HTTP1)[0]
	for _, tc := range []struct{ matched, prefix, path, want string }{
		{"/api", "/v2", "/api/x", "/v2/x"},
		{"/api", "/v2", "/api", "/v2"},
		{"/api", "/v2", "/apis", "/v2s"},
		{"/api", "/", "/api/x", "/x"},
		{"/api", "/", "/api", "/"},
		{"/api", "/v2/", "/api/x", "/v2/x"},
		{"/api/", "/v2", "/api/x", "/v2/x"},
		{"/api/", "/v2/", "/api/x", "/v2/x"},
		{"/", "/v2", "/x", "/v2/x"},
		{"/", "/", "/x", "/x"},
		{"/a.b", `/\1/`, "/a.b/x", `/\1/x`},
	} {
		rs, _ := built([]*mesh.Service{ruled(plain, mesh.Rule{
			Name: "r", Matches: []mesh.Match{path(mesh.MatchPrefix, tc.matched)}, Rewrite: &mesh.Rewrite{Prefix: tc.prefix},
		})})
		rc := message(t, find(rs, resource.RouteType, "orders", "")).(*routev3.RouteConfiguration)
		r := rc.GetVirtualHosts()[0].GetRoutes()[0]
		got := r.GetRoute().GetPrefixRewrite() + strings.TrimPrefix(tc.path, r.GetMatch().GetPrefix())
		if re := r.GetRoute().GetRegexRewrite(); re != nil {
			as := strings.NewReplacer(`\\`, `\`, "$", "$$").Replace(re.GetSubstitution())
			got = regexp.MustCompile(re.GetPattern().GetRegex()).ReplaceAllString(tc.path, as)
		}
		if got != tc.want {
			t.Errorf("%s, %s in place of %s: %s, want %s", tc.path, tc.prefix, tc.matched, got, tc.want)
		}
	}
}
