package server_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/status"

	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/internal/xds/server/xdstest"
)

// hand drives a delta stream without a model: it answers what the test lets it.
type hand struct {
	t *testing.T
	p *xdstest.Delta
	// keep withholds the answer to a response, as Envoy does while a cluster
	// warms.
	keep func(*discoveryv3.DeltaDiscoveryResponse) bool
	kept []*discoveryv3.DeltaDiscoveryResponse
}

// settle answers everything that came until nothing comes any more.
func (h *hand) settle() (log []string) {
	for {
		synctest.Wait()
		rs := h.p.Heard()
		if len(rs) == 0 {
			return log
		}
		for _, r := range rs {
			log = append(log, line(r))
			if h.keep != nil && h.keep(r) {
				h.kept = append(h.kept, r)
				continue
			}
			h.ack(r)
		}
	}
}

func (h *hand) ack(r *discoveryv3.DeltaDiscoveryResponse) {
	h.p.Say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
}

func (h *hand) nack(r *discoveryv3.DeltaDiscoveryResponse, why string) {
	h.p.Say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(), ErrorDetail: &status.Status{Code: 13, Message: why}})
}

func line(r *discoveryv3.DeltaDiscoveryResponse) string {
	parts := []string{map[string]string{
		resource.ClusterType: "CDS", resource.EndpointType: "EDS", resource.ListenerType: "LDS",
		resource.ScopedRouteType: "SRDS", resource.RouteType: "RDS",
	}[r.GetTypeUrl()]}
	for _, x := range r.GetResources() {
		parts = append(parts, "+"+x.GetName())
	}
	for _, x := range r.GetRemovedResources() {
		parts = append(parts, "-"+x)
	}
	return strings.Join(parts, " ")
}

// newHand opens a stream and subscribes to everything of the named services.
func newHand(t *testing.T, r *rig, names ...string) *hand {
	h := &hand{t: t, p: r.delta()}
	h.subscribeAll(subscribe(resource.ClusterType), subscribe(resource.EndpointType, names...), subscribe(resource.ListenerType),
		subscribe(resource.ScopedRouteType), subscribe(resource.RouteType, names...))
	h.settle()
	return h
}

// subscribeAll makes requests, of which the first opens the stream, in turn.
func (h *hand) subscribeAll(reqs ...*discoveryv3.DeltaDiscoveryRequest) {
	reqs[0].Node = xdstest.Node("h-1", "client")
	for i, req := range reqs {
		if i > 0 {
			h.settle()
		}
		h.p.Say(req)
	}
}

// P6: a route to a new cluster waits for that cluster's acknowledgement where
// the cluster is unproven; at the deadline it is reported, and never sent
// ahead.
func TestP6RouteWaitsForItsCluster(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		h := newHand(t, r, "orders", "pay")
		h.keep = func(x *discoveryv3.DeltaDiscoveryResponse) bool { return x.GetTypeUrl() == resource.ClusterType }
		change := xdstest.Service("orders", 8001, 8002)
		change.Resources[5] = xdstest.Route("orders", time.Second, "orders", "canary")
		r.store.Apply([]resource.Set{change, xdstest.Only(xdstest.Service("canary", 8101), resource.ClusterType, resource.EndpointType)})
		if diff := cmp.Diff([]string{"CDS +canary", "EDS +canary"}, h.settle()); diff != "" {
			t.Errorf("before the acknowledgement (-want +got):\n%s", diff)
		}
		p, _ := r.srv.Proxy("h-1")
		if len(p.Held) != 1 || p.Held[0].Resource != "orders" || p.Held[0].Waits != "CDS ACK of canary" {
			t.Errorf("held = %+v", p.Held)
		}
		<-time.After(6 * time.Second) // the bubble's clock
		if got := h.settle(); got != nil {
			t.Errorf("sent ahead at the deadline: %v", got)
		}
		if len(r.seen.held) != 1 || r.seen.held[0].Resource != "orders" {
			t.Errorf("reported %+v, want orders once", r.seen.held)
		}
		if p, _ = r.srv.Proxy("h-1"); p.Status != server.Stale {
			t.Errorf("status = %s, want STALE", p.Status)
		}
		h.keep = nil
		h.ack(h.kept[0])
		if diff := cmp.Diff([]string{"RDS +orders"}, h.settle()); diff != "" {
			t.Errorf("after the acknowledgement (-want +got):\n%s", diff)
		}
		if p, _ = r.srv.Proxy("h-1"); p.Status != server.Synced || p.Held != nil {
			t.Errorf("status = %s, held %v", p.Status, p.Held)
		}
	})
}

// The gate opens as soon as any Envoy of the build has accepted the cluster.
// P6: a cluster that went and came back while nothing was answered has a gate of
// its own. The answer to the first says nothing of the second, which is refused.
func TestTheAnswerToAnEarlierClusterOpensNoGate(t *testing.T) {
	for name, first := range map[string]func(*hand, *discoveryv3.DeltaDiscoveryResponse){
		"accepted": (*hand).ack,
		"refused": func(h *hand, x *discoveryv3.DeltaDiscoveryResponse) {
			h.nack(x, "Error adding/updating cluster(s) stock: bad")
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, two(), func(t *testing.T, r *rig) {
				h := newHand(t, r, "orders", "pay", "stock")
				h.keep = func(x *discoveryv3.DeltaDiscoveryResponse) bool { return x.GetTypeUrl() == resource.ClusterType }
				again := xdstest.Service("stock", 8001)
				again.Resources[0] = xdstest.Cluster("stock", 7*time.Second)
				for _, set := range []resource.Set{xdstest.Service("stock", 8001), {Service: "stock"}, again} {
					r.store.Apply([]resource.Set{set})
					h.settle()
				}
				if len(h.kept) != 3 {
					t.Fatalf("%d responses of clusters, want +stock, -stock and +stock", len(h.kept))
				}
				first(h, h.kept[0])
				h.ack(h.kept[1])
				if got := h.settle(); got != nil {
					t.Errorf("after the answer to the first: %v", got)
				}
				h.ack(h.kept[2])
				want := []string{"SRDS +stock", "SRDS +stock.mesh", "SRDS +stock.service.consul", "RDS +stock"}
				if diff := cmp.Diff(want, h.settle()); diff != "" {
					t.Errorf("after its own (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestGateOpensByAnothersProof(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		h := newHand(t, r, "orders", "pay")
		h.keep = func(x *discoveryv3.DeltaDiscoveryResponse) bool { return x.GetTypeUrl() == resource.ClusterType }
		other := envoy("c-2", "client")
		r.connect(other)
		r.store.Apply([]resource.Set{xdstest.Service("users", 7001)})
		log := strings.Join(h.settle(), "\n")
		if !strings.HasPrefix(log, "CDS +users\nEDS +users\n") || !strings.Contains(log, "RDS +users") {
			t.Errorf("responses:\n%s", log)
		}
	})
}

// A cluster whose endpoints are not known yet is acknowledged late: its routes
// wait for that, proven or not.
func TestRouteWaitsForLateEndpoints(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		h := newHand(t, r, "orders", "pay")
		h.keep = func(x *discoveryv3.DeltaDiscoveryResponse) bool { return x.GetTypeUrl() == resource.ClusterType }
		set := xdstest.Service("users", 7001)
		late := set
		late.Resources = append([]*resource.Resource{}, set.Resources...)
		late.Resources[1] = xdstest.With(set.Resources[1], resource.Withheld)
		r.store.Apply([]resource.Set{late})
		if diff := cmp.Diff([]string{"CDS +users"}, h.settle()); diff != "" {
			t.Errorf("without endpoints (-want +got):\n%s", diff)
		}
		r.store.Apply([]resource.Set{set})
		if diff := cmp.Diff([]string{"EDS +users"}, h.settle()); diff != "" {
			t.Errorf("endpoints (-want +got):\n%s", diff)
		}
		h.ack(h.kept[0])
		want := []string{"SRDS +users", "SRDS +users.mesh", "SRDS +users.service.consul", "RDS +users"}
		if diff := cmp.Diff(want, h.settle()); diff != "" {
			t.Errorf("after the acknowledgement (-want +got):\n%s", diff)
		}
	})
}

// A cluster goes after the routes that lead to it, and not before the proxy
// has acknowledged routes that no longer do.
func TestClusterIsRemovedBehindItsRoutes(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		split := xdstest.Service("orders", 8001, 8002)
		split.Resources[5] = xdstest.Route("orders", time.Second, "orders", "canary")
		canary := xdstest.Only(xdstest.Service("canary", 8101), resource.ClusterType, resource.EndpointType)
		r.store.Apply([]resource.Set{split, canary})
		h := newHand(t, r, "orders", "pay", "canary")
		h.keep = func(x *discoveryv3.DeltaDiscoveryResponse) bool { return x.GetTypeUrl() == resource.RouteType }
		r.store.Apply([]resource.Set{xdstest.Service("orders", 8001, 8002), {Service: "canary"}})
		if diff := cmp.Diff([]string{"RDS +orders"}, h.settle()); diff != "" {
			t.Errorf("at first (-want +got):\n%s", diff)
		}
		h.ack(h.kept[0])
		if diff := cmp.Diff([]string{"CDS -canary", "EDS -canary"}, h.settle()); diff != "" {
			t.Errorf("after the routes were acknowledged (-want +got):\n%s", diff)
		}
	})
}

// A proxy that refuses the routes which no longer lead to a cluster keeps the
// cluster.
func TestClusterStaysWhileARefusedRouteNeedsIt(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		split := xdstest.Service("orders", 8001, 8002)
		split.Resources[5] = xdstest.Route("orders", time.Second, "orders", "canary")
		r.store.Apply([]resource.Set{split, xdstest.Only(xdstest.Service("canary", 8101), resource.ClusterType, resource.EndpointType)})
		e := envoy("c-1", "client")
		plain := xdstest.Service("orders", 8001, 8002)
		e.Refuse = bad(plain.Resources[5])
		r.connect(e)
		r.store.Apply([]resource.Set{plain, {Service: "canary"}})
		synctest.Wait()
		if e.Has(resource.ClusterType)["canary"] == "" {
			t.Error("the cluster went although routes on the proxy lead to it")
		}
		if f := e.Faults(); f != nil {
			t.Error(f)
		}
		r.store.Apply([]resource.Set{xdstest.Tuned("orders", 5*time.Second, 8001)})
		synctest.Wait()
		if e.Has(resource.ClusterType)["canary"] != "" {
			t.Error("the cluster stayed although nothing leads to it")
		}
	})
}

// Whenever a cluster is sent again its endpoints follow in the same flush.
func TestEndpointsFollowTheirCluster(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		h := newHand(t, r, "orders", "pay")
		next := xdstest.Service("orders", 8001, 8002)
		next.Resources[0] = xdstest.Cluster("orders", 9*time.Second)
		r.store.Apply([]resource.Set{next})
		if diff := cmp.Diff([]string{"CDS +orders", "EDS +orders"}, h.settle()); diff != "" {
			t.Errorf("responses (-want +got):\n%s", diff)
		}
	})
}

// Behind a listener that changed all scopes and routes follow, because its
// provider may know none; also when the change happened while the proxy was
// away.
func TestScopesAndRoutesFollowAChangedListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := newRig(t, nil, two()...)
		e := envoy("c-1", "client")
		first.connect(e)
		first.stop()
		e.Log()
		second := newRig(t, func(c *server.Config) {
			c.Listeners = func(p resource.Profile) []*resource.Resource {
				return []*resource.Resource{xdstest.Listener("outbound", p.OutboundPort+1)}
			}
		}, two()...)
		defer second.stop()
		second.connect(e)
		want := "LDS +outbound\n" +
			"SRDS +orders +orders.mesh +orders.service.consul +pay +pay.mesh +pay.service.consul\n" +
			"RDS +orders +pay"
		if diff := cmp.Diff(want, e.Log()); diff != "" {
			t.Errorf("responses (-want +got):\n%s", diff)
		}
	})
}
