package server_test

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/internal/xds/server/xdstest"
)

func two() []resource.Set {
	return []resource.Set{xdstest.Service("orders", 8001, 8002), xdstest.Service("pay", 9001)}
}

func TestEnvoyStartsInOrder(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		e := envoy("c-1", "client")
		r.connect(e)
		want := "CDS +orders +pay\n" +
			"EDS +orders +pay\n" +
			"LDS +outbound\n" +
			"SRDS +orders +orders.mesh +orders.service.consul +pay +pay.mesh +pay.service.consul\n" +
			"RDS +orders +pay"
		if diff := cmp.Diff(want, e.Log()); diff != "" {
			t.Errorf("responses (-want +got):\n%s", diff)
		}
		p, _ := r.srv.Proxy("c-1")
		if p.Status != server.Synced {
			t.Errorf("status = %s, want SYNCED: %+v", p.Status, p.Types)
		}
		got := map[string]int{}
		for _, typ := range p.Types {
			got[typ.Type] = typ.Resources
		}
		if diff := cmp.Diff(map[string]int{"CDS": 2, "EDS": 2, "LDS": 1, "SRDS": 6, "RDS": 2}, got); diff != "" {
			t.Errorf("resources (-want +got):\n%s", diff)
		}
	})
}

func TestNewServiceComesAndGoesInOneFlush(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		prover, e := envoy("c-0", "client"), envoy("c-1", "client")
		r.connect(prover)
		r.connect(e)
		e.Log()
		r.store.Apply([]resource.Set{xdstest.Service("users", 7001)})
		synctest.Wait()
		t.Log("add:\n" + e.Log())
		if got := e.Has(resource.RouteType)["users"]; got == "" {
			t.Error("no route to the new service")
		}
		r.store.Apply([]resource.Set{{Service: "users"}})
		synctest.Wait()
		want := "SRDS -users -users.mesh -users.service.consul\nRDS -users\nCDS -users\nEDS -users"
		if diff := cmp.Diff(want, e.Log()); diff != "" {
			t.Errorf("removal (-want +got):\n%s", diff)
		}
		if f := e.Faults(); f != nil {
			t.Error(f)
		}
	})
}

func TestEndpointChangeSendsOneResource(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		e := envoy("c-1", "client")
		r.connect(e)
		e.Log()
		r.store.Apply([]resource.Set{xdstest.Service("orders", 8001, 8002, 8003)})
		synctest.Wait()
		if got, want := e.Log(), "EDS +orders"; got != want {
			t.Errorf("responses = %q, want %q", got, want)
		}
	})
}

// P11: a proxy that comes back gets what changed and nothing else.
func TestP11ReconnectIsFree(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		e := envoy("c-1", "client")
		hang := r.connect(e)
		hang()
		e.Log()
		before := e.Received
		hang = r.connect(e)
		if got := e.Received - before; got != 0 {
			t.Errorf("%d resources after a reconnect, want 0:\n%s", got, e.Log())
		}
		p, _ := r.srv.Proxy("c-1")
		if p.Status != server.Synced {
			t.Errorf("status = %s: %+v", p.Status, p)
		}
		hang()
		r.store.Apply([]resource.Set{xdstest.Service("orders", 8002), {Service: "pay"}})
		r.connect(e)
		want := "EDS +orders\nSRDS -pay -pay.mesh -pay.service.consul\nRDS -pay\nCDS -pay\nEDS -pay"
		t.Logf("after a change while away:\n%s\nwant about\n%s", e.Log(), want)
		if has := e.Has(resource.ClusterType); len(has) != 1 {
			t.Errorf("clusters = %v, want orders alone", has)
		}
		if f := e.Faults(); f != nil {
			t.Error(f)
		}
	})
}

func TestServerThatRestartsSendsNothingUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := newRig(t, nil, two()...)
		e := envoy("c-1", "client", "orders")
		first.connect(e)
		first.stop()
		before := e.Received
		second := newRig(t, nil, two()...)
		defer second.stop()
		second.connect(e)
		if got := e.Received - before; got != 0 {
			t.Errorf("%d resources after a restart, want 0:\n%s", got, e.Log())
		}
		r := e.Has(resource.ListenerType)
		if len(r) != 2 {
			t.Errorf("listeners = %v", maps.Keys(r))
		}
	})
}

func TestStreamsAreRefusedBeforeTheFirstPublish(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, r *rig) {
		p := r.delta()
		if err := p.Wait(); err == nil || err.Error() != "rpc error: code = Unavailable desc = no configuration has been read yet" {
			t.Errorf("err = %v", err)
		}
		r.store.Apply(nil)
		e := envoy("c-1", "client")
		r.connect(e)
		if got, want := e.Log(), "CDS\nLDS +outbound\nSRDS"; got != want {
			t.Errorf("an empty mesh is answered with %q, want %q", got, want)
		}
	})
}

func TestWithheldIsNeitherSentNorRemoved(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		e := envoy("c-1", "client")
		hang := r.connect(e)
		e.Log()
		held := xdstest.Service("orders", 8001, 8002)
		for i, res := range held.Resources {
			switch res.Type {
			case resource.ClusterType, resource.EndpointType:
				held.Resources[i] = xdstest.With(res, resource.Withheld)
			case resource.RouteType:
				direct := xdstest.With(xdstest.Route("orders", 7*time.Second), resource.IfAbsent)
				direct.Refs = nil
				held.Resources[i] = direct
			}
		}
		r.store.Apply([]resource.Set{held})
		synctest.Wait()
		if got := e.Log(); got != "" {
			t.Errorf("sent %q to a proxy that has it all", got)
		}
		hang()
		r.connect(e)
		if got := e.Log(); got != "" {
			t.Errorf("sent %q to a proxy that came back with it all", got)
		}
		fresh := envoy("c-2", "client")
		r.connect(fresh)
		want := "CDS +pay\nEDS +pay\nLDS +outbound\n" +
			"SRDS +orders +orders.mesh +orders.service.consul +pay +pay.mesh +pay.service.consul\nRDS +orders +pay"
		if diff := cmp.Diff(want, fresh.Log()); diff != "" {
			t.Errorf("a new proxy (-want +got):\n%s", diff)
		}
		r.store.Apply([]resource.Set{xdstest.Service("orders", 8001, 8002)})
		synctest.Wait()
		if got := e.Log(); got != "" {
			t.Errorf("sent %q though the service came back as it was", got)
		}
		if got := fresh.Has(resource.EndpointType)["orders"]; got == "" {
			t.Error("the new proxy did not get the endpoints")
		}
		for _, x := range []*xdstest.Envoy{e, fresh} {
			if f := x.Faults(); f != nil {
				t.Error(f)
			}
		}
	})
}
