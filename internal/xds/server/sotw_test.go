package server_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/internal/xds/server/xdstest"
)

// sotwHand drives a state-of-the-world stream by hand.
type sotwHand struct {
	t       *testing.T
	p       *xdstest.SotW
	node    bool
	names   map[string][]string
	version map[string]string
	nonce   map[string]string
	refuse  func(r *discoveryv3.DiscoveryResponse) string
	last    map[string]*discoveryv3.DiscoveryResponse
}

func newSotW(t *testing.T, r *rig) *sotwHand {
	return &sotwHand{
		t: t, p: r.sotw(), names: map[string][]string{}, version: map[string]string{},
		nonce: map[string]string{}, last: map[string]*discoveryv3.DiscoveryResponse{},
	}
}

// ask sends a request with the state of the type.
func (h *sotwHand) ask(typeURL string, names ...string) {
	h.names[typeURL] = names
	req := &discoveryv3.DiscoveryRequest{
		TypeUrl: typeURL, ResourceNames: names, VersionInfo: h.version[typeURL], ResponseNonce: h.nonce[typeURL],
	}
	if !h.node {
		req.Node, h.node = xdstest.Node("w-1", "client"), true
	}
	h.p.Say(req)
}

func (h *sotwHand) settle() (log []string) {
	for {
		synctest.Wait()
		rs := h.p.Heard()
		if len(rs) == 0 {
			return log
		}
		for _, r := range rs {
			log = append(log, h.take(r))
		}
	}
}

// take answers a response and describes it.
func (h *sotwHand) take(r *discoveryv3.DiscoveryResponse) string {
	typ := r.GetTypeUrl()
	h.nonce[typ], h.last[typ] = r.GetNonce(), r
	req := &discoveryv3.DiscoveryRequest{TypeUrl: typ, ResourceNames: h.names[typ], ResponseNonce: r.GetNonce()}
	if why := h.why(r); why != "" {
		req.ErrorDetail = &status.Status{Message: why}
	} else {
		h.version[typ] = r.GetVersionInfo()
	}
	req.VersionInfo = h.version[typ]
	h.p.Say(req)
	return sotwLine(h.t, r)
}

func (h *sotwHand) why(r *discoveryv3.DiscoveryResponse) string {
	if h.refuse == nil {
		return ""
	}
	return h.refuse(r)
}

func sotwLine(t *testing.T, r *discoveryv3.DiscoveryResponse) string {
	parts := []string{""}
	for _, a := range r.GetResources() {
		var m proto.Message
		var err error
		switch r.GetTypeUrl() {
		case resource.ClusterType:
			parts[0], m = "CDS", &clusterv3.Cluster{}
		case resource.EndpointType:
			parts[0], m = "EDS", &endpointv3.ClusterLoadAssignment{}
		case resource.ListenerType:
			parts[0], m = "LDS", &listenerv3.Listener{}
		case resource.ScopedRouteType:
			parts[0], m = "SRDS", &routev3.ScopedRouteConfiguration{}
		case resource.RouteType:
			parts[0], m = "RDS", &routev3.RouteConfiguration{}
		}
		if err = a.UnmarshalTo(m); err != nil {
			t.Fatal(err)
		}
		if c, ok := m.(*endpointv3.ClusterLoadAssignment); ok {
			parts = append(parts, c.GetClusterName())
		} else {
			parts = append(parts, m.(interface{ GetName() string }).GetName())
		}
	}
	return strings.Join(parts, " ")
}

func (h *sotwHand) expect(what string, want ...string) {
	h.t.Helper()
	if diff := cmp.Diff(want, h.settle()); diff != "" {
		h.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// start subscribes to everything as an Envoy does.
func (h *sotwHand) start(names ...string) {
	h.ask(resource.ClusterType)
	h.settle()
	h.ask(resource.EndpointType, names...)
	h.settle()
	h.ask(resource.ListenerType)
	h.settle()
	h.ask(resource.ScopedRouteType)
	h.settle()
	h.ask(resource.RouteType, names...)
	h.settle()
}

func TestSotWServesSetsInOrder(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		h := newSotW(t, r)
		h.ask(resource.ClusterType)
		h.expect("clusters", "CDS orders pay")
		h.ask(resource.EndpointType, "orders", "pay")
		h.expect("endpoints", "EDS orders pay")
		h.ask(resource.ListenerType)
		h.expect("listeners", "LDS outbound")
		h.ask(resource.ScopedRouteType)
		h.expect("scopes", "SRDS orders orders.mesh orders.service.consul pay pay.mesh pay.service.consul")
		h.ask(resource.RouteType, "orders", "pay")
		h.expect("routes", "RDS orders pay")
		if p, _ := r.srv.Proxy("w-1"); p.Status != server.Synced || p.Protocol != "sotw" {
			t.Errorf("proxy = %+v", p)
		}
		r.store.Apply([]resource.Set{xdstest.Service("orders", 8001)})
		h.expect("one changed assignment", "EDS orders")
		r.store.Apply([]resource.Set{{Service: "pay"}})
		h.expect("removal", "SRDS orders orders.mesh orders.service.consul", "CDS orders")
	})
}

func TestSotWStaleNonce(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		h := newSotW(t, r)
		h.start("orders")
		old := h.nonce[resource.EndpointType]
		r.store.Apply([]resource.Set{xdstest.Service("orders", 8001)})
		h.expect("a change", "EDS orders")
		h.p.Say(&discoveryv3.DiscoveryRequest{TypeUrl: resource.EndpointType, ResourceNames: []string{"orders"}, ResponseNonce: old})
		h.expect("an answer to an old nonce is no news")
		h.p.Say(&discoveryv3.DiscoveryRequest{
			TypeUrl: resource.EndpointType, ResourceNames: []string{"orders"}, ResponseNonce: old,
			ErrorDetail: &status.Status{Message: "too late"},
		})
		h.expect("nor is a refusal")
		if p, _ := r.srv.Proxy("w-1"); p.Status != server.Synced {
			t.Errorf("status = %s %v", p.Status, p.Errors)
		}
		h.p.Say(&discoveryv3.DiscoveryRequest{TypeUrl: resource.EndpointType, ResourceNames: []string{"orders", "pay"}, ResponseNonce: old})
		h.names[resource.EndpointType] = []string{"orders", "pay"}
		h.expect("but its names count", "EDS pay")
	})
}

// Envoy asks for the same names once more when it has made a cluster anew.
func TestSotWAnswersTheSameNamesAgain(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		h := newSotW(t, r)
		h.start("orders", "pay")
		h.ask(resource.EndpointType, "orders", "pay")
		h.expect("asked without news", "EDS orders pay")
	})
}

// P7 under the state of the world: the set goes out without the refused
// resource, or with its last good version.
func TestP7QuarantineUnderSotW(t *testing.T) {
	for _, named := range []bool{true, false} {
		t.Run(fmt.Sprintf("Envoy names it %v", named), func(t *testing.T) {
			bubble(t, nil, two(), func(t *testing.T, r *rig) {
				h := newSotW(t, r)
				h.start("orders", "pay")
				poison := xdstest.Cluster("orders", 13*time.Second)
				fresh := xdstest.Cluster("users", 13*time.Second)
				h.refuse = func(x *discoveryv3.DiscoveryResponse) string {
					for _, a := range x.GetResources() {
						if string(a.GetValue()) == string(poison.Body) || string(a.GetValue()) == string(fresh.Body) {
							name := "orders"
							if string(a.GetValue()) == string(fresh.Body) {
								name = "users"
							}
							if named {
								return "Error adding/updating cluster(s) " + name + ": bad"
							}
							return "bad"
						}
					}
					return ""
				}
				orders := xdstest.Service("orders", 8001, 8002)
				orders.Resources[0] = poison
				users := xdstest.Service("users", 7001)
				users.Resources[0] = fresh
				pay := xdstest.Tuned("pay", 3*time.Second, 9001)
				r.store.Apply([]resource.Set{orders, users, pay})
				h.settle()
				got := map[string]string{}
				for _, a := range h.last[resource.ClusterType].GetResources() {
					c := &clusterv3.Cluster{}
					if err := a.UnmarshalTo(c); err != nil {
						t.Fatal(err)
					}
					got[c.GetName()] = c.GetConnectTimeout().AsDuration().String()
				}
				if diff := cmp.Diff(map[string]string{"orders": "1s", "pay": "3s"}, got); diff != "" {
					t.Errorf("clusters in the end (-want +got):\n%s", diff)
				}
				p, _ := r.srv.Proxy("w-1")
				if len(p.Errors) != 2 || p.Errors[0].Resource != "orders" || p.Errors[0].LastGood == "" || p.Errors[1].Resource != "users" {
					t.Errorf("errors = %+v", p.Errors)
				}
				if strings.Contains(strings.Join(sotwNames(h.last[resource.RouteType]), " "), "users") {
					t.Error("a route leads to the cluster that was refused")
				}
			})
		})
	}
}

func sotwNames(r *discoveryv3.DiscoveryResponse) (out []string) {
	for _, a := range r.GetResources() {
		rc := &routev3.RouteConfiguration{}
		if a.UnmarshalTo(rc) == nil {
			out = append(out, rc.GetName())
		}
	}
	return out
}

// P11 under the state of the world: the version says whether anything changed.
func TestP11ReconnectIsFreeUnderSotW(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		h := newSotW(t, r)
		h.start("orders", "pay")
		h.p.Hang()
		synctest.Wait()
		again := newSotW(t, r)
		again.version = h.version
		for _, typ := range []string{resource.ClusterType, resource.EndpointType, resource.ListenerType, resource.ScopedRouteType, resource.RouteType} {
			again.ask(typ, h.names[typ]...)
		}
		again.expect("nothing changed")
		if p, _ := r.srv.Proxy("w-1"); p.Status != server.Synced {
			t.Errorf("status = %s: %+v", p.Status, p.Types)
		}
		r.store.Apply([]resource.Set{xdstest.Service("orders", 1)})
		again.expect("live", "EDS orders")
	})
}

// While a cluster warms Envoy answers the newest response alone: that answer
// speaks for the ones before.
func TestSotWLastAnswerSpeaksForEarlierOnes(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		h := newSotW(t, r)
		h.start("orders", "pay")
		for i := range 3 {
			r.store.Apply([]resource.Set{xdstest.Tuned("orders", time.Duration(i+5)*time.Second, 8001, 8002)})
			synctest.Wait()
		}
		var last *discoveryv3.DiscoveryResponse
		for _, x := range h.p.Heard() {
			if x.GetTypeUrl() == resource.ClusterType {
				last = x
			} else {
				h.take(x)
			}
		}
		h.take(last)
		h.settle()
		if p, _ := r.srv.Proxy("w-1"); p.Status != server.Synced {
			t.Errorf("status = %s: %+v", p.Status, p.Types)
		}
	})
}
