package resource_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"meshlite.dev/internal/mesh"
)

// ofRoute is the TrafficRoute of the tests' rules.
var ofRoute = mesh.DocumentRef{Kind: "TrafficRoute", Namespace: "default", Name: "orders", Generation: 7}

// ruled returns s with rules for all callers, each with the service's own
// resilience unless it has one, and the rule behind them that takes the rest.
func ruled(s *mesh.Service, rules ...mesh.Rule) *mesh.Service {
	out := *s
	out.Default = withRules(s.Name, s.Default, rules)
	out.ByCaller = map[string]*mesh.Destination{}
	for caller, d := range s.ByCaller {
		out.ByCaller[caller] = withRules(s.Name, d, rules)
	}
	return &out
}

func withRules(service string, d *mesh.Destination, rules []mesh.Rule) *mesh.Destination {
	out := *d
	out.Routes = &mesh.Routes{By: ofRoute}
	for _, r := range append(rules[:len(rules):len(rules)], mesh.Rule{}) {
		if r.Resilience == nil {
			r.Resilience = d.Effective
		}
		if r.Backends == nil && r.Redirect == nil && r.Direct == nil {
			r.Backends = backends(pool(service))
		}
		r.Hash = d.LoadBalancing.Hash
		out.Routes.Rules = append(out.Routes.Rules, r)
	}
	return &out
}

// pool reads "orders", "orders@dc2", "orders/v2".
func pool(service string, subset ...string) mesh.Pool {
	name, dc := mesh.SplitServiceKey(service)
	p := mesh.Pool{Service: name, Datacenter: dc}
	if len(subset) == 1 {
		p.Subset = subset[0]
	}
	return p
}

func in(s mesh.PoolState, p mesh.Pool) mesh.Pool {
	p.State = s
	return p
}

// backends share alike.
func backends(pools ...mesh.Pool) (out []mesh.Backend) {
	for _, p := range pools {
		out = append(out, mesh.Backend{Pool: p, Weight: 1})
	}
	return out
}

func path(typ mesh.MatchType, value string) mesh.Match {
	return mesh.Match{Path: &mesh.ValueMatch{Type: typ, Value: value}}
}

// under is a rule's own resilience: what edit makes of that of the service.
func under(s *mesh.Service, edit func(*mesh.Effective)) *mesh.Effective {
	e := *s.Default.Effective
	edit(&e)
	return &e
}

var ofRule = mesh.DocumentRef{Kind: "ResiliencePolicy", Namespace: "default", Name: "canary", Generation: 2}

// everyRule are rules that together have all that a rule may have.
func everyRule(s *mesh.Service) []mesh.Rule {
	return []mesh.Rule{
		{
			Name: "canary",
			Matches: []mesh.Match{
				{
					Path: &mesh.ValueMatch{Type: mesh.MatchPrefix, Value: "/api"}, Method: "GET",
					Headers: []mesh.ValueMatch{
						{Name: "x-user", Type: mesh.MatchExact, Value: "a", Invert: true},
						{Name: "x-app", Type: mesh.MatchSuffix, Value: ".1"},
					},
					Query: []mesh.ValueMatch{{Name: "q", Type: mesh.MatchPresent}, {Name: "v", Type: mesh.MatchPrefix, Value: "2"}},
				},
			},
			Backends: []mesh.Backend{
				{Pool: pool("orders", "v2"), Weight: 10}, {Pool: pool("orders"), Weight: 90},
				{Pool: in(mesh.Missing, pool("gone")), Weight: 3}, {Pool: pool("stock"), Weight: 0},
			},
			RequestHeaders: mesh.HeaderEdits{
				Set: []mesh.Header{{Name: "x-a", Value: "100% %REQ(x)%"}, {Name: "x-none", Value: ""}},
				Add: []mesh.Header{{Name: "x-b", Value: "2"}}, Remove: []string{"x-c"},
			},
			ResponseHeaders: mesh.HeaderEdits{Add: []mesh.Header{{Name: "x-d", Value: "4"}}, Remove: []string{"x-e"}},
			Rewrite:         &mesh.Rewrite{Regex: "^/api/(.*)", Substitution: `/\1`, Host: "orders.internal"},
			Mirrors: []mesh.Mirror{
				{Pool: pool("stock"), Millionths: 1000}, {Pool: in(mesh.Missing, pool("gone")), Millionths: 1_000_000},
			},
			Fault: &mesh.Fault{Delay: 2 * time.Second, DelayMillionths: 100_000, AbortStatus: 503, AbortMillionths: 1000},
			Resilience: under(s, func(e *mesh.Effective) {
				e.Timeouts.Request, e.TimeoutsBy = 3*time.Second, ofRoute
				e.Retry.Attempts, e.Route = 1, ofRule
				e.RouteDocuments = []mesh.DocumentRef{ofRule}
				e.RateLimit, e.RateLimitBy = &mesh.RateLimit{Requests: 5, Per: time.Second, Burst: 9}, ofRule
			}),
		},
		{
			Name: "failover", Matches: []mesh.Match{path(mesh.MatchPrefix, "/f")},
			Backends: backends(pool("orders", "v2"), in(mesh.Missing, pool("gone"))),
			Failover: []mesh.Pool{pool("orders", "v2"), pool("orders"), in(mesh.Missing, pool("orders@dc3")), pool("orders@dc2")},
			Rewrite:  &mesh.Rewrite{Prefix: "/"},
		},
		{
			Name: "paths", Matches: []mesh.Match{path(mesh.MatchSuffix, ".(json)"), path(mesh.MatchRegex, "/v[0-9]+/.*"), path(mesh.MatchExact, "/only")},
			Resilience: under(s, func(e *mesh.Effective) { e.Retry.Methods = nil }),
		},
		{Name: "gone", Matches: []mesh.Match{path(mesh.MatchPrefix, "/gone")}, Backends: backends(in(mesh.Missing, pool("gone")))},
		{
			Name: "moved", Matches: []mesh.Match{path(mesh.MatchPrefix, "/old"), path(mesh.MatchExact, "/older")},
			Redirect: &mesh.Redirect{Scheme: "https", Host: "h", Port: 443, Path: "/p", Status: 308},
		},
		{
			Name: "closed", Matches: []mesh.Match{{Method: "DELETE"}}, Direct: &mesh.DirectResponse{Status: 403, Body: "closed"},
			ResponseHeaders: mesh.HeaderEdits{Set: []mesh.Header{{Name: "x-why", Value: "100%"}}},
		},
		{
			Name: "grpc", Matches: []mesh.Match{{Path: &mesh.ValueMatch{Type: mesh.MatchPrefix, Value: "/shop.Orders/"}, Method: "POST"}},
			Fault: &mesh.Fault{AbortGRPC: 14, AbortMillionths: 500_000}, Rewrite: &mesh.Rewrite{Path: `/a\1`},
		},
	}
}

// shop are a service with every rule, and those that its rules lead to.
func shop(tb testing.TB, policies string, protocol mesh.Protocol) []*mesh.Service {
	tb.Helper()
	key := policies + string(protocol)
	made, ok := shops.Load(key)
	if !ok {
		made, _ = shops.LoadOrStore(key, newShop(tb, policies, protocol))
	}
	out := slices.Clone(made.([]*mesh.Service))
	for i, s := range out {
		c := *s
		out[i] = &c
	}
	return out
}

var shops sync.Map // random tests ask for the same ones all the time

func newShop(tb testing.TB, policies string, protocol mesh.Protocol) []*mesh.Service {
	tb.Helper()
	m := compiled(tb, policies, service("orders", protocol, 3), service("stock", mesh.HTTP1, 1), service("far", mesh.HTTP1, 2))
	get := func(name string) *mesh.Service {
		s, _ := m.Services.Get(name)
		c := *s
		return &c
	}
	orders, far := get("orders"), get("far")
	far.Name = "orders@dc2"
	orders.Endpoints[0].Tags, orders.Endpoints[1].Meta = []string{"blue", "v2"}, map[string]string{"track": "beta"}
	orders.Subsets = []mesh.Subset{{Name: "beta", Meta: map[string]string{"track": "beta"}}, {Name: "none", Tags: []string{"v9"}}, {Name: "v2", Tags: []string{"v2"}}}
	far.Subsets = []mesh.Subset{{Name: "v2", Tags: []string{"v2"}}}
	return []*mesh.Service{ruled(orders, everyRule(orders)...), get("stock"), far}
}

// unanswered are services and pools that the catalog has not told of yet.
func unanswered(tb testing.TB) []*mesh.Service {
	tb.Helper()
	all := shop(tb, "", mesh.HTTP1)
	far := in(mesh.NotSynced, pool("orders@dc2"))
	orders := ruled(all[0],
		mesh.Rule{Name: "far", Matches: []mesh.Match{path(mesh.MatchPrefix, "/far")}, Backends: backends(far)},
		mesh.Rule{Name: "half", Matches: []mesh.Match{path(mesh.MatchPrefix, "/half")}, Backends: backends(far, pool("stock"))},
		mesh.Rule{Name: "over", Matches: []mesh.Match{path(mesh.MatchPrefix, "/over")}, Failover: []mesh.Pool{far, pool("stock")}},
		mesh.Rule{Name: "copy", Mirrors: []mesh.Mirror{{Pool: far, Millionths: 5}}},
	)
	dc2 := all[2]
	dc2.Synced, dc2.Endpoints = false, nil
	stock := ruled(all[1], mesh.Rule{Name: "over", Failover: []mesh.Pool{pool("orders")}})
	stock.Synced, stock.Endpoints = false, nil
	return []*mesh.Service{orders, stock, dc2}
}
