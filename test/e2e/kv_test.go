//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/test/lab"
)

// inKV writes a policy document under its key.
func inKV(t *testing.T, consul *lab.Consul, name, text string) {
	t.Helper()
	inKVAs(t, consul, "ResiliencePolicy", name, text)
}

// inKVAs is inKV for another kind.
func inKVAs(t *testing.T, consul *lab.Consul, kind, name, text string) {
	t.Helper()
	var doc map[string]any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	consul.Must(http.MethodPut, "/v1/kv/mesh/policies/"+kind+"/default/"+name, doc)
}

// TestPoliciesFromConsul: documents in Consul's key-value store change a real
// Envoy; a second server agrees on the revision; with Consul away a restarted
// server goes on with both catalog and policies.
func TestPoliciesFromConsul(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	consul := l.UseConsul(l.DataFolder()...)
	l.Service("orders", 2)
	flags := []string{"--policy-source", "consul", "--policy-dir", ""}
	l.StartServer(flags...)
	client := l.Sidecar("client")
	client.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	timeout := func(want string) func() error {
		return func() error {
			if got := at(readDump(t, client).part(route, "orders"), "route.timeout"); got != want {
				return fmt.Errorf("the timeout is %v", got)
			}
			return nil
		}
	}
	inKV(t, consul, "orders", policyYAML("orders", "\n  timeouts: {request: 7s}"))
	took := lab.Until(t, 5*time.Second, "the policy is in force", timeout("7s"))
	t.Logf("from the write to Envoy in %s, 100ms of quiet included", took)

	// A bad one is refused with its key; the last good one stays.
	inKV(t, consul, "orders", policyYAML("orders", "\n  timeouts: {request: soon}"))
	lab.Until(t, 5*time.Second, "it is refused", func() error {
		var p adminapi.Policies
		if err := l.Server.Try("/v1/policies", &p); err != nil {
			return err
		}
		for _, item := range p.Items {
			if item.Name == "orders" && item.Accepted == "Invalid" && strings.Contains(item.Message, "soon") {
				return nil
			}
		}
		return fmt.Errorf("%+v", p.Items)
	})
	lab.Hold(t, time.Second, "the last good one serves", timeout("7s"))
	if out := l.MeshctlIn(policyYAML("orders", "\n  timeouts: {request: 8s}"), "policy", "apply", "-f", "-", "--wait"); out.Code != 0 || !strings.Contains(out.Stdout, "configured") {
		t.Fatalf("meshctl policy apply: exit %d %s%s", out.Code, out.Stdout, out.Stderr)
	}
	lab.Until(t, 5*time.Second, "the cured one is in force", timeout("8s"))

	// Two servers, one truth.
	first := l.Server
	second := l.StartServer(append(flags, "--state-dir", t.TempDir())...)
	var a, b adminapi.Policies
	lab.Until(t, 10*time.Second, "both have the same revision", func() error {
		if err := first.Try("/v1/policies", &a); err != nil {
			return err
		}
		if err := second.Try("/v1/policies", &b); err != nil {
			return err
		}
		if a.Revision != b.Revision || len(a.Items) != len(b.Items) {
			return fmt.Errorf("%s and %s", a.Revision, b.Revision)
		}
		return nil
	})
	second.Kill()
	l.Server = first

	// Consul away, server restarted.
	lab.Until(t, 20*time.Second, "the revision is copied to disk", func() error { return copied(first, "8s") })
	lastKnownGood(t, l, "orders-2")
	consul.Kill()
	first.Kill()
	first.Start()
	first.WaitReady(30 * time.Second)
	newcomer := l.Sidecar("newcomer")
	newcomer.WaitStatus("http://orders/", http.StatusOK, 15*time.Second)
	if out := l.MustMeshctl("policy", "explain", "orders", "--field", "timeouts.request"); !strings.Contains(out, "8s") {
		t.Errorf("explain says\n%s", out)
	}
}

// copied reports whether the policies served now hold a text.
func copied(s *lab.Server, text string) error {
	var p json.RawMessage
	if err := s.Try("/v1/policies", &p); err != nil {
		return err
	}
	if !strings.Contains(string(p), text) {
		return fmt.Errorf("not yet")
	}
	return nil
}
