//go:build e2e

package consul_test

import (
	"slices"
	"testing"
	"time"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/catalog/catalogtest"
	"meshlite.dev/internal/catalog/consul"
	"meshlite.dev/internal/catalog/consul/consultest"
	"meshlite.dev/internal/mesh"
)

// TestContract runs the suite of catalog.Source on a real Consul.
func TestContract(t *testing.T) {
	catalogtest.Run(t, func(t *testing.T) catalogtest.World {
		agent := consultest.Start(t, consultest.Options{Data: true, Datacenter: "dc1"})
		set := setter(agent)
		var dc2 func(map[string][]catalogtest.Instance) // nil until it is started
		var wanted []string
		return catalogtest.World{
			Within: 5 * time.Second, Far: joined,
			Source: func(t *testing.T) catalog.Source {
				s := newSource(t, consul.Config{Addr: agent.Addr})
				s.Want(wanted)
				return s
			},
			Set: func(_ *testing.T, services map[string][]catalogtest.Instance) { set(services) },
			Abroad: func(t *testing.T, services map[string][]catalogtest.Instance) {
				if dc2 == nil {
					dc2 = setter(consultest.Start(t, consultest.Options{Datacenter: "dc2", Join: agent}))
				}
				dc2(services)
				for service := range services {
					wanted = append(wanted, mesh.ServiceKey(service, "dc2"))
				}
			},
			Break: func(*testing.T) { agent.Kill() },
			Mend:  func(*testing.T) { agent.Run() },
		}
	})
}

// setter returns what makes the given instances those of their services.
func setter(agent *consultest.Agent) func(map[string][]catalogtest.Instance) {
	registered := map[string][]string{}
	return func(services map[string][]catalogtest.Instance) {
		var add []consultest.Instance
		var remove []string
		for service, instances := range services {
			remove = append(remove, registered[service]...)
			registered[service] = nil
			for _, i := range instances {
				add = append(add, consultest.Instance{Service: service, ID: i.ID, Address: i.Address, Port: i.Port, Tags: i.Tags, Meta: i.Meta})
				registered[service] = append(registered[service], i.ID)
				remove = slices.DeleteFunc(remove, func(id string) bool { return id == i.ID })
			}
		}
		agent.Apply(add, remove...)
	}
}

func newSource(t *testing.T, cfg consul.Config) *consul.Source {
	t.Helper()
	s, err := consul.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
