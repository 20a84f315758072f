package server_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/internal/xds/server/xdstest"
)

// tight opens a stream without room: the server's send waits for settle.
func tight(t *testing.T, r *rig) *hand {
	p := xdstest.Open(context.Background(), server.Codec(), 0, func(p *xdstest.Delta) error { return r.srv.DeltaAggregatedResources(p) })
	r.ends = append(r.ends, p.Hang)
	return &hand{t: t, p: p}
}

// stall makes the server wait in a send, so that what comes until the next
// settle is looked at in one flush.
func (h *hand) stall() {
	h.p.Say(subscribe(resource.EndpointType, "pay"))
	synctest.Wait()
}

// keepType withholds the answers to a type.
func (h *hand) keepType(typeURL string) {
	h.keep = func(x *discoveryv3.DeltaDiscoveryResponse) bool { return x.GetTypeUrl() == typeURL }
}

// An Envoy that refuses a response may have applied some of it: a cluster that
// went in the meantime is taken away all the same.
func TestClusterOfARefusedResponseIsTakenAway(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		h := tight(t, r)
		h.keepType(resource.ClusterType)
		h.subscribeAll(subscribe(resource.ClusterType))
		expect(t, h, "the first answer", "CDS +orders +pay")
		h.stall()
		r.store.Apply([]resource.Set{{Service: "orders"}})
		h.nack(h.kept[0], "Error adding/updating cluster(s) pay: bad")
		expect(t, h, "what it may have goes", "EDS +pay", "CDS -orders")
	})
}

// What was in force before comes back while a response with something newer
// is refused: it is sent again, for the proxy may have the newer one.
func TestGoodContentIsSentAgainAfterARefusedResponse(t *testing.T) {
	newer := []resource.Set{xdstest.Tuned("orders", 2*time.Second, 8001, 8002), xdstest.Tuned("pay", 2*time.Second, 9001)}
	bubble(t, nil, newer, func(t *testing.T, r *rig) {
		r.connect(envoy("c-2", "client")) // accepts it, so that it travels together
		h := tight(t, r)
		h.keepType(resource.ClusterType)
		had := subscribe(resource.ClusterType)
		had.InitialResourceVersions = map[string]string{}
		for _, s := range two() {
			had.InitialResourceVersions[s.Service] = s.Resources[0].Version
		}
		h.subscribeAll(had)
		expect(t, h, "the newer", "CDS +orders +pay")
		h.stall()
		r.store.Apply(two())
		h.nack(h.kept[0], "bad")
		expect(t, h, "what it had, by itself", "EDS +orders +pay", "CDS +orders", "CDS +pay", "EDS +orders +pay")
	})
}

// Routes of a refused response that lead to a cluster hold it until others are
// accepted: the proxy may have them.
func TestClusterStaysWhileARefusedResponseMayLeadToIt(t *testing.T) {
	canary := xdstest.Only(xdstest.Service("canary", 8101), resource.ClusterType, resource.EndpointType)
	route := func(service string, timeout time.Duration, clusters ...string) resource.Set {
		set := xdstest.Service(service, 8001)
		set.Resources[5] = xdstest.Route(service, timeout, clusters...)
		return set
	}
	start := []resource.Set{route("orders", 1, "orders"), route("pay", 1, "pay"), canary}
	bubble(t, nil, start, func(t *testing.T, r *rig) {
		r.connect(envoy("c-2", "client"))
		h := tight(t, r)
		h.subscribeAll(subscribe(resource.ClusterType), subscribe(resource.EndpointType, "orders", "pay", "canary"),
			subscribe(resource.ListenerType), subscribe(resource.ScopedRouteType), subscribe(resource.RouteType, "orders", "pay"))
		h.settle()
		h.stall()
		r.store.Apply([]resource.Set{route("orders", 2, "orders", "canary"), route("pay", 2, "pay")})
		synctest.Wait() // the other proxy accepts them
		h.keepType(resource.RouteType)
		expect(t, h, "both together", "EDS +pay", "RDS +orders +pay")
		h.stall()
		r.store.Apply([]resource.Set{route("orders", 3, "orders"), {Service: "canary"}})
		h.nack(h.kept[0], "bad")
		expect(t, h, "others, and no cluster goes", "EDS +pay", "RDS +orders", "RDS +pay")
		h.nack(h.kept[1], "bad")
		expect(t, h, "those of the beginning, and no cluster goes", "RDS +orders")
		h.ack(h.kept[3])
		expect(t, h, "the cluster behind them", "CDS -canary", "EDS -canary")
	})
}

func scopeOf(service string) func(string) bool {
	return func(line string) bool { return strings.HasPrefix(line, "SRDS +"+service) }
}

// What a proxy refuses by itself it does not have: it holds no cluster.
func TestClusterGoesWhenOnlyRefusedRoutesLeadToIt(t *testing.T) {
	canary := xdstest.Only(xdstest.Service("canary", 8101), resource.ClusterType, resource.EndpointType)
	split := xdstest.Service("orders", 8001)
	split.Resources[5] = xdstest.Route("orders", 2*time.Second, "orders", "canary")
	bubble(t, nil, []resource.Set{split, xdstest.Service("pay", 9001), canary}, func(t *testing.T, r *rig) {
		e := envoy("c-1", "client")
		e.Refuse = bad(split.Resources[5])
		r.connect(e)
		e.Log()
		r.store.Apply([]resource.Set{{Service: "canary"}})
		synctest.Wait()
		if got, want := e.Log(), "CDS -canary\nEDS -canary"; got != want {
			t.Errorf("responses = %q, want %q", got, want)
		}
	})
}

// Routes do not go ahead of the scopes that lead to them: a proxy that has not
// asked for them drops them, and they would count as had.
func TestRoutesWaitForTheirScope(t *testing.T) {
	bubble(t, func(c *server.Config) { c.Window = 2 }, two(), func(t *testing.T, r *rig) {
		h := newHand(t, r, "orders", "pay")
		h.keepType(resource.ClusterType)
		r.store.Apply([]resource.Set{xdstest.Service("users", 7001)})
		h.settle()
		carts := xdstest.Service("carts", 7002)
		r.store.Apply([]resource.Set{carts})
		h.settle()
		carts.Resources[5] = xdstest.Route("carts", 7*time.Second, "carts")
		r.store.Apply([]resource.Set{carts})
		expect(t, h, "nothing while the cluster is not acknowledged")
		h.keepType(resource.ScopedRouteType)
		h.ack(h.kept[0])
		expect(t, h, "scopes as many as may be under way, and their routes", "SRDS +users", "SRDS +users.mesh", "RDS +users")
		h.ack(h.kept[1])
		expect(t, h, "no scope may go, and no routes")
		h.ack(h.kept[2])
		h.ack(h.kept[3])
		got := h.settle()
		if scope, routes := slices.IndexFunc(got, scopeOf("carts")), slices.Index(got, "RDS +carts"); scope < 0 || routes < scope {
			t.Errorf("when there is room: %v, want a scope of carts and its routes", got)
		}
	})
}
