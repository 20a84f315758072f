package server_test

import (
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"

	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server/xdstest"
)

// list is orders, whose routes lead to a failover list of itself and pay.
func list() resource.Set {
	set := xdstest.Service("orders", 8001, 8002)
	over := xdstest.Failover("orders", time.Second, "orders", "pay")
	set.Resources = append(set.Resources, over)
	set.Resources[5] = xdstest.Route("orders", time.Second, over.Name)
	for _, c := range []string{"orders", "pay"} {
		set.Resources[5].Refs = append(set.Resources[5].Refs, resource.Ref{Type: resource.ClusterType, Name: c})
	}
	return set
}

// Routes to a failover list wait for the list and for each of its members,
// whose services they are not, and all of those go behind the routes.
func TestP6RoutesStandWithEveryMemberOfTheirList(t *testing.T) {
	bubble(t, nil, two()[:1], func(t *testing.T, r *rig) {
		h := newHand(t, r, "orders", "pay")
		keep := func(typ string) func(*discoveryv3.DeltaDiscoveryResponse) bool {
			return func(x *discoveryv3.DeltaDiscoveryResponse) bool { return x.GetTypeUrl() == typ }
		}
		h.keep = keep(resource.ClusterType)
		r.store.Apply([]resource.Set{list()})
		if diff := cmp.Diff([]string{"CDS +orders>orders>pay"}, h.settle()); diff != "" {
			t.Errorf("without a member (-want +got):\n%s", diff)
		}
		h.ack(h.kept[0])
		if got := h.settle(); got != nil {
			t.Errorf("without a member: %v", got)
		}
		r.store.Apply([]resource.Set{xdstest.Only(two()[1], resource.ClusterType, resource.EndpointType)})
		if diff := cmp.Diff([]string{"CDS +pay", "EDS +pay"}, h.settle()); diff != "" {
			t.Errorf("with it (-want +got):\n%s", diff)
		}
		h.ack(h.kept[1])
		if diff := cmp.Diff([]string{"RDS +orders"}, h.settle()); diff != "" {
			t.Errorf("after its acknowledgement (-want +got):\n%s", diff)
		}
		h.keep, h.kept = keep(resource.RouteType), nil
		r.store.Apply([]resource.Set{{Service: "pay"}})
		if got := h.settle(); got != nil {
			t.Errorf("a member goes although the list is in use: %v", got)
		}
		r.store.Apply([]resource.Set{two()[0]})
		if diff := cmp.Diff([]string{"RDS +orders"}, h.settle()); diff != "" {
			t.Errorf("without the list (-want +got):\n%s", diff)
		}
		h.ack(h.kept[0])
		if diff := cmp.Diff([]string{"CDS -orders>orders>pay -pay", "EDS -pay"}, h.settle()); diff != "" {
			t.Errorf("after that was acknowledged (-want +got):\n%s", diff)
		}
	})
}

// While the catalog has not told of a member, a proxy that has the list keeps
// it, with the routes to it; one that starts gets the rest.
func TestP1ListStaysWhileAMemberIsNotKnown(t *testing.T) {
	bubble(t, nil, append(two()[1:], list()), func(t *testing.T, r *rig) {
		e := envoy("c-1", "client")
		hang := r.connect(e)
		had := [2]string{e.Has(resource.ClusterType)["orders>orders>pay"], e.Has(resource.RouteType)["orders"]}
		waits := two()[0]
		waits.Resources[5] = xdstest.With(waits.Resources[5], resource.IfAbsent)
		waits.Resources = append(waits.Resources, xdstest.With(xdstest.Failover("orders", 0, "orders", "pay"), resource.Withheld))
		pay := two()[1]
		for i := range 2 {
			pay.Resources[i] = xdstest.With(pay.Resources[i], resource.Withheld)
		}
		pay.Resources[5] = xdstest.With(xdstest.Route("pay", 0), resource.IfAbsent)
		r.store.Apply([]resource.Set{waits, pay})
		synctest.Wait()
		for range 2 {
			if now := [2]string{e.Has(resource.ClusterType)["orders>orders>pay"], e.Has(resource.RouteType)["orders"]}; now != had || had[0] == "" {
				t.Errorf("the proxy has %v, it had %v", now, had)
			}
			if e.Has(resource.ClusterType)["pay"] == "" || e.Faults() != nil {
				t.Errorf("member %q, faults %v", e.Has(resource.ClusterType)["pay"], e.Faults())
			}
			hang() // and after a reconnect
			hang = r.connect(e)
		}
		fresh := envoy("c-2", "client")
		r.connect(fresh)
		if got := fresh.Has(resource.RouteType)["orders"]; got != waits.Resources[5].Version || fresh.Faults() != nil {
			t.Errorf("a new proxy has routes %q, faults %v", got, fresh.Faults())
		}
	})
}
