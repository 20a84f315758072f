//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"meshlite.dev/test/lab"
)

const failoverRules = `
  subsets: [{name: v1, tags: [v1]}, {name: v2, tags: [v2]}]
  rules:
  - {name: over, matches: [{path: {type: Prefix, value: /over}}], backends: [{subset: v2}], failover: [{subset: v1}, {service: old}, {datacenter: dc2}]}`

// goTo waits until calls go to the named instances alone, each of them; others
// may get calls until then only if they are among before.
func goTo(t *testing.T, client *lab.Sidecar, url string, limit time.Duration, before, want []string) {
	t.Helper()
	lab.Until(t, limit, fmt.Sprintf("calls go to %v", want), func() error {
		cs := many(client, 60*len(want), http.MethodGet, url)
		by := cs.ByInstance()
		for id := range by {
			if !slices.Contains(before, id) && !slices.Contains(want, id) {
				return lab.Stop(fmt.Errorf("%s gets calls before its turn: %v", id, by))
			}
		}
		for _, id := range want {
			if by[id] == 0 {
				return fmt.Errorf("%s: %v", cs, by)
			}
		}
		if len(by) > len(want) || len(cs.Failed()) > 0 {
			return fmt.Errorf("%s: %v", cs, by)
		}
		return nil
	})
}

func ids(es ...*lab.Echo) (out []string) {
	for _, e := range es {
		out = append(out, e.ID)
	}
	return out
}

// TestFailoverByEjection: calls leave a backend with its last instance that is
// not ejected, go down the list, and come back.
func TestFailoverByEjection(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	es := l.StartEcho("orders", 6, nil)
	for i, e := range es {
		e.Tags = []string{"v2"}
		if i == 5 {
			e.Tags = []string{"v1"}
		}
	}
	old := l.Service("old", 1)[0]
	far := l.StartEcho("far", 1, nil)[0]
	far.Instance.Name, far.Meta = "orders", map[string]string{"datacenter": "dc2"}
	l.Registry.Register(append(lab.Instances(es), far.Instance)...)
	l.Policies.Write("mesh.yaml", `apiVersion: meshlite.dev/v1alpha1
kind: ResiliencePolicy
metadata: {name: everywhere}
spec:
  targetRefs: [{kind: Mesh}]
  retry: {attempts: 0}
  outlierDetection: {interval: 1s, baseEjectionTime: 25s, maxEjectionTimeJitter: 0s, maxEjectionPercent: 100}
`)
	client := routed(t, l, failoverRules)
	const url = "http://orders/over"
	v2, v1 := es[:5], es[5]
	goTo(t, client, url, 10*time.Second, nil, ids(v2...))
	for _, e := range v2[:4] {
		e.Fail("status=503")
	}
	goTo(t, client, url, 10*time.Second, ids(v2...), ids(v2[4]))
	clean(t, many(client, 500, http.MethodGet, url)) // one of five carries all
	v2[4].Fail("status=503")
	goTo(t, client, url, 10*time.Second, ids(v2...), ids(v1))
	v1.Fail("status=503")
	goTo(t, client, url, 10*time.Second, ids(es...), ids(old))
	old.Fail("status=503")
	goTo(t, client, url, 10*time.Second, ids(append(es, old)...), ids(far))
	for _, e := range append(slices.Clone(es), old) {
		e.Fail("")
	}
	goTo(t, client, url, 60*time.Second, ids(append(es, old, far)...), ids(v2...))
}

const elsewhereRules = `
  rules:
  - {name: over, matches: [{path: {type: Prefix, value: /over}}], failover: [{service: stock}]}
  - {name: canary, matches: [{path: {type: Prefix, value: /canary}}], backends: [{service: canary}], failover: [{service: stock}]}`

// TestFailoverByCatalog: what Consul says of health moves calls with none of
// them lost, and an instance that drains is not healthy.
func TestFailoverByCatalog(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	consul := l.UseConsul()
	es := l.StartEcho("orders", 5, nil)
	for _, e := range es {
		e.Check = lab.TTL(e.ID)
	}
	l.Registry.Register(lab.Instances(es)...)
	stock, canary := l.Service("stock", 1)[0], l.Service("canary", 1)[0]
	client := routed(t, l, elsewhereRules)
	const url = "http://orders/over"
	load := client.Load(rate/3, http.MethodGet, url)
	goTo(t, client, url, 10*time.Second, nil, ids(es...))
	for _, e := range es[:4] {
		consul.SetHealth(e.ID, "critical")
	}
	goTo(t, client, url, 15*time.Second, ids(es...), ids(es[4]))
	consul.SetHealth(es[4].ID, "critical")
	goTo(t, client, url, 15*time.Second, ids(es...), ids(stock))
	consul.SetHealth(es[1].ID, "passing")
	goTo(t, client, url, 15*time.Second, ids(stock), ids(es[1]))
	consul.Maintenance(es[1].ID, true)
	goTo(t, client, url, 15*time.Second, ids(es[1]), ids(stock))
	consul.Maintenance(es[1].ID, false)
	goTo(t, client, url, 15*time.Second, ids(stock), ids(es[1]))

	other := client.Load(rate/3, http.MethodGet, "http://orders/canary")
	goTo(t, client, "http://orders/canary", 10*time.Second, nil, ids(canary))
	l.Registry.Deregister(canary.Instance) // the service itself is gone
	goTo(t, client, "http://orders/canary", 30*time.Second, ids(canary), ids(stock))
	l.Registry.Register(canary.Instance)
	goTo(t, client, "http://orders/canary", 15*time.Second, ids(stock), ids(canary))
	clean(t, load.Finish())
	clean(t, other.Finish())
}

// TestFailoverOfTheDead: an instance that is killed loses no call that may be
// repeated, and a list whose members have no healthy instance spreads over all
// of them rather than giving up.
func TestFailoverOfTheDead(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	consul := l.UseConsul()
	es := l.StartEcho("orders", 2, nil)
	es = append(es, l.StartEcho("stock", 1, nil)...)
	for _, e := range es {
		e.Check = lab.TTL(e.ID)
	}
	l.Registry.Register(lab.Instances(es)...)
	l.Policies.Write("budget.yaml", policyYAML("orders", "\n  retry: {budget: {minConcurrency: 1000}}")) // a busy machine sends many at once
	client := routed(t, l, elsewhereRules)
	const url = "http://orders/over"
	load := client.Load(rate/3, http.MethodGet, url)
	waitCalls(t, load, rate/3)
	es[0].Kill()
	waitCalls(t, load, rate)
	clean(t, load.Finish())
	es[0].Restart()
	for _, e := range es {
		consul.SetHealth(e.ID, "critical")
	}
	lab.Until(t, 40*time.Second, "calls go to all", func() error {
		cs := many(client, 120, http.MethodGet, url)
		if by := cs.ByInstance(); len(by) != 3 || len(cs.Failed()) > 0 {
			return fmt.Errorf("%s: %v", cs, by)
		}
		return nil
	})
}

const remoteRules = `
  subsets: [{name: v2, tags: [v2]}]
  rules:
  - {name: far, matches: [{path: {type: Prefix, value: /far}}], backends: [{datacenter: dc2}], filters: {mirrors: [{service: audit, datacenter: dc2}, {subset: v2}]}}
  - {name: part, matches: [{path: {type: Prefix, value: /part}}], backends: [{datacenter: dc2, subset: v2}], failover: [{service: orders, datacenter: dc2, subset: v2}, {subset: v2}]}`

// TestOtherDatacenters: backends, subsets and mirrors there, and no host of
// their own.
func TestOtherDatacenters(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	here := l.Service("orders", 1)[0]
	there := append(l.StartEcho("far", 2, nil), l.StartEcho("audit", 1, nil)...)
	for i, e := range there[:2] {
		e.Instance.Name, e.Meta = "orders", map[string]string{"datacenter": "dc2"}
		if i == 1 {
			e.Tags = []string{"v2"}
		}
	}
	there[2].Meta = map[string]string{"datacenter": "dc2"}
	l.Registry.Register(lab.Instances(there)...)
	client := routed(t, l, remoteRules)
	goTo(t, client, "http://orders/far", 15*time.Second, nil, ids(there[:2]...))
	goTo(t, client, "http://orders/part", 5*time.Second, nil, ids(there[1]))
	goTo(t, client, "http://orders/", 5*time.Second, nil, ids(here))
	lab.Until(t, 10*time.Second, "copies arrive", func() error {
		if n := there[2].Counts().Total; n == 0 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	if a := client.Get("http://audit/"); a.Status != http.StatusNotFound || a.Reason != "unknown-host host=audit" {
		t.Errorf("a service of another datacenter alone: %d %s", a.Status, a.Reason)
	}
	if a := client.Get("http://orders@dc2/"); a.Instance != here.ID && a.Status != http.StatusNotFound {
		t.Errorf("http://orders@dc2/: %d %s %s", a.Status, a.Instance, a.Reason)
	}
}

const unansweredRules = `
  rules:
  - {name: far, matches: [{path: {type: Prefix, value: /far}}], backends: [{datacenter: dc9}]}
  - {name: half, matches: [{path: {type: Prefix, value: /half}}], backends: [{datacenter: dc9}, {service: stock}]}
  - {name: over, matches: [{path: {type: Prefix, value: /over}}], backends: [{datacenter: dc9}], failover: [{service: stock}]}`

// TestPoolNotSynced: a datacenter that does not answer takes its own share and
// nothing else; a proxy that has routes keeps them.
func TestPoolNotSynced(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.UseConsul()
	l.Service("orders", 1)
	l.Service("stock", 1)
	client := routed(t, l, "\n  rules: [{name: half, matches: [{path: {type: Prefix, value: /half}}], backends: [{service: stock}]}]")
	goTo(t, client, "http://orders/half", 10*time.Second, nil, []string{"stock-1"})
	load := client.Load(rate/3, http.MethodGet, "http://orders/half")
	l.Policies.Write("orders.yaml", routeYAML("orders", unansweredRules))
	lab.Until(t, 15*time.Second, "the server has the new rules", func() error {
		var doc struct {
			Items []struct {
				Generation int64 `json:"generation"`
			} `json:"items"`
		}
		if err := l.Server.Try("/v1/policies", &doc); err != nil {
			return err
		}
		for _, p := range doc.Items {
			if p.Generation == 2 {
				return nil
			}
		}
		return fmt.Errorf("%+v", doc.Items)
	})
	fresh := l.NewSidecar("client", "client-2")
	fresh.Start()
	fresh.WaitReady(20 * time.Second)
	const reason = "not-synced service=orders@dc9 policy=tr/default/orders@2"
	if a := fresh.WaitStatus("http://orders/far", 503, 10*time.Second); a.Reason != reason || !strings.Contains(a.Body, "has not answered") {
		t.Errorf("a new proxy: %s %q", a.Reason, a.Body)
	}
	answers := map[string]int{}
	for _, c := range many(fresh, 1_000, http.MethodGet, "http://orders/half") {
		answers[c.Instance+c.Reason]++
	}
	within(t, "to the one that is known", answers["stock-1"], 1_000, 0.5)
	if answers["stock-1"]+answers[reason] != 1_000 {
		t.Errorf("a new proxy: %v", answers)
	}
	goTo(t, fresh, "http://orders/over", 5*time.Second, nil, []string{"stock-1"})
	waitCalls(t, load, rate)
	clean(t, load.Finish()) // the one that had routes
}
