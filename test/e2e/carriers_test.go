//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/test/lab"
)

// carrier is one way in which users put policies in force.
type carrier struct {
	flags []string
	put   func(kind, name, text string)
	drop  func(kind, name string)
}

// carriers returns the three of them, each with a lab of its own.
var carriers = map[string]func(t *testing.T, l *lab.Lab) carrier{
	"folder": func(_ *testing.T, l *lab.Lab) carrier {
		file := func(kind, name string) string { return kind + "." + name + ".yaml" }
		return carrier{
			put:  func(kind, name, text string) { l.Policies.Write(file(kind, name), text) },
			drop: func(kind, name string) { l.Policies.Remove(file(kind, name)) },
		}
	},
	"consul": func(t *testing.T, l *lab.Lab) carrier {
		consul := l.UseConsul()
		path := func(kind, name string) string { return "/v1/kv/mesh/policies/" + kind + "/default/" + name }
		return carrier{
			flags: []string{"--policy-source", "consul", "--policy-dir", ""},
			put: func(kind, name, text string) {
				var doc map[string]any
				if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
					t.Fatal(err)
				}
				consul.Must(http.MethodPut, path(kind, name), doc)
			},
			drop: func(kind, name string) { consul.Must(http.MethodDelete, path(kind, name), nil) },
		}
	},
	"kubernetes": func(_ *testing.T, l *lab.Lab) carrier {
		cluster := l.StartCluster()
		cluster.InstallCRDs()
		return carrier{
			flags: []string{"--policy-source", "kube", "--kubeconfig", cluster.Kubeconfig(), "--policy-dir", ""},
			put:   func(_, _, text string) { cluster.Apply(text) },
			drop:  func(kind, name string) { cluster.MustKubectl("delete", kind, name) },
		}
	},
}

const ordersRoute = `apiVersion: meshlite.dev/v1alpha1
kind: TrafficRoute
metadata: {name: orders}
spec:
  service: orders
  subsets:
  - {name: v2, tags: [v2]}
  rules:
  - name: canary
    matches: [{headers: [{name: x-canary, type: Present}]}]
    backends: [{subset: v2}]
    failover: [{service: stock}]
    timeouts: {request: 4s}
  - name: closed
    matches: [{path: {type: Prefix, value: /closed}}]
    filters: {directResponse: {status: 410, body: closed}}
`

// TestCarriersAgree plays one scenario through a folder, Consul's key-value
// store and a Kubernetes API: the same edits give the same bytes on the wire,
// and what was applied and deleted again leaves nothing behind.
func TestCarriersAgree(t *testing.T) {
	t.Parallel()
	steps := map[string]map[string]string{} // carrier → resource → version, after the scenario
	for _, name := range slices.Sorted(maps.Keys(carriers)) {
		t.Run(name, func(t *testing.T) { steps[name] = scenario(t, name) })
	}
	want := steps["folder"]
	if len(want) == 0 {
		t.Fatal("the folder's scenario left no resource")
	}
	for name, got := range steps {
		if !maps.Equal(got, want) {
			t.Errorf("%s has %v on the wire, the folder %v", name, got, want)
		}
	}
}

func scenario(t *testing.T, name string) map[string]string {
	l := lab.New(t)
	c := carriers[name](t, l)
	l.Registry.Register(fixedInstances()...)
	s := l.StartServer(c.flags...)
	client := l.Sidecar("client")
	closed := func(status int) func() error {
		return func() error {
			got, err := client.Do(http.MethodGet, "http://orders/closed")
			if err == nil && got.Status != status {
				err = fmt.Errorf("%d", got.Status)
			}
			return err
		}
	}
	timeout := func(want string) func() error {
		return func() error {
			if got := at(readDump(t, client).part(route, "stock"), "route.timeout"); got != want {
				return fmt.Errorf("the timeout is %v", got)
			}
			return nil
		}
	}
	lab.Until(t, 20*time.Second, "the mesh is there", timeout("15s"))
	lab.Until(t, 5*time.Second, "all is acknowledged", func() error { return acknowledged(s) })
	before := versions(t, s, "client")

	// From the write to the Envoy within five seconds, as the requirement says.
	c.put("ResiliencePolicy", "stock", policyYAML("stock", "\n  timeouts: {request: 7s}"))
	t.Logf("%s: a policy is in force on the Envoy after %s", name, lab.Until(t, 5*time.Second, "the policy is in force", timeout("7s")))
	c.put("TrafficRoute", "orders", ordersRoute)
	t.Logf("%s: a route is in force on the Envoy after %s", name, lab.Until(t, 5*time.Second, "the route is in force", closed(http.StatusGone)))
	c.put("ResiliencePolicy", "stock", policyYAML("stock", "\n  timeouts: {request: 8s}\n  retry: {attempts: 1}"))
	lab.Until(t, 5*time.Second, "the edit is in force", timeout("8s"))
	lab.Until(t, 5*time.Second, "all is acknowledged", func() error { return acknowledged(s) })
	after := versions(t, s, "client")
	if maps.Equal(before, after) {
		t.Error("the policies changed nothing on the wire")
	}

	c.drop("TrafficRoute", "orders")
	c.drop("ResiliencePolicy", "stock")
	lab.Until(t, 10*time.Second, "both are gone", timeout("15s"))
	// Clusters outlive the routes to them by half a minute.
	lab.Until(t, 45*time.Second, "nothing is left of them", func() error {
		if now := versions(t, s, "client"); !maps.Equal(now, before) {
			return fmt.Errorf("on the wire are %v, before were %v", now, before)
		}
		return acknowledged(s)
	})
	return after
}

// fixedInstances are the same on every carrier, so that endpoints are too.
func fixedInstances() []lab.Instance {
	var out []lab.Instance
	for i, service := range []string{"orders", "orders", "stock"} {
		in := lab.Instance{ID: fmt.Sprint(service, "-", i), Name: service, Address: fmt.Sprintf("127.0.1.%d", i+1), Port: 9}
		if i == 1 {
			in.Tags = []string{"v2"}
		}
		out = append(out, in)
	}
	return out
}

// versions are the hashes of what a proxy acknowledged, by type and name.
func versions(t *testing.T, s *lab.Server, proxy string) map[string]string {
	t.Helper()
	var ps []adminapi.Proxy
	s.Get("/v1/proxies", &ps)
	out := map[string]string{}
	for _, p := range ps {
		if p.Service != proxy {
			continue
		}
		var rs []adminapi.ProxyResource
		s.Get("/v1/proxies/"+p.ID+"/config", &rs)
		for _, r := range rs {
			if r.Type != "LDS" { // its ports differ
				out[r.Type+" "+r.Name] = r.Version
			}
		}
	}
	return out
}

// acknowledged reports whether every sidecar has what it should.
func acknowledged(s *lab.Server) error {
	ps, err := s.Proxies()
	if err != nil {
		return err
	}
	for _, p := range ps {
		if p.Connected && p.Status != adminapi.Synced {
			raw, _ := json.Marshal(p.Types)
			return fmt.Errorf("%s is %s: %s", p.ID, p.Status, raw)
		}
	}
	return nil
}
