package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/internal/xds/server/xdstest"
)

// say opens a stream whose first request is req.
func say(t *testing.T, r *rig, req *discoveryv3.DeltaDiscoveryRequest) *hand {
	h := &hand{t: t, p: r.delta()}
	req.Node = xdstest.Node("h-1", "client")
	h.p.Say(req)
	return h
}

func expect(t *testing.T, h *hand, what string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, h.settle()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestLegacyWildcard(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		h := say(t, r, subscribe(resource.ClusterType))
		expect(t, h, "an empty first subscription means everything", "CDS +orders +pay")
		h.p.Say(subscribe(resource.ClusterType, "pay"))
		expect(t, h, "a name asked for is answered", "CDS +pay")
		r.store.Apply([]resource.Set{xdstest.Service("users", 1)})
		if got := h.settle(); len(got) == 0 || got[0] != "CDS +users" {
			t.Errorf("the wildcard ended with a named subscription: %v", got)
		}
		h.p.Say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.ClusterType, ResourceNamesUnsubscribe: []string{"*"}})
		h.settle()
		r.store.Apply([]resource.Set{xdstest.Service("more", 1), xdstest.Tuned("pay", 77, 9001)})
		if got := h.settle(); len(got) == 0 || got[0] != "CDS +pay" || len(got) > 2 {
			t.Errorf("after leaving the wildcard: %v, want pay alone", got)
		}
	})
}

func TestExplicitWildcard(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		h := say(t, r, subscribe(resource.ClusterType, "pay"))
		expect(t, h, "a name", "CDS +pay")
		h.p.Say(subscribe(resource.ClusterType, "*"))
		expect(t, h, "everything else", "CDS +orders")
		h.p.Say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.ClusterType, ResourceNamesUnsubscribe: []string{"*"}})
		h.settle()
		r.store.Apply([]resource.Set{{Service: "orders"}})
		expect(t, h, "orders is no longer followed")
		r.store.Apply([]resource.Set{{Service: "pay"}})
		expect(t, h, "pay still is", "CDS -pay")
	})
}

func TestReconnectWithExplicitWildcardAndNames(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		req := subscribe(resource.ClusterType, "*", "orders")
		req.InitialResourceVersions = map[string]string{
			"orders": r.store.Lookup(resource.ClusterType, "orders", "client").Version,
			"pay":    "0000000000000000", "gone": "1111111111111111",
		}
		h := say(t, r, req)
		expect(t, h, "what differs", "CDS +pay")
		<-time.After(server.Default().GateDeadline) // it has no routes
		expect(t, h, "what went", "CDS -gone")
	})
}

// A proxy comes back with routes that the server has never seen: the cluster
// they lead to goes after them.
func TestReconnectKeepsClustersOfUnknownRoutes(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		h := say(t, r, brought(subscribe(resource.ClusterType), "gone"))
		if got := h.settle(); slices.Contains(got, "CDS -gone") {
			t.Errorf("before the routes were asked for: %v", got)
		}
		h.p.Say(brought(subscribe(resource.ScopedRouteType), "gone"))
		h.p.Say(brought(subscribe(resource.RouteType, "gone"), "gone"))
		got := strings.Join(h.settle(), "; ")
		if srds, cds := strings.Index(got, "SRDS -gone"), strings.Index(got, "CDS -gone"); srds < 0 || cds < srds {
			t.Errorf("the scope goes first, the cluster after it: %s", got)
		}
	})
}

// brought says that the proxy has names with a content of which the server
// knows nothing.
func brought(req *discoveryv3.DeltaDiscoveryRequest, names ...string) *discoveryv3.DeltaDiscoveryRequest {
	req.InitialResourceVersions = map[string]string{}
	for _, n := range names {
		req.InitialResourceVersions[n] = "0123456789abcdef"
	}
	return req
}

// A proxy comes back with routes of unknown content and is sent others: until
// it has accepted them it may go on with its own, which need their cluster.
func TestReconnectKeepsClustersUntilNewRoutesAreAccepted(t *testing.T) {
	for _, refused := range []bool{false, true} {
		t.Run(fmt.Sprintf("refused %v", refused), func(t *testing.T) {
			bubble(t, nil, two(), func(t *testing.T, r *rig) {
				h := say(t, r, brought(subscribe(resource.ClusterType), "gone"))
				h.settle()
				h.keep = func(x *discoveryv3.DeltaDiscoveryResponse) bool { return x.GetTypeUrl() == resource.RouteType }
				h.p.Say(brought(subscribe(resource.RouteType, "orders"), "orders"))
				expect(t, h, "the new routes alone", "RDS +orders")
				if !refused {
					h.ack(h.kept[0])
					expect(t, h, "what its routes led to", "CDS -gone")
					return
				}
				h.nack(h.kept[0], "missing ): a(b")
				expect(t, h, "nothing while it keeps its own")
			})
		})
	}
}

func TestUnsubscribedNamesAreLeftAlone(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		h := say(t, r, subscribe(resource.EndpointType, "orders", "pay"))
		expect(t, h, "both", "EDS +orders +pay")
		h.p.Say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.EndpointType, ResourceNamesUnsubscribe: []string{"orders"}})
		h.settle()
		r.store.Apply([]resource.Set{xdstest.Service("orders", 1), xdstest.Service("pay", 2)})
		expect(t, h, "one", "EDS +pay")
		h.p.Say(subscribe(resource.EndpointType, "orders"))
		expect(t, h, "asked again", "EDS +orders")
		h.p.Say(subscribe(resource.EndpointType, "orders"))
		expect(t, h, "and again, as after a loss", "EDS +orders")
		if p, _ := r.srv.Proxy("h-1"); p.Types[1].Resources != 2 {
			t.Errorf("ledger counts %d assignments, want 2", p.Types[1].Resources)
		}
	})
}

func TestWildcardAnswersForANameThatWasDropped(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		h := say(t, r, subscribe(resource.ClusterType, "*", "orders"))
		h.settle()
		h.p.Say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.ClusterType, ResourceNamesUnsubscribe: []string{"orders"}})
		expect(t, h, "the wildcard still covers it", "CDS +orders")
	})
}

// Unknown routes and endpoints are not answered: an empty answer would leave
// a listener warming for ever and a cluster without endpoints. They arrive
// when they exist.
func TestUnknownNamesAreAnsweredOnceTheyExist(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		h := say(t, r, subscribe(resource.RouteType, "users"))
		expect(t, h, "nothing to say")
		h.p.Say(subscribe(resource.EndpointType, "users"))
		expect(t, h, "nothing to say")
		r.store.Apply([]resource.Set{xdstest.Service("users", 1)})
		expect(t, h, "there it is", "EDS +users", "RDS +users")
		h.p.Say(subscribe(resource.ClusterType, "nobody"))
		expect(t, h, "a cluster that does not exist is answered", "CDS -nobody")
	})
}

func TestLocalClusterIsAnsweredAtOnce(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		name := mesh.LocalAssignment("client")
		h := say(t, r, subscribe(resource.EndpointType, name))
		expect(t, h, "empty, at once", "EDS +"+name)
		set := xdstest.Service("client", 4001)
		own := xdstest.Assignment(name, 4001)
		own.Service = "client"
		set.Resources = append(set.Resources, own)
		r.store.Apply([]resource.Set{set})
		expect(t, h, "the real one replaces it", "EDS +"+name)
		r.store.Apply([]resource.Set{{Service: "client"}})
		expect(t, h, "and stays when the service goes")
	})
}

func TestUpstreamRoutesAreReplacedWhenTheirServiceGoes(t *testing.T) {
	unknown := func(typeURL, name string) *resource.Resource {
		if typeURL != resource.RouteType {
			return nil
		}
		return xdstest.With(xdstest.Route(name, 0), resource.IfAbsent)
	}
	bubble(t, func(c *server.Config) { c.Synthesize = unknown }, two(), func(t *testing.T, r *rig) {
		h := &hand{t: t, p: r.delta()}
		first := subscribe(resource.RouteType, "users", "orders")
		first.Node = xdstest.Node("h-1", "client", "users", "orders")
		h.p.Say(first)
		expect(t, h, "a stand-in for users", "RDS +orders +users")
		r.store.Apply([]resource.Set{xdstest.Service("users", 1)})
		expect(t, h, "the real routes", "RDS +users")
		r.store.Apply([]resource.Set{{Service: "orders"}})
		expect(t, h, "a stand-in for orders", "RDS +orders")
	})
}

func TestVariantsReachTheirCallerAlone(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		own, plain := envoy("a", "checkout"), envoy("b", "client")
		r.connect(own)
		r.connect(plain)
		own.Log()
		plain.Log()
		set := xdstest.Service("orders", 8001, 8002)
		variant := xdstest.Route("orders", 42, "orders")
		set.Resources = append(set.Resources, xdstest.For(variant, "checkout"))
		r.store.Apply([]resource.Set{set})
		synctest.Wait()
		if got := own.Has(resource.RouteType)["orders"]; got != variant.Version {
			t.Errorf("the caller has %s, want its variant", got)
		}
		if got := plain.Log(); got != "" {
			t.Errorf("another caller received %s", got)
		}
		r.store.Apply([]resource.Set{xdstest.Service("orders", 8001, 8002)})
		synctest.Wait()
		if got := own.Has(resource.RouteType)["orders"]; got == variant.Version {
			t.Error("the variant outlived its policy")
		}
	})
}
