//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"meshlite.dev/test/lab"
)

func metadataOf(t *testing.T, header ...string) context.Context {
	return metadata.AppendToOutgoingContext(t.Context(), header...)
}

const behaviourRules = `
  rules:
  - {name: timeout, matches: [{path: {type: Prefix, value: /timeout}}], timeouts: {request: 300ms}}
  - {name: idle, matches: [{path: {type: Prefix, value: /idle}}], timeouts: {streamIdle: 300ms}}
  - {name: long, matches: [{path: {type: Prefix, value: /long}}], timeouts: {maxStreamDuration: 300ms}}
  - {name: again, matches: [{path: {type: Prefix, value: /again}}], retry: {attempts: 3, statusCodes: [503], backoff: {base: 1ms, max: 1ms}}}
  - {name: never, matches: [{path: {type: Prefix, value: /never}}], retry: {attempts: 0}}
  - {name: posts, matches: [{path: {type: Prefix, value: /posts}}], retry: {attempts: 1, retryOn: [5xx], methods: [POST]}}
  - {name: put, matches: [{path: {type: Prefix, value: /put}, method: PUT}], retry: {attempts: 1, retryOn: [5xx], methods: [PUT]}}
  - {name: header, matches: [{path: {type: Prefix, value: /header}}], retry: {attempts: 1, retryOn: [retriable-headers], responseHeaders: [x-again]}}
  - {name: try, matches: [{path: {type: Prefix, value: /try}}], retry: {attempts: 1, retryOn: [gateway-error], perTryTimeout: 200ms}}
  - {name: silent, matches: [{path: {type: Prefix, value: /silent}}], retry: {attempts: 1, retryOn: [gateway-error], perTryIdleTimeout: 200ms}}
  - {name: backoff, matches: [{path: {type: Prefix, value: /backoff}}], retry: {attempts: 1, statusCodes: [503], backoff: {base: 500ms, max: 500ms}}}
  - {name: after, matches: [{path: {type: Prefix, value: /after}}], retry: {attempts: 1, statusCodes: [503], honorRetryAfter: {max: 5s}}}
  - {name: other, matches: [{path: {type: Prefix, value: /other}}], retry: {attempts: 1, statusCodes: [503], avoidPreviousHosts: true, hostSelectionAttempts: 30}}
  - {name: same, matches: [{path: {type: Prefix, value: /same}}], retry: {attempts: 1, statusCodes: [503], avoidPreviousHosts: false}}
  - {name: limited, matches: [{path: {type: Prefix, value: /limited}}, {path: {type: Prefix, value: /as-well}}]}
  - {name: socket, matches: [{headers: [{name: upgrade, type: Exact, value: websocket}]}], backends: [{service: chat}]}`

const limitedPolicy = `apiVersion: meshlite.dev/v1alpha1
kind: ResiliencePolicy
metadata: {name: limited}
spec:
  targetRefs: [{kind: TrafficRoute, name: orders, sectionName: limited}]
  rateLimit: {perCaller: {requests: 1, per: 10m, burst: 5}}
`

// TestRuleResilience: timeouts, retries and the rate limit of single rules,
// with the document that decided in every answer; other rules have their own.
func TestRuleResilience(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	es := l.Service("orders", 2)
	l.Service("chat", 1)
	l.Policies.Write("limited.yaml", limitedPolicy)
	l.Policies.Write("breakers.yaml", policyYAML("orders", "\n  outlierDetection: {mode: Disabled}\n  rateLimit: {perCaller: {requests: 1000, per: 1s, burst: 5000}}"))
	client := routed(t, l, behaviourRules, "--upstream", "orders")
	inForce(t, l, "rp/default/limited@1")

	for path, reason := range map[string]string{"/timeout": "timeout", "/idle": "stream-idle", "/long": "max-stream-duration"} {
		a := client.Get("http://orders" + path + "?delay=5s")
		if a.Status != 504 && a.Status != 408 || a.Reason != reason+" service=orders policy=tr/default/orders@1" || a.Took < 250*time.Millisecond || a.Took > 3*time.Second {
			t.Errorf("%s: %d after %s, %s", path, a.Status, a.Took, a.Reason)
		}
	}
	if a := client.Get("http://orders/plain?delay=700ms"); a.Status != 200 {
		t.Errorf("without a rule: %d %s", a.Status, a.Reason)
	}

	for _, tc := range []struct {
		method, path string
		tries        int
	}{
		{"GET", "/again?status=503", 4}, {"POST", "/again?status=503", 1}, {"GET", "/again?status=500", 1},
		{"GET", "/never?reset=true", 1}, {"GET", "/plain?status=503", 1},
		{"POST", "/posts?status=500", 2}, {"GET", "/posts?status=500", 1}, {"PUT", "/put?status=500", 2},
		{"GET", "/header?header=x-again:1", 2}, {"GET", "/header?header=x-other:1", 1}, {"POST", "/header?header=x-again:1", 1},
		{"GET", "/try?delay=3s", 2}, {"GET", "/silent?delay=3s", 2},
	} {
		for _, e := range es {
			e.ResetCounts()
		}
		a, _ := client.Do(tc.method, "http://orders"+tc.path)
		if n := tries(es); n != tc.tries || a.Took > 2*time.Second {
			t.Errorf("%s %s: %d tries, want %d: %d %s after %s", tc.method, tc.path, n, tc.tries, a.Status, a.Reason, a.Took)
		}
	}
	begin := time.Now()
	calls(t, client, 10, http.MethodGet, "http://orders/backoff?status=503") // each waits up to 500 ms, evenly; by default up to 25
	if took := time.Since(begin); took < 600*time.Millisecond {
		t.Errorf("10 retries waited %s in all", took)
	}
	if a := client.Get("http://orders/after?status=503&header=retry-after:1"); a.Took < time.Second || a.Took > 4*time.Second {
		t.Errorf("retry-after: 1 was answered after %s", a.Took)
	}
	if cs := calls(t, client, 60, http.MethodGet, "http://orders/other?status=503&at=orders-1"); len(cs.Failed()) > 0 {
		t.Errorf("retries at the other instance: %s", cs)
	}
	if cs := calls(t, client, 60, http.MethodGet, "http://orders/same?status=503&at=orders-1"); len(cs.Failed()) == 0 {
		t.Errorf("retries at any instance: %s", cs)
	}

	answers := map[string]int{}
	for _, path := range []string{"/limited", "/as-well"} {
		for _, method := range []string{"GET", "POST"} {
			for _, c := range calls(t, client, 5, method, "http://orders"+path) {
				answers[fmt.Sprint(c.Status, " ", c.Reason)]++
			}
		}
	}
	if n := answers["429 rate-limited service=orders policy=rp/default/limited@1"]; n != 15 || answers["200 "] != 5 {
		t.Errorf("one bucket of 5 for all of a rule: %v", answers)
	}
	clean(t, many(client, 300, http.MethodGet, "http://orders/plain"))
	clean(t, many(client, 300, http.MethodGet, "http://orders/never"))

	for _, port := range []int{client.Outbound, client.Upstreams["orders"]} {
		ws, err := lab.DialWebSocket(t.Context(), fmt.Sprintf("127.0.0.1:%d", port), "orders")
		if err != nil {
			t.Fatal(err)
		}
		defer ws.Close()
		if text, err := ws.Echo("hello"); err != nil || text != "chat-1: hello" {
			t.Errorf("an upgrade through a rule: %q %v", text, err)
		}
	}
	if a := asked(t, client, http.MethodGet, client.Local("orders")+"/timeout?delay=5s"); a.Reason != "timeout service=orders policy=tr/default/orders@1" {
		t.Errorf("through a local port: %d %s", a.Status, a.Reason)
	}
}

const shadowRules = `
  effect: shadow
  rules: [{name: closed, filters: {directResponse: {status: 503, body: closed}}}]`

// TestShadowRoute: a route in shadow changes nothing until it is enforced.
func TestShadowRoute(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	client := routed(t, l, shadowRules)
	load := client.Load(rate/3, http.MethodGet, "http://orders/")
	waitCalls(t, load, rate/3)
	clean(t, load.Finish())
	l.Policies.Write("orders.yaml", routeYAML("orders", strings.Replace(shadowRules, "shadow", "enforce", 1)))
	client.WaitStatus("http://orders/", http.StatusServiceUnavailable, 15*time.Second)
	l.Policies.Remove("orders.yaml")
	client.WaitStatus("http://orders/", http.StatusOK, 15*time.Second)
}

// TestRouteEditsLoseNoCall edits a TrafficRoute in every way under load: no
// call is lost and no cluster is made anew.
func TestRouteEditsLoseNoCall(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	tagged(l)
	stock := l.Service("stock", 2)
	const subsets = "\n  subsets: [{name: v1, tags: [v1]}, {name: v2, tags: [v2]}]"
	client := routed(t, l, subsets)
	load := client.Load(rate, http.MethodGet, "http://orders/x?q=1")
	waitCalls(t, load, rate/2)
	for i, spec := range []string{
		subsets + "\n  rules: [{name: a, backends: [{subset: v1, weight: 90}, {subset: v2, weight: 10}]}]",
		subsets + "\n  rules: [{name: a, backends: [{subset: v1, weight: 50}, {subset: v2, weight: 50}]}]",
		subsets + "\n  rules: [{name: a, backends: [{subset: v2}], failover: [{subset: v1}]}]",
		subsets + "\n  rules: [{name: a, backends: [{subset: v2}], failover: [{subset: v1}, {service: stock}]}]",
		subsets + "\n  rules: [{name: a, backends: [{service: stock}], failover: [{service: orders}]}]",
		subsets + "\n  rules: [{name: a, backends: [{service: stock}], filters: {mirrors: [{subset: v1}], rewrite: {path: /y}, requestHeaders: {set: {x-a: b}}}}]",
		subsets + "\n  rules: [{name: a, backends: [{service: stock}, {subset: v1}], timeouts: {request: 5s}, retry: {attempts: 1}}]",
		"\n  subsets: [{name: v1, tags: [v1]}, {name: v3, tags: [blue]}]\n  rules: [{name: a, backends: [{subset: v3}], filters: {fault: {delay: {percent: 50, duration: 5ms}}}}]",
		"\n  rules: [{name: a, matches: [{path: {type: Regex, value: '/[xy]'}, queryParams: [{name: q, type: Exact, value: '1'}]}], backends: [{service: stock}]}]",
		subsets + "\n  rules: [{name: b, matches: [{method: GET}], backends: [{subset: v1}], failover: [{subset: v2}]}, {name: a, backends: [{service: stock}]}]",
		"",
	} {
		l.Policies.Write("orders.yaml", routeYAML("orders", spec))
		inForce(t, l, fmt.Sprintf("tr/default/orders@%d", i+2))
		waitCalls(t, load, rate/4)
	}
	l.Registry.Deregister(stock[0].Instance)
	waitCalls(t, load, rate/2)
	calls := load.Finish()
	clean(t, calls)
	by := calls.ByInstance()
	for i := 1; i <= 6; i++ {
		if by[fmt.Sprintf("orders-%d", i)] == 0 {
			t.Errorf("no rule led to orders-%d: %v", i, by)
		}
	}
	if by["stock-1"]+by["stock-2"] == 0 {
		t.Errorf("no rule led to stock: %v", by)
	}
	if n := client.Stat("cluster_manager.cluster_modified"); n != 0 {
		t.Errorf("%d clusters were made anew: their connections are closed, their ejections forgotten", n)
	}
	t.Logf("%s; %d clusters added, %d removed", calls, client.Stat("cluster_manager.cluster_added"), client.Stat("cluster_manager.cluster_removed"))
}

// TestBackendGoes: a backend of another service leaves the catalog and comes
// back; its share alone is answered meanwhile.
func TestBackendGoes(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, l *lab.Lab) {
		l.Service("orders", 2)
		stock := l.Service("stock", 1)[0]
		client := routed(t, l, `
  rules:
  - {name: other, matches: [{path: {type: Prefix, value: /other}}], backends: [{service: stock}]}
  - {name: half, matches: [{path: {type: Prefix, value: /half}}], backends: [{service: stock}, {service: orders}]}`)
		goTo(t, client, "http://orders/other", 10*time.Second, nil, ids(stock))
		plain := client.Load(rate/3, http.MethodGet, "http://orders/")
		l.Registry.Deregister(stock.Instance)
		const reason = "missing-backend service=orders backend=stock policy=tr/default/orders@1"
		lab.Until(t, 60*time.Second, "the backend is missing", func() error {
			if a := client.Get("http://orders/other"); a.Status != http.StatusServiceUnavailable || a.Reason != reason {
				return fmt.Errorf("%d %s", a.Status, a.Reason)
			}
			return nil
		})
		answers := map[string]int{}
		for _, c := range many(client, 400, http.MethodGet, "http://orders/half") {
			answers[fmt.Sprint(c.Status, " ", c.Reason)]++
		}
		within(t, "to the one that is left", answers["200 "], 400, 0.5)
		if answers["200 "]+answers["503 "+reason] != 400 {
			t.Errorf("answers: %v", answers)
		}
		l.Registry.Register(stock.Instance)
		goTo(t, client, "http://orders/other", 20*time.Second, nil, ids(stock))
		clean(t, plain.Finish())
	})
}
