package ctl_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/app"
)

const shopCatalog = `{"services": [
  {"id": "order-1", "name": "order", "address": "127.0.0.1", "port": 9, "meta": {"mesh-transactions": "/tx"}},
  {"id": "stock-1", "name": "stock", "address": "127.0.0.1", "port": 9, "meta": {"mesh-transactions": "/tx"}}
]}`

// startTransactions runs xds-server as a coordinator and begins transactions that
// stand at every point of their lives: what comes of each is in its name.
func startTransactions(t *testing.T) (url string) {
	t.Helper()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, op := r.Header.Get("Mesh-Transaction-Id"), r.Header.Get("Mesh-Transaction-Op")
		stock := r.URL.Hostname() == "stock"
		switch {
		case stock && id == "no-1" && op == "prepare":
			http.Error(w, "none left", http.StatusConflict)
		case stock && strings.HasPrefix(id, "pending") && op == "prepare":
			w.WriteHeader(http.StatusTooEarly)
		case stock && id == "owed-1" && op == "commit":
			http.Error(w, "the disk is full", http.StatusServiceUnavailable)
		case stock && id == "odd-1" && op == "commit":
			http.Error(w, "the hold has expired", http.StatusConflict)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	t.Cleanup(proxy.Close)
	catalog := t.TempDir()
	if err := os.WriteFile(filepath.Join(catalog, "shop.json"), []byte(shopCatalog), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := app.Default()
	cfg.CatalogDir, cfg.Roles = catalog, []string{"xds", "admin", "transactions"}
	cfg.AppAddr, cfg.AppProxy = "127.0.0.1:0", proxy.URL
	addrs := run(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, id := range []string{"all-1", "no-1", "owed-1", "odd-1", "pending-1", "pending-2"} {
		body := fmt.Sprintf(`{"id": %q, "timeout": "5m", "participants": [
			{"service": "order", "prepare": "/tx/p", "commit": "/tx/c", "rollback": "/tx/r"},
			{"service": "stock", "prepare": "/tx/p", "commit": "/tx/c", "rollback": "/tx/r"}]}`, id)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addrs.App+"/v1/transactions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(id, "pending") {
			req.Header.Set("Prefer", "respond-async")
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode >= 500 || resp.StatusCode == http.StatusBadRequest {
			t.Fatalf("begin %s: %s", id, resp.Status)
		}
	}
	for id, text := range map[string]string{"odd-1": `"HEURISTIC"`, "owed-1": "the disk is full", "all-1": `"settled": true`, "pending-1": `"yes"`, "pending-2": `"yes"`} {
		waitFor(ctx, t, "http://"+addrs.App+"/v1/transactions/"+id, text)
	}
	return "http://" + addrs.Admin
}

// waitFor asks for a page until it has a text.
func waitFor(ctx context.Context, t *testing.T, url, text string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatalf("wait for %s at %s: %v", text, url, err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil && strings.Contains(string(body), text) {
			return
		}
		<-tick.C
	}
}
