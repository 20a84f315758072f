//go:build e2e

package load_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"meshlite.dev/internal/xds/load"
)

// bootstrap of an Envoy that sends /ok and /bad to the upstream and reports its
// load to the server, as `meshctl proxy bootstrap` asks for it.
const bootstrap = `
node: {id: web-1, cluster: web}
cluster_manager:
  load_stats_config: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
static_resources:
  listeners:
  - name: out
    address: {socket_address: {address: 127.0.0.1, port_value: %[1]d}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: out
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: orders}}]}]}
          http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
  clusters:
  - {name: orders, type: STATIC, load_assignment: {cluster_name: orders, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[2]d}}}}]}]}}
  - {name: idle, type: STATIC}
  - name: xds
    type: STATIC
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[3]d}}}}]}]}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
`

// TestARealEnvoyReports sends calls through an Envoy and reads the graph.
func TestARealEnvoyReports(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer upstream.Close()
	srv := load.New(load.Config{Interval: time.Second})
	xds, listen := serve(t, srv), freePort(t)
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	text := fmt.Sprintf(bootstrap, listen, upstream.Listener.Addr().(*net.TCPAddr).Port, xds)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tool(t, "envoy"), "-c", file, "--use-dynamic-base-id", "--concurrency", "1", "-l", "error")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()

	// The first interval of a cluster is not reported (send_all_clusters), so
	// calls go on until one of each kind has arrived.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		for _, path := range []string{"/ok", "/ok", "/bad"} {
			call(ctx, fmt.Sprintf("http://127.0.0.1:%d%s", listen, path))
		}
		edges := srv.Graph(time.Now())
		if len(edges) == 1 && edges[0].From == "web" && edges[0].To == "orders" && edges[0].Successes > 0 && edges[0].Errors > 0 && edges[0].Rate > 0 {
			t.Logf("graph: %+v", edges)
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("graph: %+v, %+v; want web → orders alone, with successes and errors", edges, srv.Stats())
		case <-tick.C:
		}
	}
}

// call ignores what becomes of it: Envoy may still be starting.
func call(ctx context.Context, url string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if resp, err := client.Do(req); err == nil {
		resp.Body.Close()
	}
}

func serve(t *testing.T, srv *load.Server) (port int) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	srv.Register(g)
	done := make(chan error, 1)
	go func() { done <- g.Serve(lis) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return lis.Addr().(*net.TCPAddr).Port
}

func freePort(t *testing.T) int {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().(*net.TCPAddr).Port
}

// tool finds a program of `make tools`.
func tool(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".tools", "bin", name)
		} else if !errors.Is(err, os.ErrNotExist) || dir == "/" {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}
