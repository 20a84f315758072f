package compile_test

import (
	"strings"
	"testing"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
)

const retried = `retry: {attempts: 2, statusCodes: [503], budget: {percent: 20, minConcurrency: 3}}`

func TestFindingsWithWhatIsObserved(t *testing.T) {
	chain := []compile.Edge{{From: "web", To: "orders"}, {From: "orders", To: "payments"}, {From: "payments", To: "ledger"}}
	for _, tc := range []struct {
		name     string
		policies map[string]string
		routes   map[string]string
		edges    []compile.Edge
		want     []string // "SEVERITY CODE service document path: words of the message"
	}{
		{name: "nothing is observed", policies: map[string]string{"default/all": `{targetRefs: [{kind: Mesh}], ` + retried + `}`}},
		{name: "the defaults along a chain", edges: chain},
		{
			name: "answers retried at one hop of a chain, processed nowhere at the next",
			policies: map[string]string{
				"default/orders": `{targetRefs: [{kind: Service, name: orders}], ` + strings.Replace(retried, "2", "1", 1) + `}`,
			},
			edges: chain,
			want:  []string{"info MESH0002 orders rp/default/orders@1 spec.retry.attempts: 6 tries in an outage, as answers are retried on the way: web → orders ×2, orders → payments ×3"},
		},
		{
			name:     "answers retried at every hop",
			policies: map[string]string{"default/all": `{targetRefs: [{kind: Mesh}], ` + retried + `}`},
			edges:    chain,
			want: []string{
				"warning MESH0002 orders rp/default/all@1 spec.retry.attempts: 27 tries in an outage",
				"warning MESH0002 payments rp/default/all@1 spec.retry.attempts: 9 tries in an outage",
			},
		},
		{
			name:     "a circle",
			policies: map[string]string{"default/all": `{targetRefs: [{kind: Mesh}], ` + retried + `}`},
			edges:    []compile.Edge{{From: "orders", To: "payments"}, {From: "payments", To: "orders"}},
		},
		{
			name: "retries that a rule of another service adds",
			policies: map[string]string{
				"default/payments": `{targetRefs: [{kind: Service, name: payments}], ` + retried + `}`,
				"default/orders":   `{targetRefs: [{kind: Service, name: orders}], retry: {budget: {minConcurrency: 3}}}`,
			},
			routes: map[string]string{"default/orders": `{service: orders, rules: [{name: old, backends: [{service: ledger}], retry: {attempts: 4, statusCodes: [503]}}]}`},
			edges:  []compile.Edge{{From: "web", To: "ledger"}, {From: "ledger", To: "payments"}},
			want:   []string{"warning MESH0002 ledger tr/default/orders@1 spec.rules[0].retry.attempts: 15 tries"},
		},
		{
			name: "a caller that does not wait as long as its callee",
			policies: map[string]string{
				"default/orders":   `{targetRefs: [{kind: Service, name: orders}], timeouts: {request: 2s}}`,
				"default/payments": `{targetRefs: [{kind: Service, name: payments}], timeouts: {request: 3s}}`,
			},
			edges: chain,
			want: []string{
				"warning MESH0003 orders rp/default/orders@1 spec.timeouts.request: web waits 2s for orders, which waits 3s for payments",
				"info MESH0003 payments rp/default/payments@1 spec.timeouts.request: orders waits 3s for payments, which waits 15s for ledger",
			},
		},
		{
			name:     "a callee that waits longer than the default",
			policies: map[string]string{"default/payments": `{targetRefs: [{kind: Service, name: payments}], from: [{service: orders}], timeouts: {request: 30s}}`},
			edges:    chain,
			want:     []string{"warning MESH0003 orders rp/default/payments@1 spec.timeouts.request: web waits 15s for orders, which waits 30s for payments"},
		},
		{
			name:   "a rule that waits less",
			routes: map[string]string{"default/orders": `{service: orders, rules: [{name: fast, matches: [{method: GET}], timeouts: {request: 1s}}]}`},
			edges:  chain[:2],
			want:   []string{"info MESH0003 orders tr/default/orders@1 spec.rules[0].timeouts.request: web waits 1s for orders by rule fast"},
		},
		{
			name:     "a callee that streams, and one that speaks grpc",
			policies: map[string]string{"default/payments": `{targetRefs: [{kind: Service, name: payments}], timeouts: {request: 0s}}`},
			edges:    []compile.Edge{{From: "web", To: "orders"}, {From: "orders", To: "payments"}, {From: "orders", To: "rpc"}},
		},
		{
			name:     "limits that refuse",
			policies: map[string]string{"default/orders": `{targetRefs: [{kind: Service, name: orders}], from: [{service: web}], limits: {pendingRequests: 3}}`},
			edges:    []compile.Edge{{From: "web", To: "orders", Dropped: 7}, {From: "shop", To: "orders", Dropped: 1}, {From: "shop", To: "db", Dropped: 2}, {From: "shop", To: "gone", Dropped: 2}},
			want: []string{
				"warning MESH0007 db mesh-default : the limits refuse tries of shop: 2 of late",
				"warning MESH0007 orders mesh-default : the limits refuse tries of shop: 1 of late (requests 1024,",
				"warning MESH0007 orders rp/default/orders@1 spec.limits.pendingRequests: the limits refuse tries of web: 7 of late",
			},
		},
		{
			name:     "a load near the limit",
			policies: map[string]string{"default/orders": `{targetRefs: [{kind: Service, name: orders}], limits: {requests: 10}}`},
			edges:    []compile.Edge{{From: "web", To: "orders", InFlight: 16, Proxies: 2}, {From: "shop", To: "orders", InFlight: 15, Proxies: 2}, {From: "who", To: "orders", InFlight: 99}},
			want:     []string{"info MESH0007 orders rp/default/orders@1 spec.limits.requests: web has 16 tries in flight on 2 proxies, of 10"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			for _, name := range []string{"web", "orders", "payments", "ledger"} {
				w.service(name, 1)
			}
			w.service("rpc", 1, speaks(mesh.GRPC))
			w.service("db", 1, func(s *catalog.Service) { s.Protocol = mesh.TCP })
			for name, spec := range tc.policies {
				w.policy(name, spec)
			}
			for name, spec := range tc.routes {
				w.route(name, spec)
			}
			var got []string
			for _, f := range w.full().FindingsWith(compile.Observed{Edges: tc.edges}) {
				got = append(got, strings.Join([]string{string(f.Severity), f.Code, f.Service, f.Document, f.Path + ": " + f.Message}, " "))
				if f.Hint == "" {
					t.Errorf("%+v has no hint", f)
				}
			}
			for i, want := range tc.want {
				if i < len(got) && strings.HasPrefix(got[i], want[:strings.Index(want, ": ")]) && strings.Contains(got[i], want[strings.Index(want, ": ")+2:]) {
					continue
				}
				t.Fatalf("findings:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
			if len(got) != len(tc.want) {
				t.Errorf("findings:\n%s\nwant %d", strings.Join(got, "\n"), len(tc.want))
			}
		})
	}
}

func TestFindingsWithHoldsThoseWithout(t *testing.T) {
	w := newWorld(t)
	w.policy("default/p", `{targetRefs: [{kind: Service, name: gone}], limits: {requests: 1}}`)
	r := w.full()
	without := len(r.Findings())
	if with := r.FindingsWith(compile.Observed{Builds: []string{"1.40.0"}}); len(with) != 1 || without != 1 || len(r.Findings()) != 1 {
		t.Errorf("with %d, without %d, then %d", len(with), without, len(r.Findings()))
	}
	if got := (compile.Result{}).FindingsWith(compile.Observed{}); got != nil {
		t.Errorf("an empty result has %v", got)
	}
}
