package main

import (
	"fmt"
	"net/http"
	"time"

	"meshlite.dev/test/lab"
)

const canaryRoute = `apiVersion: meshlite.dev/v1alpha1
kind: TrafficRoute
metadata: {name: orders}
spec:
  service: orders
  subsets:
  - {name: v1, tags: [v1]}
  - {name: v2, tags: [v2]}
  rules:
  - name: testers
    matches: [{headers: [{name: x-tester, type: Present}]}]
    backends: [{subset: v2}]
    failover: [{subset: v1}]
  - name: split
    backends: [{subset: v1, weight: 80}, {subset: v2, weight: 20}]
`

// trafficSplit sends a share of the calls, and all of a tester's, to a new
// version.
func (s *scene) trafficSplit() {
	old, canary := s.orders[0], s.orders[2]
	s.title(canary.ID + " runs v2: a TrafficRoute sends it a fifth of the calls, and those of testers")
	for tag, e := range map[string]*lab.Echo{"v1": old, "v2": canary} {
		e.Tags = []string{tag}
		s.lab.Registry.Register(e.Instance)
	}
	s.lab.Policies.Write("route.yaml", canaryRoute)
	s.Logf("write policies/route.yaml:")
	s.quote(canaryRoute)
	tester := func() error {
		a, err := s.client.Do(http.MethodGet, "http://orders/", "x-tester", "me")
		if err == nil && a.Instance != canary.ID {
			err = fmt.Errorf("%d from %q", a.Status, a.Instance)
		}
		return err
	}
	lab.Until(s, 15*time.Second, "a tester's call goes to "+canary.ID, tester)
	s.waitSynced()
	calls := s.load(5 * time.Second)
	s.clean(calls)
	by := calls.ByInstance()
	if n := by[canary.ID]; n < len(calls)/10 || n > len(calls)*3/10 {
		s.Fatalf("%s got %d of %d calls", canary.ID, n, len(calls))
	}
	for range 20 {
		if err := tester(); err != nil {
			s.Fatalf("a tester's call: %v", err)
		}
	}
	s.show("%d calls, 0 failed: %s; 20 of 20 with x-tester reached %s", len(calls), spread(by), canary.ID)
}
