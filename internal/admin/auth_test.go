package admin_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"meshlite.dev/internal/admin"
)

const token = "correct-horse"

func bearer(s string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", s) }
}

func TestToken(t *testing.T) {
	cfg := config(t)
	cfg.Token = token
	log, out := logs()
	cfg.Log = log
	h := admin.New(cfg)
	for _, path := range []string{"/v1/services", "/v1/policies", "/v1/watch", "/v1/doctor", "/debug/catalog", "/debug/ledger", "/v1/prometheus/targets"} {
		for _, header := range []string{"", "Bearer wrong", "Bearer", "Bearer " + token + "x", "Basic " + token} {
			w := ask(h, http.MethodGet, path, "", bearer(header))
			if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("GET %s with %q: %d, want 401", path, header, w.Code)
			}
			failureOf(t, w)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if w := ask(h, http.MethodGet, path, ""); w.Code != http.StatusOK {
			t.Errorf("GET %s without a token: %d, want 200", path, w.Code)
		}
	}
	if w := ask(h, http.MethodGet, "/v1/services", "", bearer("bearer "+token)); w.Code != http.StatusOK {
		t.Errorf("with the token: %d, want 200", w.Code)
	}
	if w := ask(h, http.MethodPost, "/v1/services/accept", `{"all": true}`); w.Code != http.StatusUnauthorized || cfg.Catalog.(*source).all {
		t.Errorf("a write without a token: %d, want 401 and no change", w.Code)
	}
	if s := out.String(); !strings.Contains(s, "status=401") || strings.Contains(s, token) {
		t.Errorf("the log must hold the refused write and no token:\n%s", s)
	}
}

func TestEveryWriteLeavesAnAuditLine(t *testing.T) {
	cfg := config(t)
	cfg.Token = token
	log, out := logs()
	cfg.Log = log
	h, src := admin.New(cfg), cfg.Catalog.(*source)

	w := ask(h, http.MethodPost, "/v1/services/accept", `{"names": ["pay", "nobody"]}`, bearer("Bearer "+token))
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"pay"`) || !slices.Equal(src.asked, []string{"pay", "nobody"}) {
		t.Fatalf("%d %s, asked for %v", w.Code, w.Body, src.asked)
	}
	for _, part := range []string{"admin write", "remote=192.0.2.1:1234", "method=POST", "path=/v1/services/accept", "status=200", `outcome="accept pay, nobody: accepted pay"`} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the audit line lacks %q:\n%s", part, out)
		}
	}
	out.Reset()
	if w := ask(h, http.MethodPost, "/v1/services/accept", `{"all": true}`, bearer("Bearer "+token)); w.Code != http.StatusOK || !src.all {
		t.Fatalf("all: %d %s", w.Code, w.Body)
	}
	if !strings.Contains(out.String(), "accept all: accepted orders, pay") {
		t.Errorf("audit line: %s", out)
	}
	out.Reset()
	ask(h, http.MethodPost, "/v1/services/accept", `{`, bearer("Bearer "+token))
	if !strings.Contains(out.String(), "status=400") || strings.Contains(out.String(), token) {
		t.Errorf("a write that failed must be in the log too, without the token:\n%s", out)
	}
}
