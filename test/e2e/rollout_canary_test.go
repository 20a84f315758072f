//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/test/lab"
)

// toBroken sends all calls of orders to another service.
const toBroken = `apiVersion: meshlite.dev/v1alpha1
kind: TrafficRoute
metadata: {name: orders}
spec:
  service: orders
  rules:
  - name: all
    backends: [{service: %s}]
`

// TestACanary: one Envoy of five serves a change first. A good one then reaches
// all; one whose back-end fails is taken back from that one, and the others' calls
// never fail.
func TestACanary(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	l.Service("stock", 1)
	l.Service("broken", 1)[0].Fail("status=503")
	l.Policies.Write("any.yaml", policyYAML("stock", "\n  timeouts: {request: 9s}"))
	l.StartServer("--canary", "20%", "--bake", "4s")
	sidecars := l.Sidecars("client", 5)
	var loads []*lab.Load
	for _, s := range sidecars {
		s.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
		loads = append(loads, s.Load(20, http.MethodGet, "http://orders/"))
	}
	serving := func() (n int) {
		for _, s := range sidecars {
			if strings.HasPrefix(s.Get("http://orders/").Instance, "stock") {
				n++
			}
		}
		return n
	}
	l.Policies.Write("route.yaml", fmt.Sprintf(toBroken, "stock"))
	becomes(t, l, "it is on trial", func(r adminapi.Rollout) bool { return r.Phase == adminapi.PhaseCanary })
	lab.Until(t, 3*time.Second, "one Envoy serves it", func() error {
		if n := serving(); n != 1 {
			return fmt.Errorf("%d do", n)
		}
		return nil
	})
	l.Registry.Register(lab.Instances(l.StartEcho("late", 1, nil))...)
	for _, s := range sidecars {
		s.WaitStatus("http://late/", http.StatusOK, 3*time.Second) // on trial or not
	}
	becomes(t, l, "it is committed", func(r adminapi.Rollout) bool { return r.State == adminapi.Committed && r.Canary != nil })
	lab.Until(t, 5*time.Second, "all serve it", func() error {
		if n := serving(); n != 5 {
			return fmt.Errorf("%d do", n)
		}
		return nil
	})

	bake := "45s"
	l.MustMeshctl("rollout", "start", "--bake", bake)
	l.Policies.Write("route.yaml", fmt.Sprintf(toBroken, "broken"))
	bad := becomes(t, l, "it is rolled back", func(r adminapi.Rollout) bool { return r.State == adminapi.RolledBack })
	t.Logf("%s, after %s of %s", bad.Reason, bad.Decided.Sub(bad.Started).Round(time.Millisecond), bake)
	if !strings.Contains(bad.Reason, "on trial") || len(bad.Blamed) != 1 || bad.Canary == nil || bad.Canary.Errors < 5 {
		t.Errorf("%+v, canary %+v", bad, bad.Canary)
	}
	lab.Until(t, 5*time.Second, "all serve what is in force", func() error {
		if n := serving(); n != 5 {
			return fmt.Errorf("%d do", n)
		}
		return nil
	})
	touched, failed, all := 0, 0, 0
	for _, load := range loads {
		calls := load.Finish()
		all += len(calls)
		if n := len(calls.Failed()); n > 0 {
			touched, failed = touched+1, failed+n
		}
	}
	t.Logf("%d of %d calls failed, all of them on %d of 5 Envoys", failed, all, touched)
	if touched != 1 {
		t.Errorf("calls failed on %d Envoys", touched)
	}
}

// TestACanaryOfTwoReplicas: one Envoy of each server serves a change first. The
// failures of both end it on both; a good one then reaches all.
func TestACanaryOfTwoReplicas(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	consul := l.UseConsul(l.DataFolder()...)
	l.Service("orders", 1)
	l.Service("stock", 1)
	l.Service("broken", 1)[0].Fail("status=503")
	flags := []string{"--policy-source", "consul", "--policy-dir", "", "--canary", "20%", "--bake", "5s"}
	l.StartServer(flags...)
	inKV(t, consul, "stock", policyYAML("stock", "\n  timeouts: {request: 9s}"))
	becomes(t, l, "the first revision is there", func(r adminapi.Rollout) bool { return r.State == adminapi.Committed })
	near := l.Sidecars("near", 2)
	second := l.StartServer(append(flags, "--state-dir", t.TempDir())...)
	far := l.Sidecars("far", 2)
	all := []*lab.Sidecar{near[0], near[1], far[0], far[1]}
	for _, s := range all {
		s.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
		s.Load(10, http.MethodGet, "http://orders/")
	}
	serving := func(of []*lab.Sidecar, name string) (n int) {
		for _, s := range of {
			if strings.HasPrefix(s.Get("http://orders/").Instance, name) {
				n++
			}
		}
		return n
	}
	l.Server = second // whichever leads, it knows
	inKVAs(t, consul, "TrafficRoute", "orders", fmt.Sprintf(toBroken, "stock"))
	lab.Until(t, 15*time.Second, "one Envoy of each serves it", func() error {
		if a, b := serving(near, "stock"), serving(far, "stock"); a != 1 || b != 1 {
			return fmt.Errorf("%d and %d do", a, b)
		}
		return nil
	})
	good := becomes(t, l, "it is committed", func(r adminapi.Rollout) bool { return r.State == adminapi.Committed && r.Canary != nil })
	if good.Canary.Proxies != 2 {
		t.Errorf("%+v", good.Canary)
	}
	lab.Until(t, 10*time.Second, "all serve it", func() error {
		if n := serving(all, "stock"); n != 4 {
			return fmt.Errorf("%d do", n)
		}
		return nil
	})

	l.MustMeshctl("rollout", "start", "--bake", "60s")
	inKVAs(t, consul, "TrafficRoute", "orders", fmt.Sprintf(toBroken, "broken"))
	bad := becomes(t, l, "it is rolled back", func(r adminapi.Rollout) bool { return r.State == adminapi.RolledBack })
	t.Logf("%s, after %s of 60s", bad.Reason, bad.Decided.Sub(bad.Started).Round(time.Millisecond))
	if !strings.Contains(bad.Reason, "on trial") || len(bad.Blamed) != 1 || bad.Canary == nil || bad.Canary.Proxies != 2 {
		t.Errorf("%+v, canary %+v", bad, bad.Canary)
	}
	lab.Until(t, 5*time.Second, "all serve what is in force", func() error {
		if n := serving(all, "stock"); n != 4 {
			return fmt.Errorf("%d do", n)
		}
		return nil
	})
}
