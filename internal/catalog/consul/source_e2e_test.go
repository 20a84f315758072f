//go:build e2e

package consul_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/catalog/consul"
	"meshlite.dev/internal/catalog/consul/consultest"
	"meshlite.dev/internal/mesh"
)

func TestSmallLossesGoThroughWithinASecond(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	_, want := twenty(agent)
	r := record(t, agent, consul.Config{})
	whole(r, within, want)
	agent.Apply(nil, "s01-2")
	r.UntilAddresses(time.Second, "s01", "10.1.1.1:80=HEALTHY 10.1.1.3:80=HEALTHY")
	agent.Apply(nil, "s02-1", "s02-2", "s02-3")
	r.UntilAddresses(time.Second, "s02", "")
}

func TestHealthAndMaintenance(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	weights := &api.AgentWeights{Passing: 10, Warning: 3}
	for i := range 3 {
		agent.Register(consultest.Instance{Service: "orders", ID: fmt.Sprint("o", i+1), Address: fmt.Sprintf("10.0.0.%d", i+1), Port: 80, Check: "passing", Weights: weights})
	}
	const grace = time.Second
	r := record(t, agent, consul.Config{DrainGrace: grace})
	r.UntilAddresses(within, "orders", "10.0.0.1:80=HEALTHY 10.0.0.2:80=HEALTHY 10.0.0.3:80=HEALTHY")
	agent.SetCheck("o1", "critical")
	r.UntilAddresses(within, "orders", "10.0.0.1:80=UNHEALTHY 10.0.0.2:80=HEALTHY 10.0.0.3:80=HEALTHY")
	agent.SetCheck("o1", "warning")
	r.Until(within, "the weight of a warning", func() error {
		e := r.Service("orders").Endpoints
		if e[0].Weight != 3 || e[0].Health != mesh.Healthy || e[1].Weight != 10 {
			return fmt.Errorf("endpoints are %+v", e)
		}
		return nil
	})
	agent.Register(consultest.Instance{Service: "stock", ID: "unweighted", Address: "10.0.1.1", Port: 80, Check: "warning", Weights: &api.AgentWeights{Passing: 1, Warning: 0}})
	r.UntilAddresses(within, "stock", "10.0.1.1:80=UNHEALTHY")
	agent.Maintenance("o2", true)
	r.UntilAddresses(within, "orders", "10.0.0.1:80=HEALTHY 10.0.0.2:80=DRAINING 10.0.0.3:80=HEALTHY")
	draining := time.Now()
	r.UntilAddresses(within, "orders", "10.0.0.1:80=HEALTHY 10.0.0.3:80=HEALTHY")
	if took := time.Since(draining); took < grace/2 {
		t.Errorf("removed after %s, want about %s", took, grace)
	}
	agent.Maintenance("o2", false)
	r.UntilAddresses(within, "orders", "10.0.0.1:80=HEALTHY 10.0.0.2:80=HEALTHY 10.0.0.3:80=HEALTHY")
	agent.Maintenance("o2", true)
	r.UntilAddresses(within, "orders", "10.0.0.1:80=HEALTHY 10.0.0.2:80=DRAINING 10.0.0.3:80=HEALTHY")
	agent.Deregister("o2") // it dies in maintenance
	r.UntilAddresses(within, "orders", "10.0.0.1:80=HEALTHY 10.0.0.3:80=HEALTHY")
}

// A node in maintenance drains all that it carries, without an alarm: that is
// no loss, and somebody meant it.
func TestANodeInMaintenanceDrains(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	var names []string
	for i := range 12 {
		name := fmt.Sprintf("s%02d", i+1)
		names = append(names, name)
		agent.Register(consultest.Instance{Service: name, ID: name, Address: fmt.Sprintf("10.5.%d.1", i+1), Port: 80})
	}
	r := record(t, agent, consul.Config{DrainGrace: time.Second})
	all := func(health string) {
		t.Helper()
		for i, name := range names {
			want := ""
			if health != "" {
				want = fmt.Sprintf("10.5.%d.1:80=%s", i+1, health)
			}
			r.UntilAddresses(within, name, want)
		}
	}
	all("HEALTHY")
	if err := agent.API().Agent().EnableNodeMaintenance("test"); err != nil {
		t.Fatal(err)
	}
	all("DRAINING")
	all("")
	if h := r.Source.Status().Holds; len(h) > 0 {
		t.Errorf("holds are %+v", h)
	}
	if err := agent.API().Agent().DisableNodeMaintenance(); err != nil {
		t.Fatal(err)
	}
	all("HEALTHY")
}

func TestProxiesGatewaysAndConsulAreNoServices(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	agent.Register(
		consultest.Instance{Service: "orders", ID: "o", Address: "10.0.0.1", Port: 80},
		consultest.Instance{Service: "orders-sidecar-proxy", ID: "p", Address: "10.0.0.1", Port: 20000, Kind: api.ServiceKindConnectProxy, Proxied: "orders"},
		consultest.Instance{Service: "orders", ID: "namesake", Address: "10.0.0.3", Port: 20000, Kind: api.ServiceKindMeshGateway},
		consultest.Instance{Service: "orders", ID: "sidecar", Address: "10.0.0.4", Port: 20000, Kind: api.ServiceKindConnectProxy, Proxied: "orders"},
		consultest.Instance{Service: "gateway", ID: "g", Address: "10.0.0.2", Port: 20000, Kind: api.ServiceKindMeshGateway},
	)
	r := record(t, agent, consul.Config{})
	r.UntilAddresses(within, "orders", "10.0.0.1:80=HEALTHY")
	if got := r.Latest().Services.Len(); got != 1 {
		t.Errorf("%d services, want orders alone", got)
	}
}

func TestServiceDefaultsStateTheProtocol(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	agent.Register(
		consultest.Instance{Service: "orders", ID: "o", Address: "10.0.0.1", Port: 80, Region: "eu", Zone: "eu-1"},
		consultest.Instance{Service: "stock", ID: "s", Address: "10.0.0.2", Port: 80, Meta: map[string]string{"protocol": "http2"}},
	)
	agent.Protocol("orders", "grpc")
	agent.Protocol("stock", "tcp")
	r := record(t, agent, consul.Config{})
	protocol := func(name string, want mesh.Protocol) {
		t.Helper()
		r.Until(within, name, func() error {
			if s := r.Service(name); s == nil || s.Protocol != want {
				return fmt.Errorf("it is %+v, want %s", s, want)
			}
			return nil
		})
	}
	protocol("orders", mesh.GRPC)
	protocol("stock", mesh.HTTP2) // the instance's word counts more
	if got := r.All()[0].Services; got.Len() == 2 {
		if s, _ := got.Get("orders"); s.Protocol != mesh.GRPC {
			t.Errorf("the first snapshot has orders as %s", s.Protocol)
		}
	}
	agent.Protocol("orders", "http")
	protocol("orders", mesh.HTTP1)
	if _, err := agent.API().ConfigEntries().Delete(api.ServiceDefaults, "stock", nil); err != nil {
		t.Fatal(err)
	}
	protocol("stock", mesh.HTTP2)
}

func TestOnlyTheServicesInUseAreWatched(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	twenty(agent)
	r := record(t, agent, consul.Config{Services: []string{"s01", "missing"}})
	r.UntilAddresses(within, "s01", "10.1.1.1:80=HEALTHY 10.1.1.2:80=HEALTHY 10.1.1.3:80=HEALTHY")
	r.UntilAddresses(within, "missing", "")
	if got := r.Latest().Services.Len(); got != 2 {
		t.Errorf("%d services, want the two in use", got)
	}
}

func TestServicesBeyondTheLimitAreNamed(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	twenty(agent)
	r := record(t, agent, consul.Config{MaxWatches: 5})
	r.UntilAddresses(within, "s05", "10.1.5.1:80=HEALTHY 10.1.5.2:80=HEALTHY 10.1.5.3:80=HEALTHY")
	skipped := r.Source.Status().Skipped
	if len(skipped) != 15 || !slices.ContainsFunc(skipped, func(s catalog.Skipped) bool {
		return s.Name == "s06" && strings.Contains(s.Hint, "HTTPS") && strings.Contains(s.Hint, "http_max_conns_per_client")
	}) {
		t.Errorf("skipped = %+v", skipped)
	}
	r.Until(within, "the alarm", noted(r, "15 services are not watched"))
	agent.Apply([]consultest.Instance{{Service: "a-first", ID: "a", Address: "10.9.0.1", Port: 80}})
	r.Until(within, "the newcomer is named too", func() error {
		if len(r.Source.Status().Skipped) != 16 {
			return fmt.Errorf("skipped = %+v", r.Source.Status().Skipped)
		}
		return nil
	})
	if got := r.Addresses("s05"); len(strings.Fields(got)) != 3 {
		t.Errorf("s05, which was watched, is [%s]", got)
	}
}
