//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/test/lab"
)

// projector is a service with a plain HTTP handler.
type projector struct {
	lab.Instance
	srv *httptest.Server

	mu       sync.Mutex
	got      map[string]int // calls by the event's id
	attempts map[string]string
	first    map[string]time.Time
	busy     int
	most     int
	answer   func(w http.ResponseWriter, r *http.Request, id string) // nil: 204
}

func newProjector(t *testing.T, l *lab.Lab, name string) *projector {
	p := &projector{got: map[string]int{}, attempts: map[string]string{}, first: map[string]time.Time{}}
	p.srv = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.srv.Close)
	addr := p.srv.Listener.Addr().(*net.TCPAddr)
	p.Instance = lab.Instance{ID: name + "-1", Name: name, Address: addr.IP.String(), Port: addr.Port}
	l.Registry.Register(p.Instance)
	return p
}

func (p *projector) serve(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	var e struct{ ID string }
	if err != nil || json.Unmarshal(raw, &e) != nil || e.ID == "" {
		http.Error(w, "no event", http.StatusTeapot)
		return
	}
	p.mu.Lock()
	if p.got[e.ID]++; p.got[e.ID] == 1 {
		p.first[e.ID] = time.Now()
	}
	p.attempts[e.ID] = r.Header.Get(dispatch.HeaderAttempt)
	p.busy++
	p.most = max(p.most, p.busy)
	answer := p.answer
	p.mu.Unlock()
	defer func() { p.mu.Lock(); p.busy--; p.mu.Unlock() }()
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	answer(w, r, e.ID)
}

func (p *projector) set(answer func(w http.ResponseWriter, r *http.Request, id string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *projector) calls(id string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got[id]
}

// until waits for the first call with an event.
func (p *projector) until(t *testing.T, id string, n int) {
	t.Helper()
	lab.Until(t, 30*time.Second, fmt.Sprintf("the handler gets %s %d times", id, n), func() error {
		if got := p.calls(id); got < n {
			return fmt.Errorf("%d", got)
		}
		return nil
	})
}

// dispatching starts a server that takes and delivers events, its own sidecar, and
// a client's.
func dispatching(t *testing.T, l *lab.Lab, flags ...string) (*lab.Server, *lab.Sidecar) {
	t.Helper()
	s := dispatcher(l, "dispatcher-1", flags...)
	client := l.Sidecar("client")
	untilTaken(t, client)
	return s, client
}

// dispatcher is dispatching without the client; id is the sidecar's.
func dispatcher(l *lab.Lab, id string, flags ...string) *lab.Server {
	own := lab.FreePort(l)
	s := l.StartServer(append([]string{
		"--roles", "xds,admin,events", "--app-addr", fmt.Sprint("127.0.0.1:", lab.FreePort(l)), "--app-proxy", fmt.Sprint("http://127.0.0.1:", own),
	}, flags...)...)
	c := l.NewSidecar("dispatcher", id, "--outbound-port", strconv.Itoa(own))
	c.Start()
	c.WaitReady(20 * time.Second)
	return s
}

// ordersTo is a subscription to order.* for a service, with more of its spec.
func ordersTo(service, more string) string {
	return fmt.Sprintf(`apiVersion: meshlite.dev/v1alpha1
kind: EventSubscription
metadata: {name: %[1]s}
spec:
  bindings: ["order.*"]
  handler: {service: %[1]s, path: /events}
%[2]s`, service, more)
}

// place publishes an order with an id of an event.
func place(t *testing.T, client *lab.Sidecar, id string) {
	t.Helper()
	if status, answer, err := publish(client, fmt.Sprintf(`{"type":"order.created","id":%q,"source":"/shop"}`, id)); err != nil || status != http.StatusAccepted {
		t.Fatalf("%s: %d %s %v", id, status, answer, err)
	}
}

// queueKinds are what the scenarios run with.
var queueKinds = map[string]func(t *testing.T, l *lab.Lab) (flags []string){
	"local": func(*testing.T, *lab.Lab) []string { return []string{"--events", "local"} },
	"amqp": func(t *testing.T, l *lab.Lab) []string {
		return []string{"--events", "amqp", "--amqp-url", l.StartRabbit().URL("")}
	},
}

// eachQueue runs a scenario with every kind of queue.
func eachQueue(t *testing.T, scenario func(t *testing.T, l *lab.Lab, flags []string)) {
	for name, open := range queueKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t)
			scenario(t, l, open(t, l))
		})
	}
}

// untilSubscribed posts events until one comes: the subscription works from then on.
func untilSubscribed(t *testing.T, client *lab.Sidecar, p *projector) {
	t.Helper()
	n := 0
	lab.Until(t, 30*time.Second, "the subscription delivers", func() error {
		n++
		id := fmt.Sprint("warm-", n)
		if status, answer, err := publish(client, fmt.Sprintf(`{"type":"order.warm","id":%q,"source":"/shop"}`, id)); err != nil || status != http.StatusAccepted {
			return errors.Join(err, fmt.Errorf("%d %s", status, answer))
		}
		for begin := time.Now(); time.Since(begin) < time.Second; {
			if p.calls(id) > 0 {
				return nil
			}
			<-time.After(5 * time.Millisecond) // a look
		}
		return fmt.Errorf("%s did not come", id)
	})
}

// TestAnOrderArrives at a plain handler, posted by a plain client.
func TestAnOrderArrives(t *testing.T) {
	t.Parallel()
	eachQueue(t, func(t *testing.T, l *lab.Lab, flags []string) {
		p := newProjector(t, l, "projector")
		l.Policies.Write("projector.yaml", ordersTo("projector", ""))
		_, client := dispatching(t, l, flags...)
		untilSubscribed(t, client, p)
		var took []time.Duration
		for i := range 50 {
			id, begin := fmt.Sprint("order-", i), time.Now()
			place(t, client, id)
			p.until(t, id, 1)
			p.mu.Lock()
			took = append(took, p.first[id].Sub(begin))
			p.mu.Unlock()
		}
		slices.Sort(took)
		t.Logf("from POST to handler: median %s, slowest %s", took[25].Round(100*time.Microsecond), took[49].Round(100*time.Microsecond))
		// A document that goes takes its deliveries along.
		l.Policies.Remove("projector.yaml")
		lab.Until(t, 20*time.Second, "the subscription has ended", func() error {
			id := fmt.Sprint("late-", rand.Int())
			if status, _, err := publish(client, fmt.Sprintf(`{"type":"order.created","id":%q,"source":"/shop"}`, id)); err != nil || status != http.StatusAccepted {
				return errors.Join(err, fmt.Errorf("%d", status))
			}
			<-time.After(500 * time.Millisecond) // it would have come
			if p.calls(id) > 0 {
				return fmt.Errorf("%s came", id)
			}
			return nil
		})
	})
}

// TestHandlersThatFail are called again as the document says; then the event is put
// aside with the reason. The others go on meanwhile.
func TestHandlersThatFail(t *testing.T) {
	t.Parallel()
	eachQueue(t, func(t *testing.T, l *lab.Lab, flags []string) {
		p := newProjector(t, l, "projector")
		l.Policies.Write("projector.yaml", ordersTo("projector", "  delivery: {timeout: 300ms, attempts: 3, backoff: {base: 100ms, max: 200ms}}\n"))
		s, client := dispatching(t, l, flags...)
		untilSubscribed(t, client, p)
		p.set(func(w http.ResponseWriter, r *http.Request, id string) {
			switch id {
			case "broken":
				http.Error(w, "no database", http.StatusInternalServerError)
			case "hanging":
				select {
				case <-r.Context().Done():
				case <-time.After(10 * time.Second):
				}
			case "retry":
				fmt.Fprint(w, `{"status":"RETRY"}`)
			case "drop":
				fmt.Fprint(w, `{"status":"DROP"}`)
			case "gone":
				http.Error(w, "never", http.StatusGone)
			}
		})
		want := map[string]string{
			"broken":  "attempt 3 of 3: 500 Internal Server Error: no database",
			"hanging": "attempt 3 of 3: ",
			"retry":   "attempt 3 of 3: the handler answered RETRY",
			"drop":    "the handler answered DROP",
			"gone":    "410 Gone: never",
		}
		for id := range want {
			place(t, client, id)
		}
		place(t, client, "good")
		p.until(t, "good", 1)
		reasons := map[string]string{}
		lab.Until(t, 30*time.Second, "five are given up", func() error {
			for _, e := range deadOf(t, s) {
				reasons[e.ID] = e.Reason
			}
			if len(reasons) != len(want) {
				return fmt.Errorf("%v", reasons)
			}
			return nil
		})
		for id, reason := range want {
			if !strings.HasPrefix(reasons[id], reason) {
				t.Errorf("%s: %q, want %q", id, reasons[id], reason)
			}
		}
		if n := p.calls("broken"); n != 3 {
			t.Errorf("the broken one was called %d times", n)
		}
		// Mended, they are delivered once they are put back.
		p.set(nil)
		out := l.Meshctl("events", "dlq", "requeue", "projector", "--all")
		if out.Code != 0 {
			t.Fatalf("dlq requeue: exit %d\n%s", out.Code, out.Stderr)
		}
		p.until(t, "broken", 4)
		p.until(t, "drop", 2)
		t.Logf("%s", strings.TrimSpace(out.Stdout))
	})
}

// deadOf are the events about dead letters.
func deadOf(t *testing.T, s *lab.Server) (all []events.Delivery) {
	t.Helper()
	for line := range strings.Lines(s.Text("/v1/events?type=" + events.DeliveryDeadLettered)) {
		var e struct{ Data events.Delivery }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, e.Data)
	}
	return all
}

// TestTenThousandEvents go to a handler of eight at a time in bounded memory.
func TestTenThousandEvents(t *testing.T) {
	t.Parallel()
	const n = 10_000
	eachQueue(t, func(t *testing.T, l *lab.Lab, flags []string) {
		p := newProjector(t, l, "projector")
		l.Policies.Write("projector.yaml", ordersTo("projector", "  concurrency: 8\n"))
		s, client := dispatching(t, l, flags...)
		untilSubscribed(t, client, p)
		p.set(func(w http.ResponseWriter, _ *http.Request, _ string) {
			<-time.After(4 * time.Millisecond) // the work of a handler
			w.WriteHeader(http.StatusNoContent)
		})
		before := s.Resident()
		for batch := range n / 500 {
			var all []string
			for i := range 500 {
				all = append(all, fmt.Sprintf(`{"specversion":"1.0","type":"order.created","id":"%d-%d","source":"/shop","data":%q}`, batch, i, strings.Repeat("x", 500)))
			}
			if status, answer, err := publish(client, "["+strings.Join(all, ",")+"]"); err != nil || status != http.StatusAccepted {
				t.Fatal(status, answer, err)
			}
		}
		begin, peak := time.Now(), 0
		lab.Until(t, 3*time.Minute, "all are delivered", func() error {
			peak = max(peak, s.Resident())
			p.mu.Lock()
			defer p.mu.Unlock()
			if len(p.got) < n {
				return fmt.Errorf("%d of %d", len(p.got), n)
			}
			return nil
		})
		p.mu.Lock()
		defer p.mu.Unlock()
		t.Logf("%d events in %s after the last was taken, %d at a time at most; the server took %d MiB more at its peak", n, time.Since(begin).Round(time.Millisecond), p.most, (peak-before)>>20)
		if p.most > 8 {
			t.Errorf("%d at a time", p.most)
		}
		limit := 64
		if lab.Race {
			limit *= 4 // the detector keeps its own account of memory
		}
		if grown := (peak - before) >> 20; grown > limit {
			t.Errorf("the server grew by %d MiB", grown)
		}
	})
}

// TestDeliveriesOutliveTheServer: killed again and again, nothing that was taken is
// kept from its handler.
func TestDeliveriesOutliveTheServer(t *testing.T) {
	t.Parallel()
	const kills = 8
	eachQueue(t, func(t *testing.T, l *lab.Lab, flags []string) {
		p := newProjector(t, l, "projector")
		l.Policies.Write("projector.yaml", ordersTo("projector", "  delivery: {attempts: 20, backoff: {base: 100ms, max: 500ms}}\n"))
		s, client := dispatching(t, l, flags...)
		untilSubscribed(t, client, p)
		p.set(func(w http.ResponseWriter, _ *http.Request, _ string) {
			if rand.IntN(4) == 0 {
				http.Error(w, "not now", http.StatusServiceUnavailable)
			}
		})
		var taken []string
		for kill := range kills {
			untilTaken(t, client)
			stop := time.After(time.Duration(200+rand.IntN(800)) * time.Millisecond) // the moment of the kill is what varies
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d", kill, i)
				status, _, err := publish(client, fmt.Sprintf(`{"type":"order.created","id":%q,"source":"/shop"}`, id))
				if err == nil && status == http.StatusAccepted {
					taken = append(taken, id)
				}
				select {
				case <-stop:
				default:
					continue
				}
				break
			}
			s.Kill()
			s.Start()
			s.WaitReady(20 * time.Second)
		}
		p.set(nil)
		lab.Until(t, 60*time.Second, "all that were taken are delivered", func() error {
			for _, id := range taken {
				if p.calls(id) == 0 {
					return fmt.Errorf("%s of %d was not", id, len(taken))
				}
			}
			return nil
		})
		calls := 0
		for _, id := range taken {
			calls += p.calls(id)
		}
		t.Logf("%d kills, %d events taken and delivered with %d calls", kills, len(taken), calls)
	})
}

// TestDispatchersShareAQueue: two servers deliver from one queue of a broker; when
// one dies the other goes on with what it held. A pause holds for both.
func TestDispatchersShareAQueue(t *testing.T) {
	t.Parallel()
	const n = 600
	l := lab.New(t)
	l.UseConsul()
	p := newProjector(t, l, "projector")
	l.Policies.Write("projector.yaml", ordersTo("projector", "  delivery: {attempts: 20, backoff: {base: 100ms, max: 500ms}}\n"))
	flags := []string{"--events", "amqp", "--amqp-url", l.StartRabbit().URL(""), "--store", "consul"}
	first := dispatcher(l, "dispatcher-1", flags...)
	second := dispatcher(l, "dispatcher-2", append(flags, "--state-dir", t.TempDir())...)
	client := l.Sidecar("client") // of the second
	untilTaken(t, client)
	untilSubscribed(t, client, p)
	inState := func(state string) {
		t.Helper()
		for _, s := range []*lab.Server{first, second} {
			lab.Until(t, 10*time.Second, "both are "+state, func() error {
				if got := subscriptionOf(t, s); got.State != state {
					return fmt.Errorf("%s %s", got.State, got.Problem)
				}
				return nil
			})
		}
	}
	inState(dispatch.Delivering)
	p.set(func(w http.ResponseWriter, _ *http.Request, _ string) {
		<-time.After(5 * time.Millisecond) // the work of a handler
		w.WriteHeader(http.StatusNoContent)
	})
	// The second takes what is posted: what the first took waits on its own disk while
	// it is dead.
	post := func(from, to int) {
		t.Helper()
		var all []string
		for i := from; i < to; i++ {
			all = append(all, fmt.Sprintf(`{"specversion":"1.0","type":"order.created","id":"shared-%d","source":"/shop"}`, i))
		}
		resp, err := http.Post("http://"+second.Admin+"/v1/events", "application/json", strings.NewReader("["+strings.Join(all, ",")+"]"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if answer, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s %v", resp.StatusCode, answer, err)
		}
	}
	all := func(to int) func() error {
		return func() error {
			for i := range to {
				if p.calls(fmt.Sprint("shared-", i)) == 0 {
					return fmt.Errorf("shared-%d did not come", i)
				}
			}
			return nil
		}
	}
	post(0, n/2)
	lab.Until(t, 30*time.Second, "the first half is delivered", all(n/2))
	var shares [2]uint64
	for i, s := range []*lab.Server{first, second} {
		shares[i] = subscriptionOf(t, s).Delivered
		if shares[i] < n/20 {
			t.Errorf("server %d delivered %d of %d", i+1, shares[i], n/2)
		}
	}
	post(n/2, n)
	first.Kill()
	begin := time.Now()
	lab.Until(t, 60*time.Second, "the other delivers the rest", all(n))
	t.Logf("%d and %d delivered; with one killed the rest was there after %s", shares[0], shares[1], time.Since(begin).Round(time.Millisecond))

	first.Start()
	first.WaitReady(20 * time.Second)
	l.Server = first
	if out := l.Meshctl("events", "subscription", "pause", "projector", "--reason", "it does harm"); out.Code != 0 {
		t.Fatalf("pause: exit %d\n%s", out.Code, out.Stderr)
	}
	inState(dispatch.Paused)
	post(n, n+50)
	<-time.After(2 * time.Second) // they would have come
	if p.calls(fmt.Sprint("shared-", n)) > 0 {
		t.Error("a paused subscription delivered")
	}
	if out := l.Meshctl("events", "subscription", "resume", "projector"); out.Code != 0 {
		t.Fatalf("resume: exit %d\n%s", out.Code, out.Stderr)
	}
	lab.Until(t, 30*time.Second, "what waited is delivered", all(n+50))
}

// subscriptionOf is the one of the projector as a server sees it.
func subscriptionOf(t *testing.T, s *lab.Server) (out adminapi.Subscription) {
	t.Helper()
	s.Get("/v1/events/subscriptions/default/projector", &out)
	return out
}

// TestOrderedEvents keep their order when the handler fails and the server dies.
func TestOrderedEvents(t *testing.T) {
	t.Parallel()
	eachQueue(t, func(t *testing.T, l *lab.Lab, flags []string) {
		const n = 200
		p := newProjector(t, l, "projector")
		l.Policies.Write("projector.yaml", ordersTo("projector", "  ordered: true\n  delivery: {attempts: 100, backoff: {base: 10ms, max: 100ms}}\n"))
		s, client := dispatching(t, l, flags...)
		untilSubscribed(t, client, p)
		var mu sync.Mutex
		var handled []string
		p.set(func(w http.ResponseWriter, _ *http.Request, id string) {
			if rand.IntN(10) == 0 {
				http.Error(w, "not now", http.StatusServiceUnavailable)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if !slices.Contains(handled, id) { // as the consumer of at least once does
				handled = append(handled, id)
			}
		})
		var want []string
		for i := range n {
			id := fmt.Sprintf("o-%03d", i)
			want = append(want, id)
			lab.Until(t, 30*time.Second, id+" is taken", func() error {
				status, answer, err := publish(client, fmt.Sprintf(`{"type":"order.created","id":%q,"source":"/shop"}`, id))
				if err == nil && status != http.StatusAccepted {
					err = fmt.Errorf("%d %s", status, answer)
				}
				return err
			})
			if i == n/2 {
				s.Kill()
				s.Start()
				s.WaitReady(20 * time.Second)
			}
		}
		lab.Until(t, 60*time.Second, "all are handled", func() error {
			mu.Lock()
			defer mu.Unlock()
			if len(handled) < n {
				return fmt.Errorf("%d", len(handled))
			}
			return nil
		})
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(handled, want) {
			t.Errorf("handled %v", handled)
		}
	})
}
