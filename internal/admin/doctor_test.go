package admin_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/admin/readiness"
	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/xds/server"
)

// diagnosis runs the doctor and returns the first check of a name, with its
// status and message in one line.
func diagnosis(t *testing.T, cfg admin.Config, name string) (line, hint string) {
	t.Helper()
	w := ask(admin.New(cfg), http.MethodGet, "/v1/doctor", "")
	var d adminapi.Doctor
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	for _, c := range d.Checks {
		if c.Name == name {
			return c.Status + ": " + c.Message, c.Hint
		}
	}
	return "", ""
}

func TestDoctorFinds(t *testing.T) {
	well := catalog.Status{Kind: "file", Address: "services", Connected: true, Watches: []catalog.Watch{{LastRead: now.Add(-3 * time.Second)}}}
	withCatalog := func(edit func(*catalog.Status)) func(*admin.Config) {
		return func(c *admin.Config) {
			st := well
			edit(&st)
			c.Catalog = &source{status: st}
		}
	}
	withProxies := func(ps ...server.Proxy) func(*admin.Config) {
		return func(c *admin.Config) { c.Fleet = &fleet{proxies: ps} }
	}
	for _, tc := range []struct {
		name, check, want string
		hinted            bool
		edit              func(*admin.Config)
	}{
		{"a server that is not ready", "server", "error: not ready: waiting for catalog", true, func(c *admin.Config) {
			c.Ready = readiness.New(nil, 0, "catalog")
		}},
		{"a catalog that is well", "catalog", "ok: file services answers; 1 watch", false, withCatalog(func(*catalog.Status) {})},
		{"fresh watches", "catalog watches", "ok: oldest answer 3s ago", false, withCatalog(func(*catalog.Status) {})},
		{"a guard with nothing to hold", "guard", "ok: nothing is held back", false, withCatalog(func(*catalog.Status) {})},
		{"a catalog that is away", "catalog", "warning: file services does not answer: no such folder", true, withCatalog(func(s *catalog.Status) {
			s.Connected, s.LastError = false, "no such folder"
		})},
		{"last known good", "catalog", "warning: file services has not answered since the start; serving last known good: refused", true, withCatalog(func(s *catalog.Status) {
			s.Connected, s.Stale, s.LastError = false, true, "refused"
		})},
		{"a watch without an answer", "catalog watches", "warning: 1 of 2 have trouble: pay (no answer yet)", true, withCatalog(func(s *catalog.Status) {
			s.Watches = append(s.Watches, catalog.Watch{Service: "pay"})
		})},
		{"a token without rights", "catalog rights and limits", "error: token revoked", true, withCatalog(func(s *catalog.Status) {
			s.Notes = []mesh.Finding{{Severity: mesh.Error, Message: "token revoked", Hint: "set another"}}
		})},
		{"a refused file", "policies", "error: policies/x.yaml: must be YAML", true, func(c *admin.Config) {
			s := state(t)
			s.Revision.Refused = []policy.Refusal{{Source: "policies/x.yaml", Faults: []policy.FieldError{{Reason: "must be YAML"}}}}
			s.Revision.Documents = nil
			c.State = func() (admin.State, bool) { return s, true }
		}},
		{"proxies in step", "proxies", "ok: 1 connected, all in step", false, withProxies(
			server.Proxy{Node: server.Node{ID: "a", Envoy: "1.37.0"}, Connected: true, Status: server.Synced},
			server.Proxy{Node: server.Node{ID: "gone", Envoy: "1.20.0"}, Status: server.Error})},
		{"proxies that are late", "proxies", "warning: not in step: a; b; c; d; e; and 1 more", true, withProxies(
			stale("f"), stale("e"), stale("d"), stale("c"), stale("b"), stale("a"))},
		{"an Envoy that is too old", "envoy versions", "warning: too old: a (1.36.9)", true, withProxies(
			server.Proxy{Node: server.Node{ID: "a", Envoy: "1.36.9"}, Connected: true},
			server.Proxy{Node: server.Node{ID: "b", Envoy: ""}, Connected: true},
			server.Proxy{Node: server.Node{ID: "c", Envoy: "2.0.0"}, Connected: true})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config(t)
			tc.edit(&cfg)
			got, hint := diagnosis(t, cfg, tc.check)
			if !strings.HasPrefix(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if (hint != "") != tc.hinted {
				t.Errorf("hint %q", hint)
			}
		})
	}
}

func stale(id string) server.Proxy {
	return server.Proxy{Node: server.Node{ID: id, Envoy: "1.40.0"}, Connected: true, Status: server.Stale}
}

func TestCheckFolder(t *testing.T) {
	dir := t.TempDir()
	if c := admin.CheckFolder(dir)(t.Context()); len(c) != 1 || c[0].Status != "ok" {
		t.Errorf("a good folder: %+v", c)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the check leaves %v behind (%v)", left, err)
	}
	if c := admin.CheckFolder(filepath.Join(dir, "missing"))(t.Context()); c[0].Status != "error" || c[0].Hint == "" {
		t.Errorf("a missing folder: %+v", c)
	}
}

func TestCheckCertificate(t *testing.T) {
	for _, tc := range []struct {
		name   string
		end    time.Time
		err    error
		status string
	}{
		{"a good one", now.Add(90 * 24 * time.Hour), nil, "ok"},
		{"one that ends soon", now.Add(24 * time.Hour), nil, "warning"},
		{"newer files that are broken", now.Add(90 * 24 * time.Hour), errors.New("no PEM"), "error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			check := admin.CheckCertificate("xds", func() time.Time { return now }, func() time.Time { return tc.end }, func() error { return tc.err })
			if c := check(t.Context()); c[0].Status != tc.status || c[0].Name != "certificate of xds" {
				t.Errorf("got %+v, want %s", c, tc.status)
			}
		})
	}
}
