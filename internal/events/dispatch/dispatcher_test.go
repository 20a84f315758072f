package dispatch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/events/outbox"
	"meshlite.dev/internal/events/outbox/queues"
	"meshlite.dev/internal/httpcall"
	"meshlite.dev/internal/policy/v1alpha1"
)

// handler stands for services behind the proxy.
type handler struct {
	mu     sync.Mutex
	calls  []call
	busy   int
	most   int
	answer func(c call) reply
}

type call struct {
	at      time.Time
	url     string
	header  http.Header
	body    string
	event   string // its id
	attempt string
}

func (h *handler) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	c := call{at: time.Now(), url: r.URL.String(), header: r.Header, body: string(body), attempt: r.Header.Get(dispatch.HeaderAttempt)}
	var e struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(body, &e)
	c.event = e.ID
	h.mu.Lock()
	h.calls = append(h.calls, c)
	h.busy++
	h.most = max(h.most, h.busy)
	answer := h.answer
	h.mu.Unlock()
	defer func() { h.mu.Lock(); h.busy--; h.mu.Unlock() }()
	done := make(chan reply, 1)
	go func() { done <- answer(c) }()
	select {
	case a := <-done:
		if a.err != nil {
			return nil, a.err
		}
		return &http.Response{StatusCode: a.code, Header: a.header, Body: io.NopCloser(strings.NewReader(a.body))}, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func (h *handler) seen() []call {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

func (h *handler) set(answer func(call) reply) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = answer
}

// reply is what a handler answers.
type reply struct {
	code   int
	body   string
	header http.Header
	err    error
}

func status(code int, body string, header ...string) func(call) reply {
	a := reply{code: code, body: body, header: http.Header{}}
	for i := 0; i+1 < len(header); i += 2 {
		a.header.Set(header[i], header[i+1])
	}
	return func(call) reply { return a }
}

func fails(err error) func(call) reply { return func(call) reply { return reply{err: err} } }

// pass lets time go by.
func pass(d time.Duration) { <-time.After(d) }

// rig is a dispatcher over a log, with one subscription "shop/orders" to order.*.
type rig struct {
	*dispatch.Dispatcher
	*handler
	log     *outbox.Outbox
	backend *queues.Backend
	sub     dispatch.Subscription
	source  atomic.Pointer[string]
	stop    func()
}

func newRig(t *testing.T, path string, edit func(*v1alpha1.EventSubscriptionSpec)) *rig {
	t.Helper()
	log, err := outbox.Open(path, outbox.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{handler: &handler{answer: status(204, "")}, log: log, backend: queues.New(log)}
	r.source.Store(new("/mesh/test/xds-server"))
	spec := v1alpha1.EventSubscriptionSpec{Bindings: []v1alpha1.Binding{"order.*"}, Handler: v1alpha1.EventHandler{Service: "orders", Path: "/events"}}
	if edit != nil {
		edit(&spec)
	}
	r.sub = dispatch.Of("shop", "orders", &spec)
	client := httpcall.Through(nil, 0)
	client.Transport = r.handler
	r.Dispatcher = dispatch.New(dispatch.Config{
		Backend: r.backend, Client: client, Source: func() string { return *r.source.Load() },
	})
	ctx, cancel := contextOf(t)
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	r.Use([]dispatch.Subscription{r.sub})
	r.Pause(nil)
	synctest.Wait()
	return r
}

func (r *rig) publish(t *testing.T, typ string, ids ...string) {
	t.Helper()
	_, err := r.log.Append(func(uint64) (out []events.Event) {
		for _, id := range ids {
			out = append(out, events.Event{ID: id, Source: "/shop", Type: typ, Subject: "eu/1", Time: time.Unix(1, 0), Data: json.RawMessage(`{"n":1}`)})
		}
		return out
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

// letters are the dead ones by id: their reasons.
func (r *rig) letters(t *testing.T) map[string]string {
	t.Helper()
	list, total, err := r.backend.Dead(t.Context(), r.sub, 100)
	if err != nil || int(total) != len(list) {
		t.Fatalf("%d dead letters of %d: %v", len(list), total, err)
	}
	out := map[string]string{}
	for _, l := range list {
		out[l.ID] = l.Reason
	}
	return out
}

func (r *rig) one(t *testing.T) dispatch.Status {
	t.Helper()
	all := r.Status(t.Context())
	if len(all) != 1 {
		t.Fatalf("%d subscriptions", len(all))
	}
	return all[0]
}

func of(calls []call) (ids []string) {
	for _, c := range calls {
		ids = append(ids, c.event)
	}
	return ids
}

func bubble(t *testing.T, test func(t *testing.T, path string)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "outbox.db")
	synctest.Test(t, func(t *testing.T) { test(t, path) })
}

func TestDeliversWhatIsBound(t *testing.T) {
	bubble(t, func(t *testing.T, path string) {
		r := newRig(t, path, nil)
		r.publish(t, "order.created", "a")
		r.publish(t, "stock.changed", "b")
		r.publish(t, "order.paid", "c")
		pass(time.Second)
		calls := r.seen()
		if got := of(calls); !slices.Equal(got, []string{"a", "c"}) {
			t.Fatalf("called with %v", got)
		}
		c := calls[0]
		if c.url != "http://orders/events" || c.attempt != "1" || c.header.Get(dispatch.HeaderSubscription) != "shop/orders" ||
			c.header.Get("Content-Type") != events.ContentType || len(c.header.Get(dispatch.HeaderKey)) != 32 {
			t.Errorf("%s, %v", c.url, c.header)
		}
		if s := r.one(t); s.State != dispatch.Delivering || s.Delivered != 2 || !s.Counted || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		answer   func(call) reply
		attempts int
		dead     string // "" is none
		least    time.Duration
	}{
		"2xx":                {status(202, "thanks"), 1, "", 0},
		"its own status":     {status(200, `{"status":"ok"}`), 1, "", 0},
		"500":                {status(500, "no database"), 6, "attempt 6 of 6: 500 Internal Server Error: no database", 7500 * time.Millisecond},
		"404":                {status(404, ""), 6, "attempt 6 of 6: 404 Not Found", 7500 * time.Millisecond},
		"redirect":           {status(302, "", "Location", "http://elsewhere"), 6, "attempt 6 of 6: 302 Found", 7500 * time.Millisecond},
		"RETRY":              {status(200, `{"status":"RETRY"}`), 6, "attempt 6 of 6: the handler answered RETRY", 7500 * time.Millisecond},
		"DROP":               {status(200, `{"status":"DROP"}`), 1, "the handler answered DROP", 0},
		"410":                {status(410, "never"), 1, "410 Gone: never", 0},
		"503 with a time":    {status(503, "", "Retry-After", "30"), 6, "attempt 6 of 6: 503 Service Unavailable", 150 * time.Second},
		"a year to wait":     {status(429, "", "Retry-After", "31536000"), 6, "attempt 6 of 6: 429 Too Many Requests", 50 * time.Minute},
		"hangs":              {func(call) reply { pass(time.Minute); return reply{code: 200} }, 6, "attempt 6 of 6: no answer within 5s", 30 * time.Second},
		"resets connections": {fails(errors.New("reset")), 6, `attempt 6 of 6: Post "http://orders/events": reset`, 7500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, path string) {
				r := newRig(t, path, nil)
				r.set(test.answer)
				r.publish(t, "order.created", "a")
				pass(2 * time.Hour)
				calls := r.seen()
				if len(calls) != test.attempts || calls[len(calls)-1].attempt != fmt.Sprint(test.attempts) {
					t.Fatalf("%d attempts: %v", len(calls), calls)
				}
				if took := calls[len(calls)-1].at.Sub(calls[0].at); took < test.least || took > 4*test.least {
					t.Errorf("the last attempt came after %s", took)
				}
				want := map[string]string{}
				if test.dead != "" {
					want["a"] = test.dead
				}
				if got := r.letters(t); !maps.Equal(got, want) {
					t.Errorf("dead letters %v", got)
				}
				if s := r.one(t); s.Waiting != 0 || s.Dead != uint64(len(want)) {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func TestADeadLetterIsToldAndRequeued(t *testing.T) {
	bubble(t, func(t *testing.T, path string) {
		r := newRig(t, path, func(s *v1alpha1.EventSubscriptionSpec) { s.Bindings = append(s.Bindings, "mesh.#") })
		r.set(status(410, "no"))
		r.publish(t, "order.created", "a")
		pass(time.Minute)
		page, err := r.log.Read(0, 10)
		if err != nil || len(page) != 2 { // the second is given up too, and nothing told of it
			t.Fatalf("%d events: %v", len(page), err)
		}
		e, err := events.Parse(events.Input{Body: page[1].JSON})
		if err != nil {
			t.Fatal(err)
		}
		var data events.Delivery
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatal(err)
		}
		want := events.Delivery{Subscription: "shop/orders", Service: "orders", Queue: "shop.orders.dlq", ID: "a", Source: "/shop", Type: "order.created", Subject: "eu/1", Attempts: 1, Reason: "410 Gone: no"}
		if e.Type != events.DeliveryDeadLettered || e.Subject != "subscription/shop/orders" || data != want {
			t.Errorf("%s of %s: %+v", e.Type, e.Subject, data)
		}
		if n := len(r.letters(t)); n != 2 {
			t.Errorf("%d dead letters", n)
		}
		r.set(status(200, ""))
		if n, err := r.backend.Requeue(t.Context(), r.sub, []string{"a"}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		pass(time.Second)
		if calls := r.seen(); calls[len(calls)-1].event != "a" || calls[len(calls)-1].attempt != "1" || len(r.letters(t)) != 1 {
			t.Errorf("%v, dead %v", calls[len(calls)-1], r.letters(t))
		}
		if n, err := r.backend.Purge(t.Context(), r.sub, nil); n != 1 || err != nil || len(r.letters(t)) != 0 {
			t.Error(n, err)
		}
	})
}

// What is given up is told of by the mesh: while its name is not known nothing is
// delivered, and nothing is lost.
func TestNothingIsDeliveredByNobody(t *testing.T) {
	bubble(t, func(t *testing.T, path string) {
		r := newRig(t, path, nil)
		r.source.Store(new(""))
		r.Pause(map[string]bool{"shop/orders": true})
		synctest.Wait()
		r.Pause(nil) // it begins anew
		r.set(status(410, "no"))
		r.publish(t, "order.created", "a")
		pass(time.Minute)
		if s := r.one(t); s.State != dispatch.Interrupted || len(r.seen()) != 0 || len(r.letters(t)) != 0 {
			t.Errorf("%+v", s)
		}
		r.source.Store(new("/mesh/test/xds-server"))
		pass(time.Minute)
		if s := r.one(t); s.State != dispatch.Delivering || len(r.seen()) != 1 || len(r.letters(t)) != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestOnePoisonedDoesNotHoldUpTheOthers(t *testing.T) {
	bubble(t, func(t *testing.T, path string) {
		r := newRig(t, path, nil)
		r.set(func(c call) reply {
			if c.event == "bad" {
				return status(500, "")(c)
			}
			return status(200, "")(c)
		})
		ids := []string{"bad"}
		for i := range 1000 {
			ids = append(ids, fmt.Sprint(i))
		}
		r.publish(t, "order.created", ids...)
		pass(5 * time.Second)
		if s := r.one(t); s.Delivered != 1000 {
			t.Errorf("%+v", s)
		}
		pass(time.Hour)
		if got := r.letters(t); len(got) != 1 || got["bad"] == "" || r.one(t).Retried != 6 {
			t.Errorf("%v, %+v", got, r.one(t))
		}
	})
}

func TestConcurrency(t *testing.T) {
	bubble(t, func(t *testing.T, path string) {
		r := newRig(t, path, nil)
		r.set(func(c call) reply { pass(100 * time.Millisecond); return status(200, "")(c) })
		var ids []string
		for i := range 80 {
			ids = append(ids, fmt.Sprint(i))
		}
		r.publish(t, "order.created", ids...)
		pass(2 * time.Second)
		if n, most := len(r.seen()), r.most; n != 80 || most != 8 {
			t.Errorf("%d calls, %d at once", n, most)
		}
	})
}

func TestOrderedWaitsForTheFirst(t *testing.T) {
	bubble(t, func(t *testing.T, path string) {
		r := newRig(t, path, func(s *v1alpha1.EventSubscriptionSpec) { s.Ordered = new(true) })
		failing := 3
		r.set(func(c call) reply {
			if c.event == "b" && failing > 0 {
				failing--
				return status(500, "")(c)
			}
			return status(200, "")(c)
		})
		r.publish(t, "order.created", "a", "b", "c", "d")
		pass(time.Minute)
		if got := of(r.seen()); !slices.Equal(got, []string{"a", "b", "b", "b", "b", "c", "d"}) || r.most != 1 {
			t.Errorf("%v, %d at once", got, r.most)
		}
	})
}

func TestAwayProxyIsNoAttempt(t *testing.T) {
	bubble(t, func(t *testing.T, path string) {
		r := newRig(t, path, nil)
		r.set(fails(&net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}))
		r.publish(t, "order.created", "a")
		pass(time.Hour)
		if s := r.one(t); s.State != dispatch.Interrupted || !strings.Contains(s.Problem, "--app-proxy") || s.Dead != 0 || s.Waiting != 1 {
			t.Errorf("%+v", s)
		}
		r.set(status(200, ""))
		pass(longest)
		calls := r.seen()
		if s := r.one(t); s.State != dispatch.Delivering || s.Delivered != 1 || calls[len(calls)-1].attempt != "1" {
			t.Errorf("%+v", s)
		}
	})
}

// longest is the longest pause of the dispatcher.
const longest = 30 * time.Second

func TestFilter(t *testing.T) {
	bubble(t, func(t *testing.T, path string) {
		r := newRig(t, path, func(s *v1alpha1.EventSubscriptionSpec) { s.Filter = `event.data.n == 1 && event.id != "b"` })
		r.publish(t, "order.created", "a", "b", "c")
		if _, err := r.log.Append(func(uint64) []events.Event {
			return []events.Event{{ID: "bare", Source: "/shop", Type: "order.created", Time: time.Unix(1, 0)}}
		}, nil); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		got := of(r.seen())
		slices.Sort(got)
		if s := r.one(t); !slices.Equal(got, []string{"a", "c"}) || s.Skipped != 2 || !strings.Contains(s.Unanswered, `"bare"`) || s.Waiting != 0 {
			t.Errorf("%v, %+v", got, s)
		}
	})
}

func TestPauseKeepsEvents(t *testing.T) {
	bubble(t, func(t *testing.T, path string) {
		r := newRig(t, path, nil)
		r.Pause(map[string]bool{"shop/orders": true})
		pass(time.Second)
		r.publish(t, "order.created", "a", "b")
		pass(time.Hour)
		if s := r.one(t); s.State != dispatch.Paused || s.Waiting != 2 || len(r.seen()) != 0 {
			t.Errorf("%+v", s)
		}
		r.Pause(nil)
		pass(time.Second)
		if s := r.one(t); s.State != dispatch.Delivering || len(r.seen()) != 2 {
			t.Errorf("%+v", s)
		}
	})
}

func TestAQueueHasOneSubscription(t *testing.T) {
	bubble(t, func(t *testing.T, path string) {
		r := newRig(t, path, nil)
		other := r.sub
		other.Name, other.Service = "zebra", "zebra"
		r.Use([]dispatch.Subscription{other, r.sub})
		r.publish(t, "order.created", "a")
		pass(time.Second)
		all := r.Status(t.Context())
		if len(all) != 2 || all[0].State != dispatch.Delivering || all[1].State != dispatch.Conflicting || !strings.Contains(all[1].Problem, "shop/orders") {
			t.Errorf("%+v", all)
		}
		if calls := r.seen(); len(calls) != 1 || calls[0].url != "http://orders/events" {
			t.Errorf("%v", calls)
		}
	})
}

// Calls under way may end when the server stops; what did not end comes again.
func TestRestart(t *testing.T) {
	bubble(t, func(t *testing.T, path string) {
		r := newRig(t, path, nil)
		r.set(func(c call) reply {
			switch c.event {
			case "slow":
				pass(2 * time.Second)
			case "hanging":
				pass(time.Hour)
			case "failing":
				return status(500, "")(c)
			}
			return status(200, "")(c)
		})
		r.publish(t, "order.created", "first", "slow", "failing", "hanging", "last")
		pass(100 * time.Millisecond)
		r.stop()
		again := newRig(t, path, nil)
		again.publish(t, "order.created", "new")
		pass(2 * time.Hour)
		got := map[string]string{}
		for _, c := range again.seen() {
			got[c.event] = c.attempt
		}
		if want := map[string]string{"failing": "2", "hanging": "1", "new": "1"}; !maps.Equal(got, want) {
			t.Errorf("after the restart %v", got)
		}
		if s := again.one(t); s.Waiting != 0 || s.Dead != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(context.WithoutCancel(t.Context()))
}
