package compile_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
)

// harmful specs break a rule across fields together with mesh-default or with
// one another.
var harmful = []string{`retry: {perTryTimeout: 20s}`, `timeouts: {request: 500ms}, retry: {perTryTimeout: 400ms}`, `retry: {backoff: {base: 1s}}`}

const wholeOrders = `{targetRefs: [{kind: Service, name: orders}], limits: {connections: 7}, retry: {perTryTimeout: 2s}}`

func find(fs []mesh.Finding, code string) []mesh.Finding {
	return slices.DeleteFunc(slices.Clone(fs), func(f mesh.Finding) bool { return f.Code != code })
}

func TestADocumentThatBreaksARuleKeepsItsLastGoodVersion(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	w.policy("default/orders", wholeOrders)
	c := compile.New(compile.Default())
	good := c.Update(w.take())

	w.policy("default/orders", strings.Replace(wholeOrders, "2s", "20s", 1)) // over the 15s of mesh-default
	bad := c.Update(w.take())
	if len(bad.Changed) != 0 || on(t, bad, "orders", "") != on(t, good, "orders", "") {
		t.Errorf("what was in force changed: %v", bad.Changed)
	}
	fs := find(bad.Findings(), mesh.CodeInvalidMerge)
	if len(fs) != 1 || fs[0].Document != "rp/default/orders@2" || fs[0].Service != "orders" ||
		!strings.Contains(fs[0].Message, "mesh-default, rp/default/orders@2") ||
		!strings.Contains(fs[0].Message, "in force stays mesh-default, rp/default/orders@1") {
		t.Errorf("findings = %+v", fs)
	}
	if s := bad.Documents()[0]; s.Accepted != compile.Invalid {
		t.Errorf("status = %+v, want Invalid", s)
	}

	w.policy("default/all", `{targetRefs: [{kind: Mesh}], timeouts: {request: 60s}}`)
	cured := c.Update(w.take())
	if d := on(t, cured, "orders", ""); d.Retry.PerTryTimeout != 20*time.Second || d.Documents[1].Generation != 2 {
		t.Errorf("perTryTimeout = %s of %v, want the new version once the mesh allows it", d.Retry.PerTryTimeout, d.Documents)
	}
	if fs := find(cured.Findings(), mesh.CodeInvalidMerge); len(fs) != 0 {
		t.Errorf("findings = %+v, want none", fs)
	}
}

func TestWithoutALastGoodVersionTheStackGoesWithoutTheMostSpecificOffender(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	w.policy("default/limits", `{targetRefs: [{kind: Service, name: orders}], from: [{service: web}], limits: {connections: 9}}`)
	w.policy("default/orders", `{targetRefs: [{kind: Service, name: orders}], limits: {requests: 7}, retry: {perTryTimeout: 20s}}`)
	w.policy("default/all", `{targetRefs: [{kind: Mesh}], limits: {pendingRequests: 5}}`)
	d := on(t, w.full(), "orders", "web")
	if d.Limits.Requests != 1024 || d.Limits.PendingRequests != 5 || d.Limits.Connections != 9 {
		t.Errorf("limits = %+v; want those of the Mesh and of the innocent `from` document", d.Limits)
	}
}

func TestAnOffenderThatWasNeverGoodDoesNotHoldUpTheRest(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	w.policy("default/orders", `{targetRefs: [{kind: Service, name: orders}], retry: {perTryTimeout: 20s}}`)
	c := compile.New(compile.Default())
	c.Update(w.take())
	w.policy("default/all", `{targetRefs: [{kind: Mesh}], limits: {pendingRequests: 5}}`)
	if d := on(t, c.Update(w.take()), "orders", ""); d.Limits.PendingRequests != 5 {
		t.Errorf("pendingRequests = %d, want 5 of the Mesh", d.Limits.PendingRequests)
	}
}

func TestAMeshDocumentThatBreaksServicesLeavesThemAsTheyWere(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	w.service("other", 1)
	w.policy("default/orders", wholeOrders)
	c := compile.New(compile.Default())
	c.Update(w.take())
	w.policy("default/all", `{targetRefs: [{kind: Mesh}], timeouts: {request: 1s}}`)
	r := c.Update(w.take())
	if d := on(t, r, "orders", ""); d.Timeouts.Request != 15*time.Second || d.Retry.PerTryTimeout != 2*time.Second {
		t.Errorf("orders has request %s, perTry %s; want 15s, 2s as before", d.Timeouts.Request, d.Retry.PerTryTimeout)
	}
	if d := on(t, r, "other", ""); d.Timeouts.Request != time.Second {
		t.Errorf("other has request %s, want 1s", d.Timeouts.Request)
	}
	w.service("orders", 2, func(s *catalog.Service) { s.Protocol = mesh.HTTP2 })
	if d := on(t, c.Update(w.take()), "orders", ""); d.Protocol != mesh.HTTP2 || d.Timeouts.Request != 15*time.Second {
		t.Errorf("what the catalog says still counts: %s, request %s", d.Protocol, d.Timeouts.Request)
	}
}

func TestAShadowDocumentIsCheckedAndNotInForce(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	w.policy("default/s", `{targetRefs: [{kind: Service, name: orders}], effect: shadow, retry: {perTryTimeout: 20s}}`)
	r := w.full()
	if d := on(t, r, "orders", ""); d.Retry.PerTryTimeout != 0 {
		t.Errorf("perTryTimeout = %s, want 0", d.Retry.PerTryTimeout)
	}
	fs := find(r.Findings(), mesh.CodeInvalidMerge)
	if len(fs) != 1 || fs[0].Severity != mesh.Warning || !strings.HasPrefix(fs[0].Message, "in shadow, if enforced: ") {
		t.Errorf("findings = %+v", fs)
	}
	w.policy("default/s", `{targetRefs: [{kind: Service, name: orders}], effect: shadow, retry: {perTryTimeout: 2s}}`)
	if s := w.full().Documents()[0]; s.Accepted != compile.Accepted || !s.Shadow || s.Message == "" {
		t.Errorf("status = %+v, want Accepted with a word about the shadow", s)
	}
}

func TestNothingInForceEverBreaksARule(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		c := compile.New(compile.Default())
		for range rapid.IntRange(1, 12).Draw(rt, "updates") {
			for range rapid.IntRange(0, 4).Draw(rt, "changes") {
				w.step(rt, risky)
			}
			snap, rev := w.take()
			got, full := c.Update(snap, rev), compile.Full(compile.Default(), snap, rev)
			broken := map[string]bool{}
			for _, f := range find(full.Findings(), mesh.CodeInvalidMerge) {
				broken[f.Service] = true
			}
			for name, s := range got.Model.Services.All() {
				checkSound(rt, name, s.Default)
				for _, d := range s.ByCaller {
					checkSound(rt, name, d)
				}
				if want, _ := full.Model.Services.Get(name); !broken[name] && !cmp.Equal(want, s) {
					rt.Fatalf("%s breaks no rule and differs from Full:\n%s", name, cmp.Diff(want, s))
				}
			}
		}
	})
}

func checkSound(t *rapid.T, service string, d *mesh.Destination) {
	all := map[string]*mesh.Effective{"": d.Effective}
	if d.Routes != nil {
		for _, r := range d.Routes.Rules {
			all[r.Name] = r.Resilience
		}
	}
	for rule, e := range all {
		r, request := e.Retry, e.Timeouts.Request
		if r.PerTryTimeout > request && request > 0 || r.BackoffBase > r.BackoffMax {
			t.Fatalf("%s from %q, rule %q: perTry %s, request %s, base %s, max %s", service, d.Caller, rule, r.PerTryTimeout, request, r.BackoffBase, r.BackoffMax)
		}
	}
}
