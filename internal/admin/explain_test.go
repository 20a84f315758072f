package admin_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/policy"
)

const ordersRoute = `
apiVersion: meshlite.dev/v1alpha1
kind: TrafficRoute
metadata: {name: orders}
spec:
  service: orders
  subsets: [{name: v2, tags: [v2]}]
  rules:
  - {name: beta, matches: [{path: {type: Prefix, value: /api}, method: POST}], backends: [{subset: v2}], failover: [{service: gone}]}
  - {name: api, matches: [{path: {type: Prefix, value: /api}}], backends: [{service: late}], timeouts: {request: 3s}}
`

// routed is an API over a mesh with one route.
func routed(t *testing.T) http.Handler {
	t.Helper()
	p := policy.Decode("orders.yaml", []byte(ordersRoute))
	if len(p.Documents) != 1 {
		t.Fatalf("refused: %+v", p.Refused)
	}
	p.Documents[0].Generation = 4
	s := state(t)
	s.Revision.Documents = p.Documents
	s.Result = compile.Full(compile.Default(), s.Snapshot, s.Revision)
	cfg := config(t)
	cfg.State = func() (admin.State, bool) { return s, true }
	return admin.New(cfg)
}

func TestExplainAPathNamesItsRule(t *testing.T) {
	h := routed(t)
	for _, tc := range []struct{ query, rule, route, sooner, value string }{
		{"", "", "", "", "15s"},
		{"&path=/api/1", "api", "tr/default/orders@4", "beta", "3s"},
		{"&path=/other", "", "tr/default/orders@4", "", "15s"},
	} {
		w := ask(h, http.MethodGet, "/v1/explain?service=orders&field=timeouts.request"+tc.query, "")
		var e adminapi.Explain
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || len(e.Fields) != 1 {
			t.Fatalf("%s: %d %s: %v", tc.query, w.Code, w.Body, err)
		}
		if e.Rule != tc.rule || e.Route != tc.route || strings.Join(e.Sooner, " ") != tc.sooner || e.Fields[0].Value != tc.value {
			t.Errorf("%s: rule %q of %s, sooner %q, request %s; want %+v", tc.query, e.Rule, e.Route, e.Sooner, e.Fields[0].Value, tc)
		}
	}
}

func TestTheModelShowsRulesWithTheirPools(t *testing.T) {
	body := ask(routed(t), http.MethodGet, "/debug/model?service=orders", "").Body.String()
	body = strings.Join(strings.Fields(body), " ")
	for _, want := range []string{
		`"subsets": [ "v2" ]`, `"route": "tr/default/orders@4"`, `"1 to orders/v2", "failover gone, missing"`,
		`"1 to late, not synced"`, `"documents": [ "tr/default/orders@4" ]`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in %s", want, body)
		}
	}
}
