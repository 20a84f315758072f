package consul

import (
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"meshlite.dev/internal/mesh"
)

func entry(checks ...string) *api.ServiceEntry {
	e := &api.ServiceEntry{
		Node:    &api.Node{Node: "n1", Address: "10.0.0.9", Datacenter: "dc1"},
		Service: &api.AgentService{ID: "o1", Service: "orders", Address: "10.0.0.1", Port: 80, Weights: api.AgentWeights{Passing: 10, Warning: 3}},
	}
	for _, c := range checks {
		id, status, found := strings.Cut(c, "=")
		if !found {
			id, status = "check", c
		}
		e.Checks = append(e.Checks, &api.HealthCheck{CheckID: id, Status: status})
	}
	return e
}

// Consul's checks in Envoy's words: maintenance beats critical beats warning.
func TestHealthOfChecks(t *testing.T) {
	for what, tc := range map[string]struct {
		checks  []string
		weights api.AgentWeights
		health  mesh.Health
		weight  uint32
	}{
		"no checks":                      {weights: api.AgentWeights{Passing: 10, Warning: 3}, health: mesh.Healthy, weight: 10},
		"passing":                        {checks: []string{"passing", "passing"}, weights: api.AgentWeights{Passing: 10, Warning: 3}, health: mesh.Healthy, weight: 10},
		"one warning":                    {checks: []string{"passing", "warning"}, weights: api.AgentWeights{Passing: 10, Warning: 3}, health: mesh.Healthy, weight: 3},
		"a warning without weight":       {checks: []string{"warning"}, weights: api.AgentWeights{Passing: 10}, health: mesh.Unhealthy, weight: 10},
		"critical beats warning":         {checks: []string{"warning", "critical"}, weights: api.AgentWeights{Passing: 10, Warning: 3}, health: mesh.Unhealthy, weight: 10},
		"a state that nobody knows":      {checks: []string{"shaky"}, weights: api.AgentWeights{Passing: 10}, health: mesh.Unhealthy, weight: 10},
		"the service in maintenance":     {checks: []string{"critical", "_service_maintenance:o1=critical"}, weights: api.AgentWeights{Passing: 10}, health: mesh.Draining, weight: 10},
		"the node in maintenance":        {checks: []string{"_node_maintenance=critical"}, weights: api.AgentWeights{Passing: 10}, health: mesh.Draining, weight: 10},
		"a check that only sounds so":    {checks: []string{"my_service_maintenance:=critical"}, weights: api.AgentWeights{Passing: 10}, health: mesh.Unhealthy, weight: 10},
		"more weight than Envoy takes":   {weights: api.AgentWeights{Passing: 500}, health: mesh.Healthy, weight: 128},
		"no weight at all":               {weights: api.AgentWeights{}, health: mesh.Healthy, weight: 1},
		"a warning's weight too is kept": {checks: []string{"warning"}, weights: api.AgentWeights{Passing: 1, Warning: 900}, health: mesh.Healthy, weight: 128},
	} {
		e := entry(tc.checks...)
		e.Service.Weights = tc.weights
		d := describe("orders", []*api.ServiceEntry{e})
		if len(d.endpoints) != 1 || d.endpoints[0].Health != tc.health || d.endpoints[0].Weight != tc.weight {
			t.Errorf("%s: %+v, want %s with weight %d", what, d.endpoints, tc.health, tc.weight)
		}
	}
}

func TestAddressIsTheInstancesElseItsNodes(t *testing.T) {
	for what, tc := range map[string]struct {
		edit func(*api.ServiceEntry)
		want string // "" for none: skipped and reported
	}{
		"its own":                        {func(*api.ServiceEntry) {}, "10.0.0.1"},
		"the node's":                     {func(e *api.ServiceEntry) { e.Service.Address = "" }, "10.0.0.9"},
		"a tagged one for a host name":   {func(e *api.ServiceEntry) { e.Service.Address, e.Service.TaggedAddresses = "db", tagged("10.0.0.7") }, "10.0.0.7"},
		"not the node's for a host name": {func(e *api.ServiceEntry) { e.Service.Address = "db" }, ""},
		"the node's tagged one": {func(e *api.ServiceEntry) {
			e.Service.Address, e.Node.Address, e.Node.TaggedAddresses = "", "host", map[string]string{"lan": "10.0.0.8"}
		}, "10.0.0.8"},
		"no port": {func(e *api.ServiceEntry) { e.Service.Port = 0 }, ""},
	} {
		e := entry()
		tc.edit(e)
		d := describe("orders", []*api.ServiceEntry{e})
		switch {
		case tc.want == "" && (len(d.endpoints) > 0 || len(d.findings) != 1 || !strings.Contains(d.findings[0].Message, `"o1"`) || d.findings[0].Hint == ""):
			t.Errorf("%s: %+v, findings %+v", what, d.endpoints, d.findings)
		case tc.want != "" && (len(d.endpoints) != 1 || d.endpoints[0].Address != tc.want || len(d.findings) > 0):
			t.Errorf("%s: %+v, findings %+v", what, d.endpoints, d.findings)
		}
	}
}

func tagged(address string) map[string]api.ServiceAddress {
	return map[string]api.ServiceAddress{"lan_ipv4": {Address: address, Port: 80}}
}

func TestProxiesAndHolesAreNoInstances(t *testing.T) {
	all := []*api.ServiceEntry{nil, {}, {Node: &api.Node{}}}
	for _, kind := range []api.ServiceKind{api.ServiceKindConnectProxy, api.ServiceKindMeshGateway, api.ServiceKindIngressGateway, api.ServiceKindTerminatingGateway, api.ServiceKindAPIGateway} {
		e := entry()
		e.Service.Kind = kind
		all = append(all, e)
	}
	if d := describe("orders", all); len(d.endpoints) > 0 || len(d.findings) > 0 {
		t.Errorf("described as %+v", d)
	}
}

func TestLocalityIsTheInstancesElseItsNodesElseMetas(t *testing.T) {
	e := entry()
	e.Node.Meta = map[string]string{"region": "r3", "zone": "z3"}
	steps := []func(){
		func() {},
		func() { e.Service.Meta = map[string]string{"zone": "z2"} },
		func() { e.Node.Locality = &api.Locality{Region: "r1", Zone: "z1"} },
		func() { e.Service.Locality = &api.Locality{Region: "r0"} },
	}
	for i, want := range []mesh.Locality{{Region: "r3", Zone: "z3"}, {Zone: "z2"}, {Region: "r1", Zone: "z1"}, {Region: "r0"}} {
		steps[i]()
		if got := localityOf(e); got != want {
			t.Errorf("step %d: %+v, want %+v", i, got, want)
		}
	}
}

// An answer that lacks protocols counts only where it is not filtered and
// Consul did not go back: http1 by mistake breaks a gRPC service.
func TestLostServiceDefaultsAreKeptInDoubt(t *testing.T) {
	d := whole(t)
	protocol := func() mesh.Protocol {
		d.turn(0)
		s, _ := d.published[len(d.published)-1].Services.Get("a")
		return s.Protocol
	}
	d.stated(d.now, map[string]mesh.Protocol{"a": mesh.GRPC}, false)
	if got := protocol(); got != mesh.GRPC {
		t.Fatalf("stated grpc, it is %s", got)
	}
	d.stated(d.now, map[string]mesh.Protocol{}, true)
	if got := protocol(); got != mesh.GRPC {
		t.Errorf("a filtered answer made it %s", got)
	}
	d.stated(d.now, map[string]mesh.Protocol{}, false)
	if got := protocol(); got != mesh.HTTP1 {
		t.Errorf("no longer stated, it is %s", got)
	}
}
