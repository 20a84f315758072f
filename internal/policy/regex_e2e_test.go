//go:build e2e

package policy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/xds/bootstrap"
	"meshlite.dev/test/lab"
)

// TestEnvoyTakesTheRegexes: what is accepted here must not be refused by a
// sidecar, with the bootstrap that sidecars have.
func TestEnvoyTakesTheRegexes(t *testing.T) {
	if err := lab.FindTools(); err != nil {
		t.Fatal(err)
	}
	start := bootstrap.Default()
	start.Service, start.ID = "web", "web-1"
	text, err := start.YAML()
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	var routes []any
	for i, regex := range goodRegexes {
		redirect := map[string]any{"path_redirect": fmt.Sprintf("/%d", i)}
		routes = append(routes, map[string]any{"match": map[string]any{"safe_regex": map[string]any{"regex": regex}}, "redirect": redirect})
	}
	static := config["static_resources"].(map[string]any)
	static["listeners"] = []any{map[string]any{
		"name":    "regexes",
		"address": map[string]any{"socket_address": map[string]any{"address": "127.0.0.1", "port_value": lab.FreePort(lab.New(t))}},
		"filter_chains": []any{map[string]any{"filters": []any{map[string]any{
			"name": "http",
			"typed_config": map[string]any{
				"@type":        "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
				"stat_prefix":  "regexes",
				"route_config": map[string]any{"virtual_hosts": []any{map[string]any{"name": "all", "domains": []any{"*"}, "routes": routes}}},
				"http_filters": []any{map[string]any{"name": "router", "typed_config": map[string]any{
					"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
				}}},
			},
		}}}},
	}}
	raw, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), lab.Binaries.Envoy, "--mode", "validate", "--log-level", "error", "--config-path", file).CombinedOutput()
	if err != nil {
		t.Errorf("envoy --mode validate: %v\n%s", err, out)
	}
}
