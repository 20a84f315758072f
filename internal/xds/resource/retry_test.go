package resource_test

import (
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/resource"
)

// envoyTokens are all that Envoy knows; it accepts any other silently.
// https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/router_filter#x-envoy-retry-on
var envoyTokens = []string{
	"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
	"refused-stream", "retriable-status-codes", "retriable-headers", "http3-post-connect-failure",
	"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
}

// policyTokens are those that a policy may name.
var policyTokens = []string{
	"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "refused-stream", "envoy-ratelimited", "retriable-4xx",
	"retriable-headers", "retriable-status-codes", "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
}

// TestRetryTokens: what a policy names reaches the methods that may be
// repeated; other methods are retried only when nothing was processed, or when
// a gRPC status says so.
func TestRetryTokens(t *testing.T) {
	forAll := []string{"connect-failure", "refused-stream", "reset-before-request", "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}
	for _, token := range policyTokens {
		m := compiled(t, one("orders", "  retry: {retryOn: ["+token+"]}\n"), service("orders", mesh.HTTP1, 1))
		rs, _ := everything(resource.Config{}, m)
		rc, ok := message(t, find(rs, resource.RouteType, "orders", "")).(*routev3.RouteConfiguration)
		if !ok {
			t.Fatal("no routes")
		}
		for _, route := range rc.GetVirtualHosts()[0].GetRoutes() {
			var got []string
			if on := route.GetRoute().GetRetryPolicy().GetRetryOn(); on != "" {
				got = strings.Split(on, ",")
			}
			for _, g := range got {
				if !slices.Contains(envoyTokens, g) {
					t.Errorf("%s: Envoy does not know %q", token, g)
				}
			}
			safe := strings.HasSuffix(route.GetName(), "/idempotent")
			if want := safe || slices.Contains(forAll, token); slices.Contains(got, token) != want {
				t.Errorf("%s on %s: %v, want it there: %v", token, route.GetName(), got, want)
			}
		}
	}
}
