package compile_test

import (
	"fmt"
	"testing"
)

// The documents of routes and of clusters are apart, so that a proxy is asked
// only about what a document is in.
func TestDocumentsOfRoutesAndClusters(t *testing.T) {
	for _, tc := range []struct{ name, mesh, service, routes, clusters string }{
		{"one of each", "retry: {attempts: 1}", "limits: {requests: 5}", "[rp/default/all@1]", "[rp/default/orders@1]"},
		{"the most specific comes first", "{retry: {attempts: 1}, limits: {connections: 7}}", "{timeouts: {request: 3s}, limits: {requests: 5}}",
			"[rp/default/orders@1 rp/default/all@1]", "[rp/default/orders@1 rp/default/all@1]"},
		{"who loses everything is in nothing", "{retry: {attempts: 1}}", "{retry: {attempts: 2}}", "[rp/default/orders@1]", "[]"},
		{"a budget is the cluster's", "{}", "{retry: {budget: {percent: 5}}}", "[]", "[rp/default/orders@1]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.service("orders", 1)
			w.policy("default/all", "{targetRefs: [{kind: Mesh}], "+body(tc.mesh))
			w.policy("default/orders", "{targetRefs: [{kind: Service, name: orders}], "+body(tc.service))
			d := on(t, w.full(), "orders", "")
			if got := fmt.Sprint(d.RouteDocuments); got != tc.routes {
				t.Errorf("routes come from %s, want %s", got, tc.routes)
			}
			if got := fmt.Sprint(d.ClusterDocuments); got != tc.clusters {
				t.Errorf("the cluster comes from %s, want %s", got, tc.clusters)
			}
		})
	}
}

// body is spec without its opening brace.
func body(spec string) string {
	if spec[0] == '{' {
		return spec[1:]
	}
	return spec + "}"
}
