package server_test

import (
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"

	"meshlite.dev/internal/xds/resource"
)

// unsubscribe is a delta request.
func unsubscribe(typeURL string, names ...string) *discoveryv3.DeltaDiscoveryRequest {
	return &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesUnsubscribe: names}
}

// P6: routes that are under way while a proxy stops asking for them and asks
// again are in use once it accepts them, though they were sent before it asked:
// the cluster behind them stays when it refuses what comes next.
func TestP6RoutesUnderWayWhileTheProxyAsksAgain(t *testing.T) {
	for _, tc := range []struct {
		name string
		asks bool
		want []string
	}{
		{"and it asks again", true, nil},
		{"and it does not", false, []string{"CDS -canary", "EDS -canary"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, nil, two(), func(t *testing.T, r *rig) {
				split, back := splitAndBack()
				h := newHand(t, r, "orders", "pay", "canary")
				h.keep = func(x *discoveryv3.DeltaDiscoveryResponse) bool { return x.GetTypeUrl() == resource.RouteType }
				r.store.Apply(split)
				h.settle() // the routes to canary are under way
				h.p.Say(unsubscribe(resource.RouteType, "orders"))
				h.settle()
				r.store.Apply(back)
				if got := h.settle(); got != nil {
					t.Errorf("while the routes are under way: %v", got)
				}
				if tc.asks {
					h.p.Say(subscribe(resource.RouteType, "orders"))
					if diff := cmp.Diff([]string{"RDS +orders"}, h.settle()); diff != "" {
						t.Errorf("asked again (-want +got):\n%s", diff)
					}
				}
				h.ack(h.kept[0])
				if tc.asks {
					h.nack(h.kept[1], "bad")
				}
				if diff := cmp.Diff(tc.want, h.settle()); diff != "" {
					t.Errorf("after the answers (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// P6: routes that are under way twice may be dropped the first time, when the
// proxy does not ask for them, and kept the second.
func TestP6TheSameRoutesUnderWayTwice(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		split, back := splitAndBack()
		h := newHand(t, r, "orders", "pay", "canary")
		h.keep = func(x *discoveryv3.DeltaDiscoveryResponse) bool { return x.GetTypeUrl() == resource.RouteType }
		r.store.Apply(split)
		h.settle()
		h.p.Say(subscribe(resource.RouteType, "orders")) // which is answered once more
		h.settle()
		h.p.Say(unsubscribe(resource.RouteType, "orders"))
		h.settle()
		r.store.Apply(back)
		h.settle()
		if len(h.kept) != 2 {
			t.Fatalf("%d responses are under way, want 2", len(h.kept))
		}
		h.ack(h.kept[0])
		if got := h.settle(); got != nil {
			t.Errorf("after the first answer: %v", got)
		}
		h.p.Say(subscribe(resource.RouteType, "orders"))
		if diff := cmp.Diff([]string{"RDS +orders"}, h.settle()); diff != "" {
			t.Errorf("asked again (-want +got):\n%s", diff)
		}
		h.ack(h.kept[1])
		h.nack(h.kept[2], "bad")
		if got := h.settle(); got != nil {
			t.Errorf("with the routes in use: %v", got)
		}
	})
}
