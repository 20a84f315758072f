package status_test

import (
	"fmt"
	"strings"
	"testing"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/status"
)

func snapshot(services ...string) catalog.Snapshot {
	all := map[string]*catalog.Service{}
	for _, name := range services {
		name, namespace, _ := strings.Cut(name, "/")
		all[name] = &catalog.Service{Name: name, Namespace: namespace, Protocol: mesh.HTTP1, Synced: true,
			Endpoints: []mesh.Endpoint{{ID: name, Address: "10.0.0.1", Port: 80, Weight: 1}}}
	}
	return catalog.Snapshot{Services: pmap.From(all), Changed: services}
}

func decode(docs ...string) policy.Proposal {
	var parts []policy.Proposal
	for i, d := range docs {
		kind, name, _ := strings.Cut(d, " ")
		name, spec, _ := strings.Cut(name, " ")
		parts = append(parts, policy.Decode(fmt.Sprint(i, ".yaml"), fmt.Appendf(nil,
			"apiVersion: meshlite.dev/v1alpha1\nkind: %s\nmetadata: {name: %s, namespace: %s}\nspec: %s\n",
			kind, name[strings.Index(name, "/")+1:], name[:strings.Index(name, "/")], spec)))
	}
	return policy.Join(parts...)
}

func write(docs []status.Document) string {
	var b strings.Builder
	for _, d := range docs {
		fmt.Fprintf(&b, "%s@%d %s", d.Key, d.Generation, d.Accepted)
		if d.Refused != nil {
			b.WriteString(" refused")
		}
		if d.Shadow {
			b.WriteString(" shadow")
		}
		if d.Unresolved != "" {
			b.WriteString(" (" + d.Unresolved + ")")
		}
		for _, t := range d.Targets {
			fmt.Fprintf(&b, "; %s %s in force %d", t.Name, t.Accepted, t.InForce)
			if t.Overridden {
				b.WriteString(" overridden")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestDocuments(t *testing.T) {
	const orders, billing = "{targetRefs: [{kind: Service, name: orders}], ", "{targetRefs: [{kind: Service, name: billing}], "
	for _, tc := range []struct {
		name     string
		services []string
		docs     []string // KIND NAMESPACE/NAME SPEC
		then     []string // proposed after them
		want     string
	}{
		{"a service", []string{"orders"}, []string{"ResiliencePolicy default/o " + orders + "timeouts: {request: 3s}}"}, nil,
			"ResiliencePolicy/default/o@1 Accepted; Service/orders Accepted in force 1\n"},
		{"one of two targets is there", []string{"orders"}, []string{"ResiliencePolicy default/o {targetRefs: [{kind: Service, name: orders}, {kind: Service, name: none}], timeouts: {request: 3s}}"}, nil,
			"ResiliencePolicy/default/o@1 TargetNotFound (spec.targetRefs[1]: the catalog has no service none); Service/orders Accepted in force 1; Service/none TargetNotFound in force 0\n"},
		{"another namespace's service", []string{"orders/shop"}, []string{"ResiliencePolicy other/o " + orders + "timeouts: {request: 3s}}"}, nil,
			"ResiliencePolicy/other/o@1 NotPermitted; Service/orders NotPermitted in force 0\n"},
		{"the mesh from a namespace of its own", []string{"orders"}, []string{"ResiliencePolicy other/o {targetRefs: [{kind: Mesh}], timeouts: {request: 3s}}"}, nil,
			"ResiliencePolicy/other/o@1 NotPermitted; Mesh NotPermitted in force 0\n"},
		{"two that fight", []string{"orders"}, []string{"ResiliencePolicy default/a " + orders + "timeouts: {request: 3s}}", "ResiliencePolicy default/b " + orders + "timeouts: {request: 4s, connect: 1s}}"}, nil,
			"ResiliencePolicy/default/a@1 Accepted; Service/orders Accepted in force 1\nResiliencePolicy/default/b@1 Conflicted; Service/orders Conflicted in force 1\n"},
		{"the mesh, overridden", []string{"orders"}, []string{"ResiliencePolicy default/all {targetRefs: [{kind: Mesh}], timeouts: {request: 9s}}", "ResiliencePolicy default/o " + orders + "timeouts: {request: 4s}}"}, nil,
			"ResiliencePolicy/default/all@1 Accepted; Mesh Accepted in force 0 overridden\nResiliencePolicy/default/o@1 Accepted; Service/orders Accepted in force 1\n"},
		{"shadow", []string{"orders"}, []string{"ResiliencePolicy default/o " + orders + "effect: shadow, timeouts: {request: 3s}}"}, nil,
			"ResiliencePolicy/default/o@1 Accepted shadow; Service/orders Accepted in force 0\n"},
		{"a refused newer version", []string{"orders"}, []string{"ResiliencePolicy default/o " + orders + "timeouts: {request: 3s}}"}, []string{"ResiliencePolicy default/o " + orders + "timeouts: {request: soon}}"},
			"ResiliencePolicy/default/o@1 Invalid refused; Service/orders Accepted in force 1\n"},
		{"a first version that is refused", nil, []string{"ResiliencePolicy default/o " + orders + "timeouts: {request: soon}}"}, nil,
			"ResiliencePolicy/default/o@0 Invalid refused\n"},
		{"a rule of a route that is not there", []string{"orders"}, []string{"ResiliencePolicy default/o {targetRefs: [{kind: TrafficRoute, name: orders, sectionName: canary}], timeouts: {request: 3s}}"}, nil,
			"ResiliencePolicy/default/o@1 TargetNotFound (spec.targetRefs[0]: namespace default has no TrafficRoute orders); TrafficRoute/orders/canary TargetNotFound in force 0\n"},
		{"a route, and a policy for a rule of it", []string{"orders"}, []string{
			"ResiliencePolicy default/o {targetRefs: [{kind: TrafficRoute, name: orders, sectionName: canary}], timeouts: {request: 3s}}",
			"TrafficRoute default/orders {service: orders, rules: [{name: canary}]}",
		}, nil, "ResiliencePolicy/default/o@1 Accepted; TrafficRoute/orders/canary Accepted in force 1\nTrafficRoute/default/orders@1 Accepted; Service/orders Accepted in force 1\n"},
		{"a backend that is not there", []string{"orders"}, []string{"TrafficRoute default/orders {service: orders, rules: [{name: canary, backends: [{service: none, weight: 1}]}]}"}, nil,
			"TrafficRoute/default/orders@1 Accepted (service orders: spec.rules[0].backends[0].service: the catalog has no service none; its share of 1 is answered 503); Service/orders Accepted in force 1\n"},
		{"a subscription of a service that is not there", nil, []string{"EventSubscription default/s {bindings: [order.placed], handler: {service: mail}}"}, nil,
			"EventSubscription/default/s@1 Accepted (spec.handler.service: the catalog has no service mail); Service/mail Accepted in force 0\n"},
		{"two services of two documents", []string{"orders", "billing"}, []string{"ResiliencePolicy default/b " + billing + "limits: {requests: 3}}", "ResiliencePolicy default/o " + orders + "limits: {requests: 3}}"}, nil,
			"ResiliencePolicy/default/b@1 Accepted; Service/billing Accepted in force 1\nResiliencePolicy/default/o@1 Accepted; Service/orders Accepted in force 1\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rev := revision.Decide(policy.Revision{}, decode(tc.docs...))
			if tc.then != nil {
				rev = revision.Decide(rev, decode(tc.then...))
			}
			got := write(status.Documents(compile.Full(compile.Default(), snapshot(tc.services...), rev), rev))
			if got != tc.want {
				t.Errorf("got\n%swant\n%s", got, tc.want)
			}
		})
	}
}

// What was merged into something that breaks a rule is not in force: an older
// generation is.
func TestABrokenMergeKeepsTheOlderGeneration(t *testing.T) {
	const head = "ResiliencePolicy default/o {targetRefs: [{kind: Service, name: orders}], "
	c := compile.New(compile.Default())
	snap := snapshot("orders")
	rev := revision.Decide(policy.Revision{}, decode("ResiliencePolicy default/all {targetRefs: [{kind: Mesh}], timeouts: {request: 2s}}", head+"retry: {perTryTimeout: 1s}}"))
	c.Update(snap, rev)
	next := revision.Decide(rev, decode("ResiliencePolicy default/all {targetRefs: [{kind: Mesh}], timeouts: {request: 2s}}", head+"retry: {perTryTimeout: 3s}}"))
	next.Changed = []policy.Key{{Kind: policy.KindResiliencePolicy, Namespace: "default", Name: "o"}}
	docs := status.Documents(c.Update(snap, next), next)
	want := "ResiliencePolicy/default/o@2 Invalid; Service/orders Invalid in force 1\n"
	if got := write(docs); !strings.HasSuffix(got, want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
