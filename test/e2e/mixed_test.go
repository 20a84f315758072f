//go:build e2e

package e2e

import (
	"fmt"
	"testing"

	"meshlite.dev/test/lab"
)

// TestAMixedFleetTakesEveryRoute: the oldest Envoy and the newest, side by side,
// acknowledge whatever a TrafficRoute can make, one document after the other,
// and the old one goes on serving. TestEveryFieldReachesEnvoy does so for
// ResiliencePolicy.
func TestAMixedFleetTakesEveryRoute(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	for _, name := range []string{"orders", "stock", "audit", "log", "old", "chat"} {
		l.Service(name, 1)
	}
	l.StartServer()
	newest, oldest := l.Sidecar("client"), l.OldSidecar("client")
	for i, spec := range []string{
		matchRules, filterRules, shareRules, mirrorRules, faultRules, failoverRules, behaviourRules, remoteRules, grpcRules,
	} {
		l.Policies.Write("orders.yaml", routeYAML("orders", spec))
		inForce(t, l, fmt.Sprintf("tr/default/orders@%d", i+1))
		for _, s := range []*lab.Sidecar{newest, oldest} {
			if a := s.Get("http://stock/"); a.Instance != "stock-1" {
				t.Errorf("document %d, %s: %d from %q", i+1, s.ID, a.Status, a.Instance)
			}
		}
	}
	proxies, err := l.Server.Proxies()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range proxies {
		got[p.ID] = p.Envoy
	}
	if got[oldest.ID] != "1.37.0" || got[newest.ID] != "1.40.0" {
		t.Errorf("the fleet runs %v", got)
	}
}
