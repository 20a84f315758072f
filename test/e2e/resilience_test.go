//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"meshlite.dev/test/apps/echoapi"
	"meshlite.dev/test/lab"
)

// under starts n instances of orders under a policy (none when empty), a
// server and a client, and waits for the first answer.
func under(t *testing.T, n int, sections string) (*lab.Lab, []*lab.Echo, *lab.Sidecar) {
	t.Helper()
	l := lab.New(t)
	es := l.Service("orders", n)
	if sections != "" {
		l.Policies.Write("orders.yaml", policyYAML("orders", sections))
	}
	l.StartServer()
	client := l.Sidecar("client")
	client.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	if sections != "" {
		inForce(t, l, "rp/default/orders@1")
	}
	for _, e := range es {
		e.ResetCounts()
	}
	return l, es, client
}

// calls sends n requests one after another.
func calls(t *testing.T, s *lab.Sidecar, n int, method, url string, header ...string) lab.Calls {
	t.Helper()
	out := make(lab.Calls, n)
	for i := range out {
		out[i].At = time.Now()
		out[i].Answer, out[i].Err = s.Do(method, url, header...)
	}
	return out
}

// together sends n requests at once.
func together(s *lab.Sidecar, n int, method, url string) lab.Calls {
	out := make(lab.Calls, n)
	var wg sync.WaitGroup
	for i := range out {
		wg.Go(func() {
			out[i].At = time.Now()
			out[i].Answer, out[i].Err = s.Do(method, url)
		})
	}
	wg.Wait()
	return out
}

func tries(es []*lab.Echo) int {
	n := 0
	for _, e := range es {
		n += e.Counts().Total
	}
	return n
}

func ejected(t *testing.T, s *lab.Sidecar, want int, limit time.Duration) {
	t.Helper()
	lab.Until(t, limit, fmt.Sprintf("%d instances are ejected", want), func() error {
		if n := s.Ejected("orders"); n != want {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
}

// TestEjectionAndReturn takes a failing instance out and back in.
func TestEjectionAndReturn(t *testing.T) {
	t.Parallel()
	_, es, client := under(t, 3, `
  outlierDetection: {interval: 1s, baseEjectionTime: 3s, maxEjectionTimeJitter: 0s}`)
	es[0].Fail("status=503")
	calls(t, client, 60, http.MethodGet, "http://orders/")
	ejected(t, client, 1, 10*time.Second)
	if by := calls(t, client, 60, http.MethodGet, "http://orders/").ByInstance(); by[es[0].ID] > 0 || len(by) != 2 {
		t.Errorf("calls reach %v", by)
	}
	es[0].Fail("")
	ejected(t, client, 0, 15*time.Second)
	cs := calls(t, client, 60, http.MethodGet, "http://orders/")
	clean(t, cs)
	if by := cs.ByInstance(); len(by) != 3 {
		t.Errorf("after its return, calls reach %v", by)
	}
}

// TestTwoInstancesEjectOne: 10 % of two is none, and yet one goes.
func TestTwoInstancesEjectOne(t *testing.T) {
	t.Parallel()
	_, es, client := under(t, 2, "")
	es[0].Fail("status=503")
	cs := calls(t, client, 60, http.MethodGet, "http://orders/")
	if n := len(cs.Failed()); n == 0 || n > 10 {
		t.Errorf("%d calls failed until the ejection; want the 5 of consecutive5xx or so: %s", n, cs)
	}
	ejected(t, client, 1, 5*time.Second)
	clean(t, calls(t, client, 40, http.MethodGet, "http://orders/"))
	es[1].Fail("status=503")
	calls(t, client, 40, http.MethodGet, "http://orders/")
	if n := client.Ejected("orders"); n != 1 {
		t.Errorf("%d of 2 instances are ejected", n)
	}
}

// TestMonitorEjectsNobody counts and leaves all in.
func TestMonitorEjectsNobody(t *testing.T) {
	t.Parallel()
	_, es, client := under(t, 3, `
  outlierDetection: {mode: Monitor, interval: 1s}`)
	es[0].Fail("status=503")
	calls(t, client, 90, http.MethodGet, "http://orders/")
	lab.Until(t, 10*time.Second, "the outlier is detected", func() error {
		if client.Stat("cluster.orders.outlier_detection.ejections_detected_consecutive_5xx") == 0 {
			return fmt.Errorf("nothing is")
		}
		return nil
	})
	if n := client.Stat("cluster.orders.outlier_detection.ejections_enforced_total"); n != 0 {
		t.Errorf("%d ejections", n)
	}
	if n := es[0].Counts().Total; n < 15 {
		t.Errorf("the sick instance got %d of 90 calls", n)
	}
}

// TestDefaultDoesNotRetryAnswers: with all upstreams at 503 there is no
// second try.
func TestDefaultDoesNotRetryAnswers(t *testing.T) {
	t.Parallel()
	_, es, client := under(t, 3, "")
	for _, e := range es {
		e.Fail("status=503")
	}
	cs := calls(t, client, 50, http.MethodGet, "http://orders/")
	cs = append(cs, calls(t, client, 50, http.MethodPost, "http://orders/")...)
	if n := tries(es); n != 100 || len(cs.Failed()) != 100 {
		t.Errorf("%d tries for 100 calls: %s", n, cs)
	}
}

// TestRetryBudget keeps tries per call bounded while every upstream answers
// 503, and calls succeed again within 5 seconds once upstreams do.
func TestRetryBudget(t *testing.T) {
	t.Parallel()
	_, es, client := under(t, 3, `
  retry: {statusCodes: [503], budget: {percent: 20, minConcurrency: 3}}
  outlierDetection: {mode: Disabled}`)
	for _, e := range es {
		e.Fail("status=503&delay=200ms")
	}
	load := client.Load(rate, http.MethodGet, "http://orders/") // 300 a second for 200 ms each: 60 in flight
	waitCalls(t, load, rate)
	for _, e := range es {
		e.ResetCounts()
	}
	begin := time.Now()
	waitCalls(t, load, 10*rate)
	n, sent := tries(es), len(load.Calls().Since(begin))
	if ratio := float64(n) / float64(sent); ratio < 1.02 || ratio > 1.30 {
		t.Errorf("%d tries for %d calls: %.2f per call, want 1.02 to 1.30", n, sent, ratio)
	} else {
		t.Logf("%d tries for %d calls: %.2f per call", n, sent, ratio)
	}
	for _, e := range es {
		e.Fail("")
	}
	healed := time.Now()
	waitCalls(t, load, 8*rate)
	calls := load.Finish()
	clean(t, calls.Since(healed.Add(5*time.Second)))
}

// TestUnsafeMethods: a POST that got its answer is not repeated; one that
// never reached an instance is.
func TestUnsafeMethods(t *testing.T) {
	t.Parallel()
	_, es, client := under(t, 2, `
  retry: {statusCodes: [503], retryOn: [connect-failure, refused-stream, reset-before-request, 5xx]}
  outlierDetection: {mode: Disabled}`)
	es[0].Fail("status=503")
	post := calls(t, client, 40, http.MethodPost, "http://orders/")
	if n := tries(es); n != 40 || len(post.Failed()) == 0 {
		t.Errorf("%d tries for 40 POSTs: %s", n, post)
	}
	clean(t, calls(t, client, 40, http.MethodGet, "http://orders/"))
	es[0].Kill()
	clean(t, calls(t, client, 40, http.MethodPost, "http://orders/"))
}

// TestPerTryTimeout gives a slow instance up and tries another.
func TestPerTryTimeout(t *testing.T) {
	t.Parallel()
	_, es, client := under(t, 2, `
  retry: {retryOn: [gateway-error, connect-failure], perTryTimeout: 300ms}
  outlierDetection: {mode: Disabled}`)
	es[0].Fail("delay=5s")
	cs := calls(t, client, 20, http.MethodGet, "http://orders/")
	clean(t, cs)
	if slow := cs.Slowest(); slow < 300*time.Millisecond || slow > 3*time.Second {
		t.Errorf("the slowest call took %s", slow)
	}
}

// TestOverflow answers at once what exceeds the limits.
func TestOverflow(t *testing.T) {
	t.Parallel()
	_, _, client := under(t, 2, `
  limits: {requests: 5}
  retry: {attempts: 0}`)
	cs := together(client, 25, http.MethodGet, "http://orders/over?delay=2s")
	failed := cs.Failed()
	if len(failed) != 20 {
		t.Fatalf("%s; want 5 and 20", cs)
	}
	for _, c := range failed {
		if c.Status != http.StatusServiceUnavailable || c.Reason != "overflow service=orders policy=rp/default/orders@1 cluster=orders" || c.Took > time.Second {
			t.Fatalf("an overflowing call got %d %q %v after %s", c.Status, c.Reason, c.Err, c.Took)
		}
	}
	lab.Until(t, 10*time.Second, "the access log has the flag UO", func() error {
		if !strings.Contains(client.Log(), `"UO"`) {
			return fmt.Errorf("not yet")
		}
		return nil
	})
}

// TestRateLimit gives each caller a bucket of its own.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	l, _, client := under(t, 1, `
  rateLimit: {perCaller: {requests: 10, per: 60s, burst: 10}}`)
	other := l.Sidecar("other")
	cs := calls(t, client, 30, http.MethodGet, "http://orders/")
	limited := 0
	for _, c := range cs.Failed() {
		if c.Status != http.StatusTooManyRequests || !strings.Contains(c.Reason, "policy=rp/default/orders@1") {
			t.Fatalf("got %d %q %v", c.Status, c.Reason, c.Err)
		}
		limited++
	}
	if limited < 20 {
		t.Errorf("%d of 30 calls were limited", limited)
	}
	clean(t, calls(t, other, 5, http.MethodGet, "http://orders/"))
}

// TestActiveHealthCheck stops calling an instance whose page fails, by policy
// and by the catalog's own check.
func TestActiveHealthCheck(t *testing.T) {
	t.Parallel()
	t.Run("policy", func(t *testing.T) {
		t.Parallel()
		_, es, client := under(t, 3, `
  healthCheck: {type: HTTP, path: /health, interval: 1s, timeout: 1s, unhealthyAfter: 2, healthyAfter: 1}`)
		activeHealth(t, es, client)
	})
	t.Run("catalog", func(t *testing.T) {
		t.Parallel()
		l := lab.New(t)
		es := l.StartEcho("orders", 3, nil)
		for _, e := range es {
			e.Check = map[string]any{"http": fmt.Sprintf("http://127.0.0.1:%d/health", e.Port), "interval": "1s", "timeout": "1s"}
		}
		l.Registry.Register(lab.Instances(es)...)
		l.StartServer()
		client := l.Sidecar("client")
		client.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
		activeHealth(t, es, client)
	})
}

func activeHealth(t *testing.T, es []*lab.Echo, client *lab.Sidecar) {
	t.Helper()
	load := client.Load(50, http.MethodGet, "http://orders/")
	es[0].Fail("health=503")
	gone(t, load, es[0].ID, 15*time.Second)
	es[0].Fail("")
	lab.Until(t, 15*time.Second, "the healthy instance is called again", func() error {
		if load.Calls().Since(time.Now().Add(-time.Second)).ByInstance()[es[0].ID] == 0 {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	clean(t, load.Finish())
}

// TestHashSticks sends the same user to the same instance.
func TestHashSticks(t *testing.T) {
	t.Parallel()
	for _, lb := range []string{"RingHash", "Maglev"} {
		t.Run(lb, func(t *testing.T) {
			t.Parallel()
			_, es, client := under(t, 3, fmt.Sprintf(`
  loadBalancing: {type: %s, hash: [{header: x-user}]}`, lb))
			home, homes := map[string]string{}, map[string]bool{}
			for i := range 120 {
				user := fmt.Sprint("user-", i%20)
				a := client.Get("http://orders/", "x-user", user)
				if before, ok := home[user]; ok && before != a.Instance {
					t.Fatalf("%s went to %s, then to %s", user, before, a.Instance)
				}
				home[user] = a.Instance
				homes[a.Instance] = true
			}
			if len(homes) != 3 {
				t.Errorf("20 users live on %v", homes)
			}
			for _, e := range es { // the home dies: its users move, none fails
				if e.ID == home["user-0"] {
					e.Kill()
				}
			}
			clean(t, calls(t, client, 30, http.MethodGet, "http://orders/", "x-user", "user-0"))
		})
	}
}

// TestSlowStart gives a new instance little at first.
func TestSlowStart(t *testing.T) {
	t.Parallel()
	l, _, client := under(t, 2, `
  loadBalancing: {type: RoundRobin, slowStart: {window: 20s}}`)
	load := client.Load(rate, http.MethodGet, "http://orders/")
	// All endpoints of a new cluster start slowly together; wait for its end.
	begin := time.Now()
	lab.Hold(t, 21*time.Second, "calls are answered", func() error {
		if f := load.Calls().Failed(); len(f) > 0 {
			return fmt.Errorf("%s", f)
		}
		return nil
	})
	late := lab.Instance{ID: "orders-3", Name: "orders", Address: "127.0.0.1", Port: l.StartEcho("late", 1, nil)[0].Port}
	l.Registry.Register(late)
	var first time.Time
	lab.Until(t, 15*time.Second, "the new instance is called", func() error {
		for _, c := range load.Calls().Since(begin.Add(20 * time.Second)) {
			if c.Instance == "late-1" {
				first = c.At
				return nil
			}
		}
		return fmt.Errorf("it is not")
	})
	share := func(from time.Time) float64 {
		cs := load.Calls().Since(from)
		return float64(cs.ByInstance()["late-1"]) / float64(len(cs))
	}
	waitCalls(t, load, 2*rate)
	early := share(first)
	lab.Until(t, 40*time.Second, "the new instance gets its third in the end", func() error {
		if s := share(time.Now().Add(-2 * time.Second)); s < 0.28 {
			return fmt.Errorf("its share is %.2f", s)
		}
		return nil
	})
	if early > 0.2 {
		t.Errorf("in its first seconds the new instance got %.2f of the calls", early)
	}
	clean(t, load.Finish())
}

// TestRetryTokens makes one of two instances fail in the way that a token is
// about; with the token no call fails.
func TestRetryTokens(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	pair := l.StartEcho("echo", 2, nil)
	grpcPair := l.StartEcho("gecho", 2, map[string]string{"protocol": "grpc"})
	const at = "at=echo-1&"
	web := []struct{ token, query, more string }{
		{"none", at + "status=503", ""},
		{"5xx", at + "status=500", ""},
		{"gateway-error", at + "status=502", ""},
		{"reset", at + "reset=true", ""},
		{"retriable-4xx", at + "status=409", ""},
		{"envoy-ratelimited", at + "status=429&header=x-envoy-ratelimited:true", ""},
		{"retriable-headers", at + "status=500&header=x-again:1", ", responseHeaders: [x-again]"},
		{"retriable-status-codes", at + "status=418", ", statusCodes: [418]"},
		{"connect-failure", "", ""},
	}
	calls := map[string]codes.Code{
		"cancelled": codes.Canceled, "deadline-exceeded": codes.DeadlineExceeded, "internal": codes.Internal,
		"resource-exhausted": codes.ResourceExhausted, "unavailable": codes.Unavailable,
	}
	policies := ""
	add := func(name, retry string) {
		policies += "---\n" + policyYAML(name, fmt.Sprintf("\n  retry: {%s, avoidPreviousHosts: true}\n  outlierDetection: {mode: Disabled}\n  loadBalancing: {type: RoundRobin}", retry))
	}
	dead := lab.FreePort(t)
	for _, w := range web {
		name := "t-" + w.token
		for i, e := range pair {
			port := e.Port
			if w.token == "connect-failure" && i == 0 {
				port = dead
			}
			l.Registry.Register(lab.Instance{ID: fmt.Sprint(name, "-", i), Name: name, Address: "127.0.0.1", Port: port})
		}
		if w.token == "none" {
			add(name, "attempts: 0")
			continue
		}
		add(name, "attempts: 2, retryOn: ["+w.token+"]"+w.more)
	}
	for token := range calls {
		for i, e := range grpcPair {
			l.Registry.Register(lab.Instance{ID: fmt.Sprint("g-", token, "-", i), Name: "g-" + token, Address: "127.0.0.1", Port: e.Port, Meta: map[string]string{"protocol": "grpc"}})
		}
		add("g-"+token, "attempts: 2, retryOn: ["+token+"]")
	}
	l.Policies.Write("tokens.yaml", policies)
	l.StartServer()
	client := l.Sidecar("client")
	for _, w := range web {
		url := "http://t-" + w.token + "/?" + w.query
		client.WaitStatus("http://t-"+w.token+"/", http.StatusOK, 10*time.Second)
		failed := 0
		for range 10 {
			if a := client.Get(url); a.Status != http.StatusOK {
				failed++
			}
		}
		if w.token == "none" && failed == 0 || w.token != "none" && failed > 0 {
			t.Errorf("retryOn [%s]: %d of 10 calls failed", w.token, failed)
		}
	}
	for token, code := range calls {
		conn := dialGRPC(t, fmt.Sprintf("127.0.0.1:%d", client.Outbound), "g-"+token)
		for range 10 {
			ctx := metadata.AppendToOutgoingContext(t.Context(), "fail-at", "gecho-1", "fail-code", fmt.Sprint(uint32(code)))
			if _, err := echoapi.Say(ctx, conn, "hi"); err != nil {
				t.Errorf("retryOn [%s]: %v (%s)", token, err, status.Code(err))
				break
			}
		}
	}
}
