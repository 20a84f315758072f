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
)

// TestContract runs the suite of catalog.Source on a real Consul.
func TestContract(t *testing.T) {
	catalogtest.Run(t, func(t *testing.T) catalogtest.World {
		agent := consultest.Start(t, consultest.Options{Data: true})
		registered := map[string][]string{}
		return catalogtest.World{
			Within: 5 * time.Second,
			Source: func(t *testing.T) catalog.Source { return newSource(t, consul.Config{Addr: agent.Addr}) },
			Set: func(_ *testing.T, services map[string][]catalogtest.Instance) {
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
			},
			Break: func(*testing.T) { agent.Kill() },
			Mend:  func(*testing.T) { agent.Run() },
		}
	})
}

func newSource(t *testing.T, cfg consul.Config) *consul.Source {
	t.Helper()
	s, err := consul.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
