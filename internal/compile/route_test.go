package compile_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
)

// ruleOf finds a rule of what caller gets of service.
func ruleOf(tb testing.TB, r compile.Result, service, caller, name string) *mesh.Rule {
	tb.Helper()
	d := on(tb, r, service, caller)
	if d.Routes == nil {
		tb.Fatalf("%s has no rules", service)
	}
	for i := range d.Routes.Rules {
		if d.Routes.Rules[i].Name == name {
			return &d.Routes.Rules[i]
		}
	}
	tb.Fatalf("%s has no rule %q", service, name)
	return nil
}

// pools writes down backends, failover and mirrors with their states.
func pools(r *mesh.Rule) string {
	var out []string
	add := func(p mesh.Pool) { out = append(out, p.String()+[]string{"", " missing", " not synced"}[p.State]) }
	for _, b := range r.Backends {
		add(b.Pool)
	}
	for _, p := range r.Failover {
		add(p)
	}
	for _, m := range r.Mirrors {
		add(m.Pool)
	}
	return strings.Join(out, ", ")
}

func speaks(p mesh.Protocol) func(*catalog.Service) {
	return func(s *catalog.Service) { s.Protocol = p }
}

func waiting(s *catalog.Service) { s.Synced = false }

func TestTheLastRuleTakesTheRestAsIfThereWereNoRoute(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	w.route("default/orders", `{service: orders, rules: [{name: a, matches: [{method: POST}], backends: [{service: audit}]}]}`)
	w.policy("default/p", `{targetRefs: [{kind: TrafficRoute, name: orders}], timeouts: {request: 3s}}`)
	r := w.full()
	d := on(t, r, "orders", "")
	rest := d.Routes.Rules[len(d.Routes.Rules)-1]
	if rest.Name != "" || rest.Matches != nil || rest.Resilience != d.Effective || pools(&rest) != "orders" {
		t.Errorf("the last rule is %+v", rest)
	}
	if got := ruleOf(t, r, "orders", "", "a").Resilience.Timeouts.Request; got != 3*time.Second || d.Timeouts.Request != 15*time.Second {
		t.Errorf("request is %s by rule, %s without one", got, d.Timeouts.Request)
	}
}

func TestPoolsFollowWhatTheyName(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	w.service("bystander", 1)
	w.route("default/orders", `{service: orders, rules: [{name: a, backends: [{subset: v1}, {service: audit, subset: v1}],
		failover: [{datacenter: dc2}, {service: audit, datacenter: dc1}], filters: {mirrors: [{service: audit}]}}]}`)
	w.route("default/bystander", `{service: bystander, rules: [{name: a}]}`)
	c := compile.New(compile.Default())
	before := on(t, c.Update(w.take()), "orders", "")
	for _, step := range []struct {
		what    string
		do      func()
		want    string
		changed string
	}{
		{"nothing of it is there", func() {}, "orders/v1 missing, audit/v1 missing, orders@dc2 missing, audit@dc1 missing, audit missing", ""},
		{"a backend appears", func() { w.service("audit", 1, waiting) }, "orders/v1 missing, audit/v1 not synced, orders@dc2 missing, audit@dc1 missing, audit not synced", "audit orders"},
		{"and answers", func() { w.service("audit", 1) }, "orders/v1 missing, audit/v1 missing, orders@dc2 missing, audit@dc1 missing, audit", "audit orders"},
		{"its route names the subset", func() { w.route("default/audit", `{service: audit, subsets: [{name: v1, tags: [v1]}]}`) },
			"orders/v1 missing, audit/v1, orders@dc2 missing, audit@dc1 missing, audit", "audit orders"},
		{"its endpoints change", func() { w.service("audit", 3) }, "orders/v1 missing, audit/v1, orders@dc2 missing, audit@dc1 missing, audit", "audit"},
		{"the own route names the subset", func() {
			w.route("default/orders", `{service: orders, subsets: [{name: v1, tags: [v1]}], rules: [{name: a, backends: [{subset: v1}, {service: audit, subset: v1}],
				failover: [{datacenter: dc2, subset: v1}, {service: audit, datacenter: dc1}], filters: {mirrors: [{service: audit}]}}]}`)
		}, "orders/v1, audit/v1, orders@dc2/v1 missing, audit@dc1 missing, audit", "orders"},
		{"another datacenter appears", func() { w.service("orders@dc2", 1) }, "orders/v1, audit/v1, orders@dc2/v1, audit@dc1 missing, audit", "orders orders@dc2"},
		{"the own datacenter is known", func() { w.home = "dc1" }, "orders/v1, audit/v1, orders@dc2/v1, audit, audit", "orders"},
		{"a backend speaks tcp", func() { w.service("audit", 1, speaks(mesh.TCP)) }, "orders/v1, audit/v1 missing, orders@dc2/v1, audit missing, audit missing", "audit orders"},
		{"a backend goes", func() { w.removeService("audit") }, "orders/v1, audit/v1 missing, orders@dc2/v1, audit missing, audit missing", "audit"},
		{"a service that nothing names changes", func() { w.service("other", 1) }, "orders/v1, audit/v1 missing, orders@dc2/v1, audit missing, audit missing", "other"},
	} {
		step.do()
		r := c.Update(w.take())
		if got := pools(ruleOf(t, r, "orders", "", "a")); got != step.want {
			t.Errorf("%s: %s; want %s", step.what, got, step.want)
		}
		if got := strings.Join(r.Changed, " "); got != step.changed {
			t.Errorf("%s: changed %s; want %s", step.what, got, step.changed)
		}
		if kept := on(t, r, "orders", "") == before; kept == slices.Contains(r.Changed, "orders") {
			t.Errorf("%s: the destination was kept: %t", step.what, kept)
		}
		before = on(t, r, "orders", "")
	}
}

func TestADatacentersServiceHasTheValuesOfItsLikeHere(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1, func(s *catalog.Service) { s.Namespace = "shop" })
	w.service("orders@dc2", 1, func(s *catalog.Service) { s.Protocol = mesh.HTTP2 })
	w.route("shop/orders", `{service: orders, subsets: [{name: v1, tags: [v1]}], rules: [{name: a}]}`)
	w.policy("shop/orders", `{targetRefs: [{kind: Service, name: orders}], limits: {requests: 7}}`)
	w.policy("shop/web", `{targetRefs: [{kind: Service, name: orders}], from: [{service: web}], limits: {requests: 8}}`)
	c := compile.New(compile.Default())
	r := c.Update(w.take())
	s, _ := r.Model.Services.Get("orders@dc2")
	if s.Default.Routes != nil || s.Default.Limits.Requests != 7 || s.For("web").Limits.Requests != 8 || s.Default.Protocol != mesh.HTTP2 ||
		len(s.Subsets) != 1 || s.Subsets[0].Name != "v1" || s.Namespace != "shop" {
		t.Errorf("orders@dc2 = %+v, default %+v", s, s.Default)
	}
	if fs := r.Findings(); len(codes(fs)) != 1 || fs[0].Code != mesh.CodeEmptySubset {
		t.Errorf("findings = %v", codes(fs))
	}
	w.service("orders", 1, func(s *catalog.Service) { s.Namespace = "other" })
	r = c.Update(w.take())
	if s, _ = r.Model.Services.Get("orders@dc2"); s.Default.Limits.Requests != 1024 || len(s.Subsets) != 0 || len(s.ByCaller) != 0 {
		t.Errorf("the service here changed hands, and orders@dc2 has still %+v", s.Default.Limits)
	}
}

func TestCallersHaveRulesOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	w.service("audit", 1)
	w.route("default/orders", `{service: orders, rules: [{name: a, backends: [{service: audit}, {weight: 2}], retry: {attempts: 1}}, {name: b}]}`)
	w.policy("default/orders", `{targetRefs: [{kind: Service, name: orders}], from: [{service: web}], timeouts: {streamIdle: 7s}}`)
	w.policy("default/hash", `{targetRefs: [{kind: Service, name: audit}], from: [{service: shop}, {service: web}], loadBalancing: {hash: [{header: x-user}]}}`)
	r := w.full()
	for _, tc := range []struct {
		caller     string
		streamIdle time.Duration
		hash       string
	}{
		{"", 5 * time.Minute, ""},
		{"web", 7 * time.Second, "x-user"},
		{"shop", 5 * time.Minute, "x-user"},
	} {
		d, a := on(t, r, "orders", tc.caller), ruleOf(t, r, "orders", tc.caller, "a")
		hash := ""
		for _, k := range a.Hash {
			hash += k.Header
		}
		if d.Caller != tc.caller || a.Resilience.Timeouts.StreamIdle != tc.streamIdle || a.Resilience.Retry.Attempts != 1 || hash != tc.hash {
			t.Errorf("%q: of caller %q, streamIdle %s, %d attempts, hash %s", tc.caller, d.Caller, a.Resilience.Timeouts.StreamIdle, a.Resilience.Retry.Attempts, hash)
		}
		if b := ruleOf(t, r, "orders", tc.caller, "b"); b.Resilience != d.Effective || b.Hash != nil {
			t.Errorf("%q: rule b has values of its own: %+v", tc.caller, b)
		}
	}
	if on(t, r, "orders", "shop").Effective != on(t, r, "orders", "").Effective {
		t.Error("shop has no policy of its own for orders, and another result")
	}
}

func TestHashesOfBackendsAreJoinedWithoutRepetitions(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"orders", "a", "b", "c"} {
		w.service(name, 1)
	}
	w.route("default/orders", `{service: orders, rules: [{name: r, backends: [{service: a}, {service: b}, {service: gone}], failover: [{service: c}]}]}`)
	w.policy("default/a", `{targetRefs: [{kind: Service, name: a}], loadBalancing: {hash: [{header: x}, {query: q}]}}`)
	w.policy("default/b", `{targetRefs: [{kind: Service, name: b}], loadBalancing: {hash: [{query: q}, {header: w}, {header: x, terminal: true}]}}`)
	w.policy("default/c", `{targetRefs: [{kind: Service, name: c}], loadBalancing: {hash: [{header: z}]}}`)
	var got []string
	for _, k := range ruleOf(t, w.full(), "orders", "", "r").Hash {
		got = append(got, fmt.Sprint(k.Header, k.Query, k.Terminal))
	}
	if strings.Join(got, " ") != "xfalse qfalse wfalse xtrue" {
		t.Errorf("hash = %q", got)
	}
}

func TestARuleThatBreaksAMergeKeepsItsLastGoodValues(t *testing.T) {
	const rules = `{service: orders, rules: [{name: a, retry: {attempts: 4, perTryTimeout: 2s}}, {name: b, backends: [{service: %s}]}]}`
	w := newWorld(t)
	w.service("orders", 1)
	w.service("audit", 1)
	w.route("default/orders", fmt.Sprintf(rules, "orders"))
	c := compile.New(compile.Default())
	c.Update(w.take())

	w.route("default/orders", fmt.Sprintf(strings.Replace(rules, "4, perTryTimeout: 2s", "5, perTryTimeout: 20s", 1), "audit"))
	r := c.Update(w.take())
	a := ruleOf(t, r, "orders", "", "a").Resilience
	if a.Retry.Attempts != 4 || a.Retry.PerTryTimeout != 2*time.Second || pools(ruleOf(t, r, "orders", "", "b")) != "audit" {
		t.Errorf("rule a has %+v; its last good values stay, and rule b follows", a.Retry)
	}
	fs := find(r.Findings(), mesh.CodeInvalidMerge)
	if len(fs) != 1 || fs[0].Document != "tr/default/orders@2" || fs[0].Path != "spec.rules[0].retry.perTryTimeout" ||
		!strings.Contains(fs[0].Message, "in rule a") || !strings.Contains(fs[0].Message, "in force stays mesh-default, tr/default/orders@1") {
		t.Errorf("findings = %+v", fs)
	}

	w.removeRoute("default/orders")
	w.route("default/other", fmt.Sprintf(strings.Replace(rules, "4, perTryTimeout: 2s", "5, perTryTimeout: 20s", 1), "audit"))
	if a := ruleOf(t, c.Update(w.take()), "orders", "", "a").Resilience; a.Retry.Attempts != 2 {
		t.Errorf("another route's rule of that name has %d attempts of the one that is gone", a.Retry.Attempts)
	}
}

func TestARuleIsCutDownByItsMostSpecificOffender(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	w.route("default/orders", `{service: orders, rules: [{name: a, retry: {attempts: 4}}]}`)
	w.policy("default/p", `{targetRefs: [{kind: TrafficRoute, name: orders, sectionName: a}], retry: {perTryTimeout: 20s}}`)
	w.policy("default/q", `{targetRefs: [{kind: TrafficRoute, name: orders}], timeouts: {streamIdle: 1s}}`)
	a := ruleOf(t, w.full(), "orders", "", "a").Resilience
	if a.Retry.Attempts != 4 || a.Retry.PerTryTimeout != 0 || a.Timeouts.StreamIdle != time.Second {
		t.Errorf("rule a has %+v, %+v; want all but the perTryTimeout", a.Retry, a.Timeouts)
	}
}

func TestARouteInShadowIsCheckedAndNotInTheModel(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	w.route("default/orders", `{service: orders, effect: shadow, subsets: [{name: v1, tags: [v1]}],
		rules: [{name: a, backends: [{subset: v2}], retry: {perTryTimeout: 20s}}]}`)
	w.policy("default/p", `{targetRefs: [{kind: TrafficRoute, name: orders}], retry: {attempts: 1}}`)
	r := w.full()
	s, _ := r.Model.Services.Get("orders")
	if s.Default.Routes != nil || s.Subsets != nil {
		t.Errorf("routes %+v, subsets %+v", s.Default.Routes, s.Subsets)
	}
	var got []string
	for _, f := range r.Findings() {
		if f.Code == mesh.CodeTargetNotFound {
			got = append(got, f.Code)
			continue
		}
		got = append(got, f.Code+" "+f.Path)
		if f.Severity != mesh.Warning || !strings.HasPrefix(f.Message, "in shadow, if enforced: ") {
			t.Errorf("finding = %+v", f)
		}
	}
	if want := "MESH0008, MESH0009 spec.subsets[0], MESH0018 spec.rules[0].retry.perTryTimeout, MESH0022 spec.rules[0].backends[0].subset"; strings.Join(got, ", ") != want {
		t.Errorf("findings = %s, want %s", strings.Join(got, ", "), want)
	}
}

func TestATCPServiceHasNoRules(t *testing.T) {
	w := newWorld(t)
	w.service("db", 1, speaks(mesh.TCP))
	w.route("default/db", `{service: db, subsets: [{name: v1, tags: [v1]}], rules: [{name: a}]}`)
	w.policy("default/p", `{targetRefs: [{kind: Service, name: db}], from: [{service: web}], connection: {protocol: http2}}`)
	c := compile.New(compile.Default())
	r := c.Update(w.take())
	s, _ := r.Model.Services.Get("db")
	if s.Default.Routes != nil || s.For("web").Routes != nil || s.Subsets != nil {
		t.Errorf("a tcp service has rules: %+v", s)
	}
	w.service("db", 1)
	w.policy("default/p", `{targetRefs: [{kind: Service, name: db}], from: [{service: web}], connection: {protocol: tcp}}`)
	s, _ = c.Update(w.take()).Model.Services.Get("db")
	if s.Default.Routes == nil || s.For("web").Routes != nil {
		t.Errorf("rules are for those who speak http: default %v, web %v", s.Default.Routes, s.For("web").Routes)
	}
}
