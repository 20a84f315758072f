package resource_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/xds/resource"
)

func drawService(t *rapid.T, name string) *catalog.Service {
	s := service(name, rapid.SampledFrom([]mesh.Protocol{mesh.HTTP1, mesh.HTTP2, mesh.GRPC, mesh.TCP}).Draw(t, "protocol"), 0)
	drawEndpoints(t, s)
	return s
}

func drawEndpoints(t *rapid.T, s *catalog.Service) {
	s.Endpoints = nil
	for i := range rapid.IntRange(0, 12).Draw(t, "endpoints") {
		s.Endpoints = append(s.Endpoints, mesh.Endpoint{
			ID: fmt.Sprint("i", i), Address: fmt.Sprintf("10.0.%d.1", i), Port: uint32(rapid.IntRange(1, 65535).Draw(t, "port")),
			Health: mesh.Health(rapid.IntRange(0, 2).Draw(t, "health")), Weight: uint32(rapid.IntRange(1, 128).Draw(t, "weight")),
			Locality: mesh.Locality{Region: rapid.SampledFrom([]string{"", "eu", "us"}).Draw(t, "region"), Zone: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "zone")},
			Tags:     pick(t, "tags", nil, []string{"v1"}, []string{"blue", "v2"}), Meta: pick(t, "meta", nil, map[string]string{"track": "beta"}),
		})
	}
}

var specs = []string{
	"", one("orders", allFields), one("orders", "  retry: {attempts: 0}\n"),
	one("orders", "  from: [{service: checkout}]\n  timeouts: {request: 1s}\n"),
	one("orders", "  outlierDetection: {mode: Disabled}\n  loadBalancing: {type: LeastRequest, slowStart: {window: 30s}}\n"),
}

// A change of instances, however large, changes no cluster, route or scope: a
// changed cluster would close connections and forget ejections.
func TestEndpointsChangeNoCluster(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := rapid.SampledFrom(specs).Draw(t, "policy")
		before := drawService(t, "orders")
		if before.Protocol == mesh.TCP {
			spec = "" // the policies speak of requests
		}
		after := *before
		drawEndpoints(t, &after)
		docs := decoded(t, spec)
		was, _ := model(docs, before).Services.Get("orders")
		now, _ := model(docs, &after).Services.Get("orders")
		if before.Protocol != mesh.TCP {
			rules := drawRules(t, was)
			was, now = ruled(was, rules...), ruled(now, rules...)
		}
		was.Subsets = []mesh.Subset{{Name: "beta", Meta: map[string]string{"track": "beta"}}, {Name: "v2", Tags: []string{"v2"}}}
		now.Subsets = was.Subsets
		a, _ := built([]*mesh.Service{was})
		b, _ := built([]*mesh.Service{now})
		if len(a) != len(b) {
			t.Fatalf("%d resources became %d", len(a), len(b))
		}
		for i := range a {
			if a[i].Type != resource.EndpointType && a[i].Version != b[i].Version {
				t.Fatalf("%s %s changed", a[i].Type, a[i].Name)
			}
		}
	})
}

// An edit of what routes alone carry changes no cluster, also where the document
// decides both.
func TestAnEditOfRoutesChangesNoCluster(t *testing.T) {
	build := func(generation int64, timeout string) []*resource.Resource {
		p := policy.Decode("test.yaml", []byte(one("orders", "  timeouts: {request: "+timeout+"}\n  outlierDetection: {consecutive5xx: 3}\n  limits: {connections: 10}\n")))
		rs, faults := everything(resource.Config{}, modelAt(generation, p.Documents, service("orders", mesh.HTTP1, 2)))
		if len(p.Refused)+len(faults) > 0 {
			t.Fatal(p.Refused, faults)
		}
		return rs
	}
	was, now := build(1, "1s"), build(2, "2s")
	for _, typ := range []string{resource.ClusterType, resource.RouteType} {
		changed := find(was, typ, "orders", "").Version != find(now, typ, "orders", "").Version
		if want := typ == resource.RouteType; changed != want {
			t.Errorf("%s changed: %v, want %v", typ, changed, want)
		}
	}
}

// The short way of a rebuild gives what the long way gives.
func TestRebuildIsBuild(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prev := drawService(t, "orders")
		prev.Synced = rapid.Bool().Draw(t, "synced before")
		next := drawService(t, "orders")
		next.Synced = rapid.Bool().Draw(t, "synced after")
		a, _ := model(nil, prev).Services.Get("orders")
		b, _ := model(nil, next).Services.Get("orders")
		if rapid.Bool().Draw(t, "rules") {
			a = ruled(a, drawRules(t, a)...)
			a.Subsets = []mesh.Subset{{Name: "v2", Tags: []string{"v2"}}}
		}
		if rapid.Bool().Draw(t, "only endpoints") {
			edited := *a
			edited.Endpoints = b.Endpoints
			edited.Subsets = pick(t, "subsets", a.Subsets, nil, []mesh.Subset{{Name: "v2", Meta: map[string]string{"track": "beta"}}})
			b = &edited
		}
		got := resource.Rebuild(resource.Config{}, resource.Build(resource.Config{}, a), a, b)
		if diff := cmp.Diff(resource.Build(resource.Config{}, b), got); diff != "" {
			t.Fatalf("rebuild differs from build (-build +rebuild):\n%s", diff)
		}
	})
}

// P5: the same inputs give the same bytes and versions, on every replica and
// after every restart.
func TestP5DeterminismOfBytes(t *testing.T) {
	for _, g := range goldens() {
		first := g.build(t)
		for range 20 {
			again := g.build(t)
			for i := range first {
				if !bytes.Equal(first[i].Body, again[i].Body) || first[i].Version != again[i].Version {
					t.Fatalf("%s: %s %s has two contents", g.name, first[i].Type, first[i].Name)
				}
			}
		}
	}
}

// P6: whatever a route or a scope leads to is made beside it.
func TestP6ReferencesAreClosedInASet(t *testing.T) {
	for _, g := range goldens() {
		rs := g.build(t)
		for _, r := range rs {
			for _, ref := range r.Refs {
				if find(rs, ref.Type, ref.Name, r.Caller) == nil && find(rs, ref.Type, ref.Name, "") == nil {
					t.Errorf("%s: %s %s leads to %s %s, which is not made", g.name, r.Type, r.Name, ref.Type, ref.Name)
				}
			}
			if rc, ok := message(t, r).(*routev3.RouteConfiguration); ok && r.Body != nil {
				for _, vh := range rc.GetVirtualHosts() {
					for _, route := range vh.GetRoutes() {
						if c := route.GetRoute().GetCluster(); c != "" && len(r.Refs) == 0 {
							t.Errorf("%s: route %s leads to %s and does not say so", g.name, route.GetName(), c)
						}
					}
				}
			}
		}
	}
}

// P7: a message against Envoy's own rules, inside an Any too, is a fault and
// never a resource; all else is made.
func TestP7ValidationStandsBeforePublishing(t *testing.T) {
	m := compiled(t, "", service("orders", mesh.HTTP1, 1), service("stock", mesh.HTTP1, 1))
	for what, mutate := range map[string]func(string, any){
		"a field": func(name string, m any) {
			if c, ok := m.(*clusterv3.Cluster); ok && name == "orders" {
				c.ConnectTimeout = durationpb.New(-1)
			}
		},
		"a field inside an Any": func(name string, m any) {
			if c, ok := m.(*clusterv3.Cluster); ok && name == "orders" {
				for _, packed := range c.GetTypedExtensionProtocolOptions() {
					packed.Value = nil // upstream_protocol_options is required
				}
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			rs, faults := everything(resource.Config{Mutate: mutate}, m)
			if len(faults) != 1 || faults[0].Name != "orders" || faults[0].Type != resource.ClusterType || faults[0].Err == nil {
				t.Fatalf("faults = %+v", faults)
			}
			if find(rs, resource.ClusterType, "orders", "") != nil {
				t.Error("the refused cluster is published")
			}
			if find(rs, resource.ClusterType, "stock", "") == nil || find(rs, resource.RouteType, "orders", "") == nil {
				t.Error("something else is missing")
			}
		})
	}
}

// Unhealthy and draining instances are sent: they take traffic when nothing
// healthy is left.
func TestEveryInstanceIsSent(t *testing.T) {
	for _, g := range goldens()[:1] {
		cla, ok := message(t, find(g.build(t), resource.EndpointType, "orders", "")).(*endpointv3.ClusterLoadAssignment)
		if !ok {
			t.Fatal("no assignment")
		}
		var health []string
		for _, l := range cla.GetEndpoints() {
			for _, e := range l.GetLbEndpoints() {
				health = append(health, e.GetHealthStatus().String())
			}
		}
		if got := strings.Join(health, " "); len(health) != 3 || !strings.Contains(got, "UNHEALTHY") || !strings.Contains(got, "DRAINING") {
			t.Errorf("endpoints are %s", got)
		}
	}
}
