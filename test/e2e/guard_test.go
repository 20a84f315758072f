//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/events"
	"meshlite.dev/test/lab"
)

const (
	rootToken  = "11111111-2222-3333-4444-555555555555"
	readRights = `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" } agent_prefix "" { policy = "read" }`
)

// secured starts a Consul that denies what no token allows, three services of
// three instances, and a server with a token that may read.
func secured(t *testing.T) (l *lab.Lab, consul *lab.Consul, accessor, policy string) {
	t.Helper()
	l = lab.New(t)
	consul = l.UseConsul("-dev", `-hcl=acl { enabled = true default_policy = "deny" tokens { initial_management = "`+rootToken+`" agent = "`+rootToken+`" } }`)
	consul.Token = rootToken
	var made struct{ ID, AccessorID, SecretID string }
	must := func(path string, body any) {
		if err := json.Unmarshal(consul.Must(http.MethodPut, path, body), &made); err != nil {
			t.Fatal(err)
		}
	}
	lab.Until(t, 20*time.Second, "the management token works", func() error {
		return consul.Try(http.MethodGet, "/v1/acl/token/self", nil)
	})
	must("/v1/acl/policy", map[string]any{"Name": "read", "Rules": readRights})
	policy = made.ID
	must("/v1/acl/token", map[string]any{"Policies": []map[string]string{{"Name": "read"}}})
	accessor = made.AccessorID
	for _, name := range []string{"stock", "billing"} {
		l.Service(name, 3)
	}
	l.NewServer("CONSUL_HTTP_TOKEN=" + made.SecretID)
	l.Server.Start()
	l.Server.WaitReady(30 * time.Second)
	return l, consul, accessor, policy
}

// TestTokenLosesItsRights: a token that is revoked or weakened makes Consul
// answer with empty lists; no endpoint goes, and an alarm comes in 5 seconds.
func TestTokenLosesItsRights(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		harm func(c *lab.Consul, accessor, policy string)
	}{
		{"revoked", func(c *lab.Consul, accessor, _ string) { c.Must(http.MethodDelete, "/v1/acl/token/"+accessor, nil) }},
		{"weakened", func(c *lab.Consul, _, policy string) {
			c.Must(http.MethodPut, "/v1/acl/policy/"+policy, map[string]any{"Name": "read", "Rules": `service "else" { policy = "read" }`})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l, consul, accessor, policy := secured(t)
			_, client, load := underLoad(t, l, nil)
			tc.harm(consul, accessor, policy)
			alarm(t, l, 5*time.Second)
			lab.Hold(t, 10*time.Second, "no endpoint goes", func() error {
				for _, name := range []string{"orders", "stock", "billing"} {
					if n := len(client.Hosts(name)); n != 3 {
						return fmt.Errorf("Envoy knows %d endpoints of %s", n, name)
					}
				}
				return nil
			})
			clean(t, load.Finish())
		})
	}
}

// alarm waits until doctor finds a fault of the catalog.
func alarm(t *testing.T, l *lab.Lab, limit time.Duration) {
	t.Helper()
	took := lab.Until(t, limit, "doctor raises an alarm", func() error {
		out := l.Meshctl("doctor", "-o", "json")
		if out.Code == 79 || out.Code == 1 {
			return nil
		}
		return fmt.Errorf("exit %d: %s%s", out.Code, out.Stdout, out.Stderr)
	})
	t.Logf("alarm after %s", took.Round(time.Millisecond))
}

// TestTokenUnknownAtStart fails with a sentence, and so does none at all
// where Consul denies by default.
func TestTokenUnknownAtStart(t *testing.T) {
	t.Parallel()
	l, _, _, _ := secured(t)
	for name, env := range map[string]string{
		"unknown": "CONSUL_HTTP_TOKEN=99999999-2222-3333-4444-555555555555",
		"none":    "CONSUL_HTTP_TOKEN=",
	} {
		t.Run(name, func(t *testing.T) {
			inner := &lab.Lab{T: t, Dir: t.TempDir(), Registry: l.Registry, Policies: l.Policies}
			s := inner.NewServer(env)
			s.Start()
			select {
			case <-s.Done():
			case <-time.After(20 * time.Second):
				t.Fatalf("it runs: %s", s.Log())
			}
			if s.ExitCode() == 0 || !strings.Contains(strings.ToLower(s.Log()), "token") {
				t.Errorf("exit %d, log %s", s.ExitCode(), s.Log())
			}
		})
	}
}

// TestConsulSnapshotRestored: an older state of Consul takes instances away
// that live; nothing goes until somebody accepts it.
func TestConsulSnapshotRestored(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	consul := l.UseConsul()
	es := l.StartEcho("orders", 3, nil)
	// External nodes, which no agent registers again by itself.
	register := func(e *lab.Echo) {
		consul.Must(http.MethodPut, "/v1/catalog/register", map[string]any{
			"Node": e.ID, "Address": e.Address, "SkipNodeUpdate": false,
			"Service": map[string]any{"ID": e.ID, "Service": "orders", "Address": e.Address, "Port": e.Port},
		})
	}
	register(es[0])
	old := consul.Must(http.MethodGet, "/v1/snapshot", nil)
	register(es[1])
	register(es[2])
	s := l.StartServer()
	client := l.Sidecar("client")
	lab.Until(t, 15*time.Second, "Envoy knows three endpoints", keeps(client, 3))
	load := client.Load(rate, http.MethodGet, "http://orders/")
	consul.Must(http.MethodPut, "/v1/snapshot", old)
	alarm(t, l, 5*time.Second)
	untilTold(t, s, events.GuardTripped, "guard/orders", 1)
	lab.Hold(t, 10*time.Second, "no endpoint goes", keeps(client, 3))
	clean(t, load.Finish())
	l.MustMeshctl("service", "accept", "--all")
	lab.Until(t, 15*time.Second, "the loss is accepted", keeps(client, 1))
	untilTold(t, s, events.EndpointRemoved, "service/orders", 2)
	untilTold(t, s, events.GuardReleased, "guard/orders", 1)
}

// TestTrueLosses go through without anybody's word: one instance of three,
// and a service that is scaled to zero.
func TestTrueLosses(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.UseConsul()
	orders, stock := l.Service("orders", 3), l.Service("stock", 3)
	l.Service("billing", 3)
	l.StartServer()
	client := l.Sidecar("client")
	lab.Until(t, 15*time.Second, "Envoy knows three endpoints", keeps(client, 3))
	l.Registry.Deregister(orders[0].Instance)
	lab.Until(t, 10*time.Second, "one of three is gone", keeps(client, 2))
	l.Registry.Deregister(lab.Instances(stock)...)
	lab.Until(t, 10*time.Second, "the service is empty", func() error {
		if n := len(client.Hosts("stock")); n != 0 {
			return fmt.Errorf("Envoy knows %d endpoints of stock", n)
		}
		return nil
	})
}
