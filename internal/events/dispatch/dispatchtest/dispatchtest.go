// Package dispatchtest holds the contract of dispatch.Backend: every backend
// passes Run unchanged.
package dispatchtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/dispatch"
)

// Setup is one backend, and how the suite reaches it.
type Setup struct {
	dispatch.Backend
	// Restart ends the backend, whose queues are closed, and returns another one
	// over what it kept: what the next process has.
	Restart func() dispatch.Backend
	// Publish tells events, in order. It returns once they are where queues get
	// them from.
	Publish func(all ...events.Event)
	// Told returns what the backend kept in the log of events with dead letters.
	Told func() []events.Event
}

const (
	soon  = 10 * time.Second       // what is due comes
	quiet = 300 * time.Millisecond // what must not come does not for so long
)

// Run checks the contract. open returns a backend for each test; the names of
// queues and types are another one's in each.
func Run(t *testing.T, open func(t *testing.T) *Setup) {
	for _, tc := range []struct {
		name string
		test func(*bench)
	}{
		{"events come whole, in order, once", inOrder},
		{"what was told before the queue was made does not come", notBefore},
		{"a wait that is cut loses nothing", cutWait},
		{"what was not settled comes again", unsettled},
		{"what was settled stays settled over a restart", settled},
		{"many settle at once", atOnce},
		{"a short retry comes back, and others go on meanwhile", shortRetry},
		{"a long retry comes back, over a restart too", longRetry},
		{"dead letters are told and listed", deadLetters},
		{"dead letters are requeued", requeue},
		{"dead letters are purged", purge},
		{"the depth counts what waits and what is dead", depth},
		{"bindings that were changed hold", rebind},
		{"an empty queue is dropped", dropEmpty},
		{"a dropped queue keeps what waits and gets nothing new", dropFull},
		{"two subscriptions have their own queues", twoQueues},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.test(newBench(t, open(t))) })
	}
}

// bench is one test: a subscription of its own.
type bench struct {
	*testing.T
	*Setup
	dispatch.Subscription
	word string // first of all types
}

var benches atomic.Int64

func newBench(t *testing.T, s *Setup) *bench {
	word := fmt.Sprintf("t%d-%d", time.Now().UnixMilli(), benches.Add(1))
	return &bench{T: t, Setup: s, word: word, Subscription: dispatch.Subscription{
		Namespace: "default", Name: word, Exchange: events.Exchange, Bindings: word + ".order.*", Service: "orders", Path: "/",
		Mode: dispatch.Structured, Queue: "default." + word, QueueType: "quorum", DeadLetter: "default." + word + ".dlq",
		Concurrency: 8, Timeout: time.Second, Attempts: 6, Base: 500 * time.Millisecond, Max: time.Minute,
	}}
}

// open opens the subscription; it is closed with the test at the latest.
func (b *bench) open() dispatch.Queue { return b.openAs(b.Subscription) }

func (b *bench) openAs(s dispatch.Subscription) dispatch.Queue {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), soon)
	defer cancel()
	q, err := b.Backend.Open(ctx, s)
	if err != nil {
		b.Fatalf("Open: %v", err)
	}
	once := &closing{Queue: q}
	b.Cleanup(once.Close)
	return once
}

// closing is closed once.
type closing struct {
	dispatch.Queue
	closed bool
}

func (c *closing) Close() {
	if !c.closed {
		c.closed = true
		c.Queue.Close()
	}
}

func (b *bench) restart() { b.Backend = b.Restart() }

// event is one of type WORD.order.created, its id as told.
func (b *bench) event(id string) events.Event {
	return events.Event{
		ID: b.word + "-" + id, Source: "/shop", Type: b.word + ".order.created", Subject: "eu/" + id, Time: time.Unix(1_800_000_000, 0),
		Data: []byte(`{"order":"` + id + `"}`), Extensions: map[string]any{"correlationid": "c-" + id},
	}
}

func (b *bench) publish(ids ...string) {
	b.Helper()
	all := make([]events.Event, len(ids))
	for i, id := range ids {
		all[i] = b.event(id)
	}
	b.Publish(all...)
}

// id is what event was told to be.
func (b *bench) id(d dispatch.Delivery) string { return strings.TrimPrefix(d.Event.ID, b.word+"-") }

// take returns what comes next, which must be soon.
func (b *bench) take(q dispatch.Queue) dispatch.Delivery {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), soon)
	defer cancel()
	d, err := q.Next(ctx)
	if err != nil {
		b.Fatalf("Next: %v", err)
	}
	return d
}

// want takes events and checks which, and which attempt; it settles them.
func (b *bench) want(q dispatch.Queue, attempt int, ids ...string) {
	b.Helper()
	for _, id := range ids {
		d := b.take(q)
		if b.id(d) != id || d.Attempt != attempt || d.Fault != "" {
			b.Fatalf("came %q, attempt %d, fault %q; want %q, attempt %d", b.id(d), d.Attempt, d.Fault, id, attempt)
		}
		b.ok(d.Settle.Done(b.Context()))
	}
}

// none checks that nothing comes.
func (b *bench) none(q dispatch.Queue) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), quiet)
	defer cancel()
	if d, err := q.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		b.Fatalf("came %q, %v; want nothing", b.id(d), err)
	}
}

func (b *bench) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// kill takes the next event and gives it up.
func (b *bench) kill(q dispatch.Queue, reason string) {
	b.Helper()
	b.ok(b.take(q).Settle.Dead(b.Context(), 1, reason, nil))
}

// dead lists dead letters.
func (b *bench) dead(most int) (ids []string, total uint64) {
	b.Helper()
	list, total, err := b.Backend.Dead(b.Context(), b.Subscription, most)
	b.ok(err)
	for _, d := range list {
		ids = append(ids, strings.TrimPrefix(d.ID, b.word+"-"))
	}
	return ids, total
}

func (b *bench) wantDead(ids ...string) {
	b.Helper()
	if got, total := b.dead(100); !slices.Equal(got, ids) || total != uint64(len(ids)) {
		b.Fatalf("dead letters %q of %d, want %q", got, total, ids)
	}
}

// wantDepth waits until the queue counts so much.
func (b *bench) wantDepth(q dispatch.Queue, waiting, dead uint64) {
	b.Helper()
	limit, tick := time.After(soon), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		d, err := q.Depth(b.Context())
		if err == nil && d.Waiting == waiting && d.Dead == dead {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			b.Fatalf("depth %+v, %v; want %d waiting, %d dead", d, err, waiting, dead)
		}
	}
}

// known reports whether the backend knows the subscription, and that it is as it
// was opened last.
func (b *bench) known() bool {
	b.Helper()
	all, err := b.Backend.Known(b.Context())
	b.ok(err)
	i := slices.IndexFunc(all, func(s dispatch.Subscription) bool { return s.Queue == b.Queue })
	if i >= 0 && all[i] != b.Subscription {
		b.Fatalf("known as %+v, opened as %+v", all[i], b.Subscription)
	}
	return i >= 0
}

// same reports whether two lists have the same, in any order.
func same(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func numbers(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(i)
	}
	return out
}
