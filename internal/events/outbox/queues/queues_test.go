package queues_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/events/outbox"
	"meshlite.dev/internal/events/outbox/queues"
)

// place is an outbox that may be closed and opened again.
type place struct {
	t      *testing.T
	path   string
	limits outbox.Limits
	log    *outbox.Outbox
	*queues.Backend
}

func newPlace(t *testing.T, limits outbox.Limits) *place {
	t.Helper()
	p := &place{t: t, path: filepath.Join(t.TempDir(), "outbox.db"), limits: limits}
	p.open()
	t.Cleanup(func() { _ = p.log.Close() })
	return p
}

func (p *place) open() {
	p.t.Helper()
	var err error
	if p.log, err = outbox.Open(p.path, p.limits); err != nil {
		p.t.Fatal(err)
	}
	p.Backend = queues.New(p.log)
}

func (p *place) restart() {
	p.t.Helper()
	if err := p.log.Close(); err != nil {
		p.t.Fatal(err)
	}
	p.open()
}

func (p *place) publish(typ string, ids ...string) {
	p.t.Helper()
	_, err := p.log.Append(func(uint64) (out []events.Event) {
		for _, id := range ids {
			out = append(out, events.Event{ID: id, Source: "/t", Type: typ, Time: time.Unix(1, 0)})
		}
		return out
	}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) queue(s dispatch.Subscription) dispatch.Queue {
	p.t.Helper()
	q, err := p.Open(p.t.Context(), s)
	if err != nil {
		p.t.Fatal(err)
	}
	return q
}

// next takes one, which must come at once.
func (p *place) next(q dispatch.Queue) dispatch.Delivery {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 5*time.Second)
	defer cancel()
	d, err := q.Next(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	return d
}

// none fails where something waits.
func (p *place) none(q dispatch.Queue) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(p.t.Context())
	cancel()
	if d, err := q.Next(ctx); err == nil {
		p.t.Fatalf("%s came", d.Event.ID)
	}
}

func (p *place) depth(q dispatch.Queue) dispatch.Depth {
	p.t.Helper()
	d, err := q.Depth(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return d
}

func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func orders() dispatch.Subscription {
	return dispatch.Subscription{Namespace: "shop", Name: "orders", Exchange: events.Exchange, Bindings: "order.*", Queue: "orders", DeadLetter: "orders.dlq", Concurrency: 4}
}

// The order in which events are settled is not that of the log, and a restart
// brings back those that were not, and no other.
func TestRestartBringsBackWhatWasNotSettled(t *testing.T) {
	p := newPlace(t, outbox.DefaultLimits())
	q := p.queue(orders())
	p.publish("other.type", "x")
	p.publish("order.created", "a", "b", "c", "d", "e")
	p.publish("other.type", "y")
	var all []dispatch.Delivery
	for range 4 {
		all = append(all, p.next(q))
	}
	for _, i := range []int{3, 1} {
		p.must(all[i].Settle.Done(t.Context()))
	}
	if d := p.depth(q); d.Waiting != 3 {
		t.Errorf("%+v", d)
	}
	p.restart()
	q = p.queue(orders())
	for _, want := range []string{"a", "c", "e"} {
		d := p.next(q)
		if d.Event.ID != want || d.Attempt != 1 {
			t.Fatalf("%s came, attempt %d, not %s", d.Event.ID, d.Attempt, want)
		}
		p.must(d.Settle.Done(t.Context()))
	}
	p.none(q)
	q.Close()
	p.restart()
	q = p.queue(orders())
	p.none(q)
	if d := p.depth(q); d != (dispatch.Depth{}) {
		t.Errorf("%+v", d)
	}
}

func TestALogThatIsTooShortIsSaid(t *testing.T) {
	p := newPlace(t, outbox.Limits{Events: 10, Bytes: 1 << 20})
	q := p.queue(orders())
	var ids []string
	for i := range 25 {
		ids = append(ids, fmt.Sprint(i))
	}
	p.publish("order.created", ids...)
	if d := p.next(q); d.Event.ID != "15" {
		t.Errorf("%s came", d.Event.ID)
	} else {
		p.must(d.Settle.Done(t.Context()))
	}
	for range 2 {
		if d := p.depth(q); d.Missed != 15 || d.Waiting != 9 {
			t.Errorf("%+v", d)
		}
		q.Close()
		p.restart()
		q = p.queue(orders())
	}
}

// What is tried again, or was given up, does not go with the log.
func TestRetriesAndDeadLettersOutliveTheLog(t *testing.T) {
	p := newPlace(t, outbox.Limits{Events: 5, Bytes: 1 << 20})
	q := p.queue(orders())
	p.publish("order.created", "again", "dead")
	first, second := p.next(q), p.next(q)
	p.must(first.Settle.Retry(t.Context(), 0))
	p.must(second.Settle.Dead(t.Context(), 1, "why", nil))
	for range 20 {
		p.publish("other.type", "x")
	}
	p.restart()
	q = p.queue(orders())
	if n, err := p.Requeue(t.Context(), orders(), []string{"dead", "nobody"}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	attempts := map[string]int{}
	for range 2 {
		d := p.next(q)
		attempts[d.Event.ID] = d.Attempt
		p.must(d.Settle.Done(t.Context()))
	}
	if attempts["again"] != 2 || attempts["dead"] != 1 || p.depth(q).Waiting != 0 {
		t.Errorf("%v, %+v", attempts, p.depth(q))
	}
}

// A subscription that comes back gets what waited when it went, and nothing of the
// time between.
func TestADroppedQueueKeepsWhatWaits(t *testing.T) {
	p := newPlace(t, outbox.DefaultLimits())
	q := p.queue(orders())
	p.publish("order.created", "a", "b")
	p.must(p.next(q).Settle.Done(t.Context()))
	q.Close()
	p.must(p.Drop(t.Context(), orders()))
	if all, err := p.Known(t.Context()); len(all) != 0 || err != nil {
		t.Errorf("%v, %v", all, err)
	}
	p.publish("order.created", "between")
	p.restart()
	q = p.queue(orders())
	p.publish("order.created", "after")
	for _, want := range []string{"b", "after"} {
		d := p.next(q)
		if d.Event.ID != want {
			t.Fatalf("%s came, not %s", d.Event.ID, want)
		}
		p.must(d.Settle.Done(t.Context()))
		if want == "b" {
			q.Close()
			p.restart() // on the way
			q = p.queue(orders())
		}
	}
	p.none(q)
	if d := p.depth(q); d.Waiting != 0 || d.Missed != 0 {
		t.Errorf("%+v", d)
	}
}

func TestAnEmptyQueueGoes(t *testing.T) {
	p := newPlace(t, outbox.DefaultLimits())
	q := p.queue(orders())
	p.publish("other.type", "x")
	p.none(q)
	q.Close()
	p.must(p.Drop(t.Context(), orders()))
	if _, err := q.Depth(t.Context()); err == nil {
		t.Error("it is still there")
	}
}

func TestKnownIsWhatWasOpened(t *testing.T) {
	p := newPlace(t, outbox.DefaultLimits())
	edited := orders()
	p.queue(orders()).Close()
	edited.Bindings = "order.created order.paid"
	p.queue(edited).Close()
	p.restart()
	if all, err := p.Known(t.Context()); !slices.Equal(all, []dispatch.Subscription{edited}) || err != nil {
		t.Errorf("%v, %v", all, err)
	}
	other := orders()
	other.Exchange = "invoices"
	if _, err := p.Open(t.Context(), other); err == nil {
		t.Error("an exchange without a broker was opened")
	}
}

func TestMemoryOutlivesARestart(t *testing.T) {
	p := newPlace(t, outbox.DefaultLimits())
	m := queues.Memory{Log: p.log}
	edited, other := orders(), orders()
	edited.Bindings, other.Queue = "order.created", "other"
	p.must(m.Remember(orders()))
	p.must(m.Remember(edited))
	p.must(m.Remember(other))
	p.must(m.Forget("other"))
	p.must(m.Forget("nobody's"))
	p.restart()
	if all, err := (queues.Memory{Log: p.log}).Known(); !slices.Equal(all, []dispatch.Subscription{edited}) || err != nil {
		t.Errorf("%v, %v", all, err)
	}
}

// A clock that is put back holds nothing up for longer than a pause may last.
func TestAClockThatIsPutBack(t *testing.T) {
	p := newPlace(t, outbox.DefaultLimits())
	q := p.queue(orders())
	p.publish("order.created", "a")
	p.must(p.next(q).Settle.Retry(t.Context(), dispatch.MaxRetryAfter-time.Minute))
	p.none(q)
	p.publish("order.created", "b")
	p.must(p.next(q).Settle.Done(t.Context()))
	other := orders()
	other.Queue = "put-back"
	q = p.queue(other)
	p.publish("order.created", "c")
	p.must(p.next(q).Settle.Retry(t.Context(), dispatch.MaxRetryAfter+time.Hour)) // an hour before, as it were
	if d := p.next(q); d.Event.ID != "c" || d.Attempt != 2 {
		t.Errorf("%s came, attempt %d", d.Event.ID, d.Attempt)
	}
}
