package compile_test

import (
	"testing"
	"time"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
)

func someCheck() *mesh.HealthCheck {
	return &mesh.HealthCheck{
		Type: mesh.HealthCheckHTTP, Path: "/alive", Interval: 5 * time.Second, Timeout: 2 * time.Second, UnhealthyAfter: 2, HealthyAfter: 4,
	}
}

func TestHealthCheck(t *testing.T) {
	for _, tc := range []struct {
		name   string
		check  *mesh.HealthCheck
		mesh   string // of a document of the Mesh
		policy string
		want   *mesh.HealthCheck
		why    map[string]string // of some fields
	}{
		{name: "neither the catalog nor a policy asks for one"},
		{
			name: "the catalog's check counts", check: someCheck(), want: someCheck(),
			why: map[string]string{"healthCheck.path": "catalog", "healthCheck.healthyAfter": "catalog"},
		},
		{
			name: "what the catalog leaves out is completed", check: &mesh.HealthCheck{Type: mesh.HealthCheckTCP, Interval: 7 * time.Second},
			want: &mesh.HealthCheck{Type: mesh.HealthCheckTCP, Interval: 7 * time.Second, Timeout: time.Second, UnhealthyAfter: 3, HealthyAfter: 1},
			why:  map[string]string{"healthCheck.interval": "catalog", "healthCheck.timeout": "built-in"},
		},
		{
			name: "a policy that names a type replaces it whole", check: someCheck(), policy: `healthCheck: {type: GRPC, interval: 3s}`,
			want: &mesh.HealthCheck{Type: mesh.HealthCheckGRPC, Interval: 3 * time.Second, Timeout: time.Second, UnhealthyAfter: 3, HealthyAfter: 1},
			why:  map[string]string{"healthCheck.type": "Service", "healthCheck.timeout": "built-in"},
		},
		{
			name: "a policy without a type changes single fields of it", check: someCheck(), policy: `healthCheck: {interval: 3s}`,
			want: &mesh.HealthCheck{Type: mesh.HealthCheckHTTP, Path: "/alive", Interval: 3 * time.Second, Timeout: 2 * time.Second, UnhealthyAfter: 2, HealthyAfter: 4},
			why:  map[string]string{"healthCheck.interval": "Service", "healthCheck.path": "catalog"},
		},
		{
			name: "a policy alone is completed", policy: `healthCheck: {type: HTTP}`,
			want: &mesh.HealthCheck{Type: mesh.HealthCheckHTTP, Path: "/health", Interval: 10 * time.Second, Timeout: time.Second, UnhealthyAfter: 3, HealthyAfter: 1},
			why:  map[string]string{"healthCheck.path": "built-in"},
		},
		{
			name: "a type without a path drops the path of the mesh", mesh: `healthCheck: {type: HTTP, path: /ready, interval: 4s}`, policy: `healthCheck: {type: TCP}`,
			want: &mesh.HealthCheck{Type: mesh.HealthCheckTCP, Interval: 4 * time.Second, Timeout: time.Second, UnhealthyAfter: 3, HealthyAfter: 1},
			why:  map[string]string{"healthCheck.path": "", "healthCheck.interval": "Mesh"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			if tc.mesh != "" {
				w.policy("default/all", `{targetRefs: [{kind: Mesh}], `+tc.mesh+`}`)
			}
			w.service("orders", 1, func(s *catalog.Service) { s.HealthCheck = tc.check })
			if tc.policy != "" {
				w.policy("default/p", `{targetRefs: [{kind: Service, name: orders}], `+tc.policy+`}`)
			}
			d := on(t, w.full(), "orders", "")
			if (d.HealthCheck == nil) != (tc.want == nil) || tc.want != nil && *d.HealthCheck != *tc.want {
				t.Errorf("check = %+v, want %+v", d.HealthCheck, tc.want)
			}
			for path, why := range tc.why {
				if got := d.Origins[path].Why; got != why {
					t.Errorf("%s comes from %q, want %q", path, got, why)
				}
			}
		})
	}
}

func TestRateLimitIsCompleted(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	if d := on(t, w.full(), "orders", ""); d.RateLimit != nil {
		t.Errorf("rate limit = %+v without a policy", d.RateLimit)
	}
	w.policy("default/p", `{targetRefs: [{kind: Service, name: orders}], rateLimit: {perCaller: {requests: 30}}}`)
	d := on(t, w.full(), "orders", "")
	if d.RateLimit == nil || *d.RateLimit != (mesh.RateLimit{Requests: 30, Per: time.Second, Burst: 30}) {
		t.Errorf("rate limit = %+v, want 30 a second, burst 30", d.RateLimit)
	}
	if d.RateLimitBy.Name != "p" || d.Cluster.Name != "" {
		t.Errorf("RateLimitBy, Cluster = %s, %s", d.RateLimitBy, d.Cluster)
	}
}
