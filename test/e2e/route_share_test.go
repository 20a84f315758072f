//go:build e2e

package e2e

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"meshlite.dev/test/apps/echoapi"
	"meshlite.dev/test/lab"
)

// many sends n requests, some at a time.
func many(s *lab.Sidecar, n int, method, url string, header ...string) lab.Calls {
	const atOnce = 16
	out := make(lab.Calls, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				out[i].At = time.Now()
				out[i].Answer, out[i].Err = s.Do(method, url, header...)
			}
		})
	}
	wg.Wait()
	return out
}

// within fails t where got of n is not what chance p makes of it: five standard
// deviations of a binomial distribution, which one run in two million leaves.
func within(t *testing.T, what string, got, n int, p float64) {
	t.Helper()
	mean, off := float64(n)*p, 5*math.Sqrt(float64(n)*p*(1-p))
	if math.Abs(float64(got)-mean) > off {
		t.Errorf("%s: %d of %d, want %.0f ± %.0f", what, got, n, mean, off)
		return
	}
	t.Logf("%s: %d of %d, expected %.0f ± %.0f", what, got, n, mean, off)
}

// status counts calls by status; one without an answer is 0.
func statuses(cs lab.Calls) map[int]int {
	n := map[int]int{}
	for _, c := range cs {
		n[c.Status]++
	}
	return n
}

const shareRules = `
  subsets:
  - {name: v1, tags: [v1]}
  - {name: v2, tags: [v2, blue]}
  - {name: beta, meta: {track: beta}}
  - {name: both, tags: [v2], meta: {track: beta}}
  - {name: none, tags: [v9]}
  rules:
  - {name: split, matches: [{path: {type: Prefix, value: /split}}], backends: [{subset: v2, weight: 10}, {service: orders, subset: v1, weight: 90}]}
  - {name: thirds, matches: [{path: {type: Prefix, value: /thirds}}], backends: [{subset: v1}, {subset: v2}, {service: stock}, {service: stock, weight: 0}]}
  - {name: beta, matches: [{path: {type: Prefix, value: /beta}}], backends: [{subset: beta}]}
  - {name: both, matches: [{path: {type: Prefix, value: /both}}], backends: [{subset: both}]}
  - {name: none, matches: [{path: {type: Prefix, value: /none}}], backends: [{subset: none}]}
  - {name: missing, matches: [{path: {type: Prefix, value: /missing}}], backends: [{service: nowhere, weight: 1}, {service: stock, subset: v9, weight: 2}, {service: stock, weight: 7}]}
  - {name: lost, matches: [{path: {type: Prefix, value: /lost}}], backends: [{service: nowhere}]}`

// tagged are six instances of orders: 1 to 3 are v1, 4 and 5 are v2 and blue,
// 5 and 6 are on track beta.
func tagged(l *lab.Lab) []*lab.Echo {
	es := l.StartEcho("orders", 6, nil)
	for i, e := range es {
		switch {
		case i < 3:
			e.Tags = []string{"v1", "blue"}
		case i < 5:
			e.Tags = []string{"blue", "v2"}
		}
		if i >= 4 {
			e.Meta = map[string]string{"track": "beta"}
		}
	}
	l.Registry.Register(lab.Instances(es)...)
	return es
}

// TestRouteShares: subsets by tag and meta, and weights within statistics;
// what is missing is answered for its share alone.
func TestRouteShares(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, l *lab.Lab) {
		tagged(l)
		l.Service("stock", 1)
		client := routed(t, l, shareRules)

		by := many(client, 10_000, http.MethodGet, "http://orders/split").ByInstance()
		within(t, "10/90, to v2", by["orders-4"]+by["orders-5"], 10_000, 0.1)
		if v1 := by["orders-1"] + by["orders-2"] + by["orders-3"]; v1+by["orders-4"]+by["orders-5"] != 10_000 || by["orders-6"] > 0 {
			t.Errorf("10/90 reaches %v", by)
		}
		by = many(client, 3_000, http.MethodPost, "http://orders/thirds").ByInstance()
		within(t, "a third, to stock", by["stock-1"], 3_000, 1.0/3)
		within(t, "a third, to v2", by["orders-4"]+by["orders-5"], 3_000, 1.0/3)
		for path, want := range map[string]string{
			"/beta": "orders-5 orders-6", "/both": "orders-5", "/plain": "orders-1 orders-2 orders-3 orders-4 orders-5 orders-6",
		} {
			cs := many(client, 300, http.MethodGet, "http://orders"+path)
			clean(t, cs)
			for id := range cs.ByInstance() {
				if !strings.Contains(want, id) {
					t.Errorf("%s reaches %s, want one of %s", path, id, want)
				}
			}
			if got := len(cs.ByInstance()); got != len(strings.Fields(want)) {
				t.Errorf("%s reaches %d instances, want %s", path, got, want)
			}
		}
		if a := client.Get("http://orders/none"); a.Status != 503 || !strings.HasPrefix(a.Reason, "no-healthy-upstream service=orders") || !strings.Contains(a.Reason, "cluster=orders/none") {
			t.Errorf("an empty subset: %d %s", a.Status, a.Reason)
		}

		missing := map[string]int{}
		cs := many(client, 3_000, http.MethodGet, "http://orders/missing")
		for _, c := range cs {
			missing[fmt.Sprint(c.Status, " ", c.Reason)]++
		}
		of := func(backend string) string {
			return "503 missing-backend service=orders backend=" + backend + " policy=tr/default/orders@1"
		}
		within(t, "to stock beside missing ones", missing["200 "], 3_000, 0.7)
		within(t, "to a missing subset", missing[of("stock/v9")], 3_000, 0.2)
		within(t, "to a missing service", missing[of("nowhere")], 3_000, 0.1)
		if len(missing) != 3 {
			t.Errorf("answers are %v", missing)
		}
		if a := client.Get("http://orders/lost"); a.Status != 503 || "503 "+a.Reason != of("nowhere") || !strings.Contains(a.Body, "nowhere") {
			t.Errorf("nothing but a missing backend: %d %s %q", a.Status, a.Reason, a.Body)
		}
	})
}

const mirrorRules = `
  subsets: [{name: v2, tags: [v2]}]
  rules:
  - {name: all, matches: [{path: {type: Prefix, value: /all}}], backends: [{service: orders}], filters: {mirrors: [{service: audit}], rewrite: {path: /copied}}}
  - {name: some, matches: [{path: {type: Prefix, value: /some}}], filters: {mirrors: [{service: audit, percent: 25}, {service: log, percent: "0.5%"}]}}
  - {name: broken, matches: [{path: {type: Prefix, value: /broken}}], filters: {mirrors: [{service: dead}, {service: nowhere}, {subset: v2}]}}`

// TestRouteMirrors: copies arrive, all of them or their share, as they were
// sent on; nothing that becomes of them is seen by the caller.
func TestRouteMirrors(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	audit, logs := l.Service("audit", 1)[0], l.Service("log", 1)[0]
	l.Registry.Register(lab.Instance{ID: "dead-1", Name: "dead", Address: "127.0.0.1", Port: lab.FreePort(t)})
	client := routed(t, l, mirrorRules)
	copies := func(e *lab.Echo, n int) {
		t.Helper()
		lab.Until(t, 10*time.Second, fmt.Sprintf("%d copies reach %s", n, e.ID), func() error {
			if got := e.Counts().Total; got < n {
				return fmt.Errorf("%d", got)
			}
			return nil
		})
	}
	audit.ResetCounts()
	clean(t, many(client, 2_000, http.MethodPost, "http://orders/all?q=1"))
	copies(audit, 2_000)
	if c := audit.ResetCounts(); c.Total != 2_000 || c.Methods["POST"] != 2_000 || c.URLs["orders/copied"] != 2_000 {
		t.Errorf("of 2000 calls audit saw %+v", c)
	}

	logs.ResetCounts()
	const n = 8_000
	clean(t, many(client, n, http.MethodGet, "http://orders/some"))
	clean(t, many(client, 100, http.MethodGet, "http://orders/all")) // behind the others
	last := func() int { return audit.Counts().Total }
	before := -1
	lab.Until(t, 10*time.Second, "no more copies arrive", func() error {
		if now := last(); now != before {
			before = now
			return fmt.Errorf("%d", now)
		}
		return nil
	})
	within(t, "copied to audit", last()-100, n, 0.25)
	within(t, "copied to log", logs.Counts().Total, n, 0.005)

	cs := many(client, 200, http.MethodGet, "http://orders/broken")
	clean(t, cs)
	if by := cs.ByInstance(); by["orders-1"] != 200 {
		t.Errorf("answers come from %v", by)
	}
	if slow := cs.Slowest(); slow > 3*time.Second {
		t.Errorf("a call with dead mirrors took %s", slow)
	}
}

const faultRules = `
  rules:
  - {name: tenth, matches: [{path: {type: Prefix, value: /tenth}}], filters: {fault: {abort: {percent: 10, status: 418}}}}
  - {name: rare, matches: [{path: {type: Prefix, value: /rare}}], filters: {fault: {abort: {percent: "0.1%", status: 503}}}}
  - {name: slow, matches: [{path: {type: Prefix, value: /slow}}], filters: {fault: {delay: {percent: 20, duration: 400ms}}}}
  - {name: all, matches: [{path: {type: Prefix, value: /all}}], filters: {fault: {delay: {percent: 100, duration: 300ms}, abort: {percent: 100, status: 500}}}}
  - {name: grpc, matches: [{path: {type: Prefix, value: /grpc}}], filters: {fault: {abort: {percent: 100, grpcStatus: 14}}}}`

// TestRouteFaults: faults at their rate, also one in a thousand; a delay
// delays; every injected answer says so.
func TestRouteFaults(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	es := l.Service("orders", 1)
	client := routed(t, l, faultRules)
	rate := func(path string, n, status int, p float64) {
		t.Helper()
		es[0].ResetCounts()
		cs := many(client, n, http.MethodGet, "http://orders"+path)
		by := statuses(cs)
		within(t, path+" aborted", by[status], n, p)
		if by[status]+by[200] != n {
			t.Errorf("%s: %s", path, cs)
		}
		for _, c := range cs {
			if c.Status == status && c.Reason != "fault service=orders policy=tr/default/orders@1" {
				t.Fatalf("%s: x-mesh-reason is %q", path, c.Reason)
			}
		}
		if got := es[0].Counts().Total; got != by[200] {
			t.Errorf("%s: the instance saw %d calls, %d were let through", path, got, by[200])
		}
	}
	rate("/tenth", 5_000, 418, 0.1)
	rate("/rare", 40_000, 503, 0.001)
	if n := len(many(client, 500, http.MethodGet, "http://orders/plain").Failed()); n > 0 {
		t.Errorf("%d of 500 calls without a fault failed", n)
	}

	slow := 0
	for _, c := range many(client, 600, http.MethodGet, "http://orders/slow") {
		if !c.Good() {
			t.Errorf("a delayed call: %d %s %v", c.Status, c.Reason, c.Err)
		}
		if c.Took >= 350*time.Millisecond { // Envoy's clock ticks some milliseconds apart
			slow++
		}
	}
	within(t, "delayed", slow, 600, 0.2)
	if a := client.Get("http://orders/all"); a.Status != 500 || a.Took < 250*time.Millisecond || !strings.HasPrefix(a.Reason, "fault ") {
		t.Errorf("delay and abort: %d after %s, %s", a.Status, a.Took, a.Reason)
	}
	if line := accessLog(t, client, "/all"); fmt.Sprint(line["flags"]) != "DI,FI" || line["rule"] != "all" {
		t.Errorf("access log of a fault: %v", line)
	}
}

const grpcRules = `
  subsets: [{name: v2, tags: [v2]}]
  rules:
  - {name: canary, matches: [{path: {type: Exact, value: /meshlite.test.Echo/Say}, headers: [{name: x-canary, type: Present}]}], backends: [{subset: v2}]}
  - {name: refused, matches: [{headers: [{name: x-case, type: Exact, value: direct}]}], filters: {directResponse: {status: 503, body: closed}}}
  - {name: aborted, matches: [{headers: [{name: x-case, type: Exact, value: abort}]}], filters: {fault: {abort: {percent: 100, grpcStatus: 8}}}}
  - {name: http, matches: [{headers: [{name: x-case, type: Exact, value: http}]}], filters: {fault: {abort: {percent: 100, status: 403}}}}
  - {name: lost, matches: [{headers: [{name: x-case, type: Exact, value: lost}]}], backends: [{service: nowhere}]}
  - {name: half, matches: [{headers: [{name: x-case, type: Exact, value: half}]}], backends: [{service: nowhere, weight: 1000000}, {weight: 1}]}
  - {name: over, matches: [{headers: [{name: x-case, type: Exact, value: over}]}], backends: [{service: nowhere}], failover: [{subset: v2}, {service: orders}]}`

// TestRouteGRPC: rules match calls by path and metadata, and what the sidecar
// itself answers is a gRPC status with words.
func TestRouteGRPC(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	es := l.StartEcho("orders", 2, map[string]string{"protocol": "grpc"})
	es[1].Tags = []string{"v2"}
	l.Registry.Register(lab.Instances(es)...)
	l.Policies.Write("orders.yaml", routeYAML("orders", grpcRules))
	l.StartServer()
	client := l.Sidecar("client", "--upstream", "orders")
	inForce(t, l, "tr/default/orders@1")
	conns := map[string]string{fmt.Sprintf("127.0.0.1:%d", client.Outbound): "orders", fmt.Sprintf("127.0.0.1:%d", client.Upstreams["orders"]): ""}
	for addr, authority := range conns {
		conn := dialGRPC(t, addr, authority)
		say := func(header ...string) (string, error) {
			return echoapi.Say(metadataOf(t, header...), conn, "hi")
		}
		reached := map[string]int{}
		for range 40 {
			text, err := say()
			if err != nil {
				t.Fatal(err)
			}
			reached[text]++
		}
		if len(reached) != 2 {
			t.Errorf("without a rule calls reach %v", reached)
		}
		for range 20 {
			if text, err := say("x-canary", "1"); err != nil || text != "orders-2: hi" {
				t.Fatalf("canary: %q %v", text, err)
			}
		}
		if text, err := say("x-case", "over"); err != nil || text != "orders-2: hi" {
			t.Errorf("a failover list: %q %v", text, err)
		}
		for what, want := range map[string]struct {
			code codes.Code
			text string
		}{
			"direct": {codes.Unavailable, "closed"}, "abort": {codes.ResourceExhausted, "fault"}, "http": {codes.PermissionDenied, "fault"},
			"lost": {codes.Unavailable, "nowhere"}, "half": {codes.Unavailable, ""},
		} {
			_, err := say("x-case", what)
			if status.Code(err) != want.code || !strings.Contains(status.Convert(err).Message(), want.text) {
				t.Errorf("%s: %v, want %s %q", what, err, want.code, want.text)
			}
		}
	}
}
