package compile_test

import (
	"strings"
	"testing"

	"meshlite.dev/internal/compile"
)

func TestRemotesAreTheServicesOfOtherDatacentersThatRoutesName(t *testing.T) {
	w := newWorld(t)
	w.route("default/orders", `{service: orders, rules: [
		{name: a, backends: [{datacenter: dc2, subset: v1}, {service: audit}], failover: [{service: audit, datacenter: dc3}, {datacenter: dc2}]},
		{name: b, filters: {mirrors: [{service: log, datacenter: dc_1}]}}]}`)
	w.route("default/tomorrow", `{service: pay, effect: shadow, rules: [{name: a, failover: [{datacenter: dc2}]}]}`)
	w.policy("default/p", `{targetRefs: [{kind: Mesh}], limits: {connections: 1}}`)
	_, rev := w.take()
	if got := strings.Join(compile.Remotes(rev), " "); got != "audit@dc3 log@dc_1 orders@dc2 pay@dc2" {
		t.Errorf("remotes = %s", got)
	}
}
