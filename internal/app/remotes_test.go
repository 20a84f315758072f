package app

import (
	"slices"
	"testing"

	"meshlite.dev/internal/policy"
)

func TestServicesOfOtherDatacentersAreThoseThatRoutesName(t *testing.T) {
	p := policy.Decode("routes.yaml", []byte(`
apiVersion: meshlite.dev/v1alpha1
kind: TrafficRoute
metadata: {name: orders}
spec:
  service: orders
  rules:
  - name: canary
    backends: [{service: orders, weight: 9}, {service: stock, datacenter: dc3}]
    failover: [{service: old}, {datacenter: dc2}]
    filters: {mirrors: [{service: audit, datacenter: dc2}]}
  - name: rest
    failover: [{datacenter: dc2}]
---
apiVersion: meshlite.dev/v1alpha1
kind: ResiliencePolicy
metadata: {name: orders}
spec: {targetRefs: [{kind: Service, name: orders}], retry: {attempts: 1}}
`))
	if len(p.Refused) > 0 {
		t.Fatalf("refused: %+v", p.Refused)
	}
	got := remotes(policy.Revision{Documents: p.Documents})
	if want := []string{"audit@dc2", "orders@dc2", "stock@dc3"}; !slices.Equal(got, want) {
		t.Errorf("remotes are %q, want %q", got, want)
	}
	if got := remotes(policy.Revision{}); len(got) > 0 {
		t.Errorf("without documents: %q", got)
	}
}
