package admin_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/admin/readiness"
)

// TestDocuments pins every document of the API: fields are only ever added.
func TestDocuments(t *testing.T) {
	h := admin.New(config(t))
	seen := map[string]bool{"subscriptions.json": true} // of a test of its own
	for _, tc := range []struct{ file, path string }{
		{"services.json", "/v1/services"},
		{"service.json", "/v1/services/orders"},
		{"graph.json", "/v1/graph"},
		{"proxies.json", "/v1/proxies"},
		{"proxy.json", "/v1/proxies/web-1"},
		{"config.json", "/v1/proxies/web-1/config"},
		{"config-orders.json", "/v1/proxies/web-1/config?type=clusters&name=orders"},
		{"diff.json", "/v1/proxies/web-1/diff"},
		{"explain.json", "/v1/explain?service=orders&caller=web&path=/a&field=spec.retry.attempts"},
		{"findings.json", "/v1/findings"},
		{"policy.json", "/v1/policies/ResiliencePolicy/default/orders"},
		{"doctor.json", "/v1/doctor"},
		{"version.json", "/v1/version"},
		{"targets.json", "/v1/prometheus/targets"},
		{"debug-catalog.json", "/debug/catalog"},
		{"debug-model.json", "/debug/model"},
		{"debug-snapshot.json", "/debug/snapshot/web-1"},
		{"debug-ledger.json", "/debug/ledger"},
		{"debug-status.json", "/debug/status"},
	} {
		t.Run(tc.file, func(t *testing.T) {
			w := ask(h, http.MethodGet, tc.path, "")
			if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
				t.Fatalf("%s: %d %s\n%s", tc.path, w.Code, w.Header().Get("Content-Type"), w.Body)
			}
			golden(t, tc.file, w.Body.Bytes())
		})
		seen[tc.file] = true
	}
	files, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen[f.Name()] {
			t.Errorf("testdata/%s belongs to no case", f.Name())
		}
	}
}

func TestPoliciesBeginWithMeshDefault(t *testing.T) {
	w := ask(admin.New(config(t)), http.MethodGet, "/v1/policies", "")
	var got adminapi.Policies
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	if got.Revision != "12 (3f9c2a1b)" || len(got.Items) != 4 {
		t.Fatalf("revision %q, %d items; want 12 (3f9c2a1b) and 4", got.Revision, len(got.Items))
	}
	first := got.Items[0]
	if first.Name != "mesh-default" || first.Accepted != "Accepted" || !bytes.Contains(first.Document, []byte("consecutive5xx")) {
		t.Errorf("the first is %+v, want mesh-default with its fields", first)
	}
	lost, orders := got.Items[1], got.Items[2]
	if lost.Name != "lost" || lost.Accepted != "TargetNotFound" || lost.Message == "" {
		t.Errorf("got %+v, want a TargetNotFound with its reason", lost)
	}
	if orders.Name != "orders" || orders.Generation != 3 || orders.Accepted != "Accepted" || orders.Source != "policies/orders.yaml" ||
		len(orders.Conditions) != 1 || orders.InForceGeneration != 3 || len(lost.Conditions) != 0 ||
		!strings.Contains(string(orders.Document), "attempts") || len(orders.Targets) != 1 || orders.Targets[0] != "Service/orders" {
		t.Errorf("got %+v", orders)
	}
}

func TestExplainCountsTheCaller(t *testing.T) {
	h := admin.New(config(t))
	for _, tc := range []struct{ name, query, value, origin string }{
		{"a caller without a policy of its own", "service=orders&caller=pay&field=retry.attempts", "4", "orders"},
		{"a caller with one", "service=orders&caller=web&field=retry.attempts", "1", "orders-web"},
		{"a built-in value", "service=late&field=retry.attempts", "2", "mesh-default"},
		{"the catalog's word", "service=orders&field=connection.protocol", "http1", "catalog"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := ask(h, http.MethodGet, "/v1/explain?"+tc.query, "")
			var got adminapi.Explain
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.Fields) != 1 {
				t.Fatalf("%d %s: %v", w.Code, w.Body, err)
			}
			if f := got.Fields[0]; f.Value != tc.value || f.Origin.Name != tc.origin {
				t.Errorf("%s from %s, want %s from %s", f.Value, f.Origin.Name, tc.value, tc.origin)
			}
		})
	}
	var all adminapi.Explain
	if err := json.Unmarshal(ask(h, http.MethodGet, "/v1/explain?service=orders", "").Body.Bytes(), &all); err != nil || len(all.Fields) < 40 {
		t.Errorf("%d fields without a filter (%v), want all of them", len(all.Fields), err)
	}
}

func TestFailuresSayWhatToDo(t *testing.T) {
	cfg := config(t)
	h := admin.New(cfg)
	unready := config(t)
	unready.Ready = readiness.New(nil, 0, "catalog")
	unready.State = func() (admin.State, bool) { return admin.State{}, false }
	for _, tc := range []struct {
		name, method, path, body string
		h                        http.Handler
		status                   int
		text                     string
	}{
		{"an unknown page", "GET", "/v2/x", "", h, 404, "/v2/x"},
		{"the root", "GET", "/", "", h, 404, "no such page"},
		{"a wrong method", "POST", "/v1/services", "{}", h, 405, "POST"},
		{"reading a write", "GET", "/v1/services/accept", "", h, 405, "GET"},
		{"an unknown service", "GET", "/v1/services/nobody", "", h, 404, "nobody"},
		{"an unknown policy", "GET", "/v1/policies/rp/default/nobody", "", h, 404, "rp/default/nobody"},
		{"an unknown proxy", "GET", "/v1/proxies/nobody/config", "", h, 404, "nobody"},
		{"a proxy that has gone", "GET", "/v1/proxies/pay-1/config", "", h, 404, "not connected"},
		{"the snapshot of a proxy that has gone", "GET", "/debug/snapshot/pay-1", "", h, 404, "not connected"},
		{"an unknown parameter", "GET", "/v1/explain?servic=orders", "", h, 400, `"servic"`},
		{"a parameter on a page without any", "GET", "/v1/services?a=b", "", h, 400, `"a"`},
		{"a parameter twice", "GET", "/v1/explain?service=a&service=b", "", h, 400, `"service"`},
		{"a missing parameter", "GET", "/v1/explain", "", h, 400, `"service"`},
		{"a path without a slash", "GET", "/v1/explain?service=orders&path=a", "", h, 400, `"path"`},
		{"an unknown field", "GET", "/v1/explain?service=orders&field=retry.attempt", "", h, 400, `"field"`},
		{"an unknown type", "GET", "/v1/proxies/web-1/config?type=XDS", "", h, 400, `"type"`},
		{"a parameter that is too long", "GET", "/v1/explain?service=" + strings.Repeat("a", 2000), "", h, 400, `"service"`},
		{"a query that is none", "GET", "/v1/explain?service=%zz", "", h, 400, "query"},
		{"neither names nor all", "POST", "/v1/services/accept", "{}", h, 400, "names"},
		{"names and all", "POST", "/v1/services/accept", `{"names": ["a"], "all": true}`, h, 400, "names"},
		{"an empty name", "POST", "/v1/services/accept", `{"names": [""]}`, h, 400, "names"},
		{"an unknown field of the body", "POST", "/v1/services/accept", `{"name": "a"}`, h, 400, `"name"`},
		{"two documents", "POST", "/v1/services/accept", `{"all": true}{}`, h, 400, "document"},
		{"a body that is too large", "POST", "/v1/services/accept", `{"names": ["` + strings.Repeat("a", 1<<20) + `"]}`, h, 413, "1048576"},
		{"nothing served yet", "GET", "/v1/services", "", admin.New(unready), 503, "catalog"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := ask(tc.h, tc.method, tc.path, tc.body)
			if w.Code != tc.status {
				t.Fatalf("status %d, want %d\n%s", w.Code, tc.status, w.Body)
			}
			if f := failureOf(t, w); !strings.Contains(f.Error, tc.text) {
				t.Errorf("%q does not say %q", f.Error, tc.text)
			}
			if tc.status == 405 && w.Header().Get("Allow") == "" {
				t.Error("no Allow header")
			}
		})
	}
	if w := ask(h, http.MethodPost, "/v1/services/accept", `{"all": true}`, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }); w.Code != 415 {
		t.Errorf("a body that a browser may send unasked: %d, want 415", w.Code)
	}
}

func TestReadiness(t *testing.T) {
	cfg := config(t)
	cfg.Ready = readiness.New(nil, 0, "catalog", "policies")
	h := admin.New(cfg)
	readyz := func(status int, body string) {
		t.Helper()
		if w := ask(h, http.MethodGet, "/readyz", ""); w.Code != status || w.Body.String() != body {
			t.Errorf("%d %q, want %d %q", w.Code, w.Body, status, body)
		}
	}
	readyz(503, "not ready\nwaiting for catalog\nwaiting for policies\n")
	cfg.Ready.Done("catalog")
	cfg.Ready.Done("policies")
	readyz(200, "ready\n")
	cfg.Ready.Alarm("catalog", "does not answer")
	readyz(200, "ready\nalarm: catalog: does not answer\n")
	if w := ask(h, http.MethodGet, "/healthz", ""); w.Code != 200 {
		t.Errorf("/healthz: %d", w.Code)
	}
}

func TestProfilerIsOffUnlessAskedFor(t *testing.T) {
	cfg := config(t)
	if w := ask(admin.New(cfg), http.MethodGet, "/debug/pprof/", ""); w.Code != 404 {
		t.Errorf("without being told: %d, want 404", w.Code)
	}
	cfg.Pprof = true
	if w := ask(admin.New(cfg), http.MethodGet, "/debug/pprof/", ""); w.Code != 200 {
		t.Errorf("when told: %d, want 200", w.Code)
	}
}
