//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/test/lab"
)

// TestObserve looks at a working mesh through every window it has.
func TestObserve(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	es := l.Service("orders", 2)
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  retry: {attempts: 3}\n  outlierDetection: {mode: Monitor}"))
	l.StartServer()
	client := l.Sidecar("client")
	client.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	inForce(t, l, "rp/default/orders@1")
	es[0].Fail("status=500&percent=50")
	load := client.Load(50, http.MethodGet, "http://orders/")

	t.Run("load reports name caller and callee", func(t *testing.T) {
		lab.Until(t, 40*time.Second, "the graph has the edge", func() error {
			var g adminapi.Graph
			if err := l.Server.Try("/v1/graph", &g); err != nil {
				return err
			}
			for _, e := range g.Edges {
				if e.From == "client" && e.To == "orders" && e.Successes > 0 && e.Errors > 0 {
					return nil
				}
			}
			return fmt.Errorf("%+v", g)
		})
		if out := l.MustMeshctl("service", "graph"); !strings.Contains(out, "client") || !strings.Contains(out, "orders") {
			t.Errorf("service graph says\n%s", out)
		}
	})
	load.Finish()
	es[0].Fail("")

	for _, tc := range []struct {
		args string
		want []string
	}{
		{"service list", []string{"orders", "2"}},
		{"service get orders", []string{"orders", "rp/default/orders@1"}},
		{"service endpoints orders", []string{fmt.Sprintf("127.0.0.1:%d", es[0].Port), "HEALTHY"}},
		{"proxy status", []string{client.ID, "SYNCED", "1.40.0"}},
		{"proxy config clusters " + client.ID, []string{"orders"}},
		{"proxy config routes " + client.ID + " -o json", []string{"num_retries", "orders/idempotent"}},
		{fmt.Sprintf("proxy config clusters %s --admin 127.0.0.1:%d", client.ID, client.Admin), []string{"orders"}},
		{"proxy diff " + client.ID, nil},
		{"policy explain orders", []string{"retry.attempts", "rp/default/orders@1", "timeouts.request", "mesh-default"}},
		{"version", []string{""}},
		{"doctor", []string{""}},
	} {
		t.Run("meshctl "+strings.Fields(tc.args)[0]+" "+tc.args, func(t *testing.T) {
			out := l.Meshctl(strings.Fields(tc.args)...)
			if out.Code != 0 {
				t.Errorf("exit %d: %s%s", out.Code, out.Stdout, out.Stderr)
			}
			for _, want := range tc.want {
				if !strings.Contains(strings.ReplaceAll(out.Stdout, "numRetries", "num_retries"), want) {
					t.Errorf("lacks %q:\n%s%s", want, out.Stdout, out.Stderr)
				}
			}
		})
	}

	t.Run("Prometheus finds the sidecar", func(t *testing.T) {
		var groups []adminapi.TargetGroup
		l.Server.Get("/v1/prometheus/targets", &groups)
		if raw := fmt.Sprint(groups); !strings.Contains(raw, fmt.Sprint(client.Admin)) {
			t.Errorf("targets: %s", raw)
		}
	})
	t.Run("debug pages are JSON", func(t *testing.T) {
		for _, page := range []string{"/debug/catalog", "/debug/model", "/debug/snapshot/" + client.ID, "/debug/ledger"} {
			if text := l.Server.Text(page); !json.Valid([]byte(text)) || !strings.Contains(text, "orders") && !strings.Contains(text, client.ID) {
				t.Errorf("%s: %.200s", page, text)
			}
		}
	})
	t.Run("pprof is off", func(t *testing.T) {
		if err := l.Server.Try("/debug/pprof/", new(any)); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a proxy that is gone is still known", func(t *testing.T) {
		client.Kill()
		lab.Until(t, 20*time.Second, "the proxy is reported gone", func() error {
			proxies, err := l.Server.Proxies()
			if err != nil {
				return err
			}
			if len(proxies) != 1 || proxies[0].Connected {
				return fmt.Errorf("%+v", proxies)
			}
			return nil
		})
	})
	t.Run("a server that is away is exit code 69", func(t *testing.T) {
		l.Server.Kill()
		if out := l.Meshctl("service", "list"); out.Code != 69 {
			t.Errorf("exit %d: %s", out.Code, out.Stderr)
		}
	})
}

// TestBadPolicies: validate ends with 65 and names document, field, value and
// cure; the server keeps the last good document and serves on.
func TestBadPolicies(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	good := policyYAML("orders", "\n  timeouts: {request: 9s}")
	l.Policies.Write("orders.yaml", good)
	l.StartServer()
	client := l.Sidecar("client")
	client.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	inForce(t, l, "rp/default/orders@1")
	folder := l.Dir + "/bad"
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	refused := func(t *testing.T, text string, want ...string) {
		t.Helper()
		path := filepath.Join(folder, "p.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out := l.Meshctl("policy", "validate", "-f", path)
		if out.Code != 65 || strings.Contains(out.Stderr, "goroutine ") {
			t.Errorf("exit %d: %.500s%.500s", out.Code, out.Stdout, out.Stderr)
		}
		for _, w := range want {
			if !strings.Contains(out.Stdout+out.Stderr, w) {
				t.Errorf("lacks %q: %.500s%.500s", w, out.Stdout, out.Stderr)
			}
		}
	}
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"an unknown field", policyYAML("orders", "\n  retri: {attempts: 2}"), []string{"retri"}},
		{"a wrong type", policyYAML("orders", "\n  retry: {attempts: many}"), []string{"retry.attempts", "many"}},
		{"a bad duration", policyYAML("orders", "\n  timeouts: {request: soon}"), []string{"timeouts.request", "soon", "250ms"}},
		{"too much", policyYAML("orders", "\n  retry: {attempts: 40}"), []string{"retry.attempts", "40", "10"}},
		{"two of one name", good + "---\n" + good, []string{"orders"}},
		{"every fault at once", policyYAML("orders", "\n  retry: {attempts: 40}\n  timeouts: {request: soon}"), []string{"retry.attempts", "timeouts.request"}},
		{"rules across fields", policyYAML("orders", "\n  timeouts: {request: 1s}\n  retry: {perTryTimeout: 2s}"), []string{"perTryTimeout"}},
		{"the reserved name", strings.Replace(good, "name: orders}\nspec", "name: mesh-default}\nspec", 1), []string{"mesh-default"}},
		{"a kind that nobody knows", "apiVersion: meshlite.dev/v1alpha1\nkind: Frob\nmetadata: {name: x}\n", []string{"Frob"}},
		{"1 MB", policyYAML("orders", "\n  retry: {methods: ["+strings.Repeat("GET, ", 250_000)+"GET]}"), nil},
		{"deep YAML", strings.Repeat("[", 20_000), nil},
		{"invalid UTF-8", "apiVersion: \xff\xfe\n", nil},
		{"half a file", good[:len(good)/2], nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			refused(t, tc.text, tc.want...)
			l.Policies.Write("orders.yaml", tc.text)
			lab.Until(t, 15*time.Second, "the server reports it", func() error {
				var f adminapi.Findings
				if err := l.Server.Try("/v1/findings", &f); err != nil {
					return err
				}
				for _, item := range f.Items {
					if item.Code == "MESH0019" || item.Code == "MESH0016" || item.Code == "MESH0018" {
						return nil
					}
				}
				return fmt.Errorf("findings: %+v", f.Items)
			})
			if out := l.MustMeshctl("policy", "explain", "orders", "--field", "timeouts.request"); !strings.Contains(out, "9s") {
				t.Errorf("in force is\n%s", out)
			}
			l.Policies.Write("orders.yaml", good)
			lab.Until(t, 15*time.Second, "the cured file is accepted", func() error {
				var f adminapi.Findings
				if err := l.Server.Try("/v1/findings", &f); err != nil {
					return err
				}
				if len(f.Items) > 0 {
					return fmt.Errorf("findings: %+v", f.Items)
				}
				return nil
			})
		})
	}
	t.Run("a folder that vanishes", func(t *testing.T) {
		if err := os.Rename(l.Policies.Dir, l.Policies.Dir+"-away"); err != nil {
			t.Fatal(err)
		}
		lab.Hold(t, 3*time.Second, "the policy stays", func() error {
			if out := l.MustMeshctl("policy", "explain", "orders", "--field", "timeouts.request"); !strings.Contains(out, "9s") {
				return fmt.Errorf("in force is\n%s", out)
			}
			return nil
		})
		if err := os.Rename(l.Policies.Dir+"-away", l.Policies.Dir); err != nil {
			t.Fatal(err)
		}
		l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 8s}"))
		inForce(t, l, "rp/default/orders@2")
	})
	if a := client.Get("http://orders/"); a.Status != http.StatusOK {
		t.Errorf("after all that: %d", a.Status)
	}
}
