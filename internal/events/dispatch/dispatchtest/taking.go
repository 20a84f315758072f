package dispatchtest

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"time"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/dispatch"
)

func inOrder(b *bench) {
	q := b.open()
	b.publish("a")
	d := b.take(q)
	want := b.event("a")
	got := d.Event
	if got.ID != want.ID || got.Source != want.Source || got.Type != want.Type || got.Subject != want.Subject || !got.Time.Equal(want.Time) ||
		string(got.Data) != string(want.Data) || !maps.Equal(got.Extensions, want.Extensions) || d.Attempt != 1 || d.Fault != "" || !json.Valid(d.Body) {
		b.Fatalf("came %+v, attempt %d, fault %q, body %q", got, d.Attempt, d.Fault, d.Body)
	}
	b.ok(d.Settle.Done(b.Context()))
	b.publish(numbers(100)...)
	b.want(q, 1, numbers(100)...)
	b.none(q)
	if !b.known() {
		b.Error("an open subscription is not known")
	}
}

func notBefore(b *bench) {
	b.publish("before")
	q := b.open()
	b.publish("after")
	b.want(q, 1, "after")
	b.none(q)
}

func cutWait(b *bench) {
	q := b.open()
	b.none(q)
	b.publish(numbers(20)...)
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	got := map[string]bool{}
	for range 20 { // a context that has ended may still give what is there
		if d, err := q.Next(ctx); err == nil {
			got[b.id(d)] = true
			b.ok(d.Settle.Done(b.Context()))
		}
	}
	for len(got) < 20 {
		d := b.take(q)
		if got[b.id(d)] {
			b.Fatalf("%s came twice", b.id(d))
		}
		got[b.id(d)] = true
		b.ok(d.Settle.Done(b.Context()))
	}
	b.none(q)
}

func unsettled(b *bench) {
	q := b.open()
	b.publish("a", "b", "c")
	b.want(q, 1, "a")
	b.take(q)
	b.take(q)
	q.Close()
	q = b.open()
	var got []string
	for range 2 {
		d := b.take(q)
		got = append(got, b.id(d))
		b.ok(d.Settle.Done(b.Context()))
	}
	if !same(got, []string{"b", "c"}) {
		b.Fatalf("came %q, want b and c", got)
	}
	b.none(q)
}

func settled(b *bench) {
	q := b.open()
	b.publish("a", "b")
	b.want(q, 1, "a")
	q.Close()
	b.restart()
	if !b.known() {
		b.Error("what an earlier process opened is not known")
	}
	b.publish("c") // nobody takes, the queue is there
	q = b.open()
	b.want(q, 1, "b", "c")
	b.none(q)
}

func atOnce(b *bench) {
	q := b.open()
	b.publish(numbers(200)...)
	var all sync.WaitGroup
	for range 200 {
		d := b.take(q)
		all.Go(func() {
			if err := d.Settle.Done(b.Context()); err != nil {
				b.Error(err)
			}
		})
	}
	all.Wait()
	b.wantDepth(q, 0, 0)
	q.Close()
	b.restart()
	b.none(b.open())
}

// came checks when an event came that was to come after a while.
func (b *bench) came(began time.Time, after time.Duration) {
	b.Helper()
	if took := time.Since(began); took < after-10*time.Millisecond || took > after+after/5+2*time.Second {
		b.Errorf("came after %s, want %s or a fifth more", took, after)
	}
}

func shortRetry(b *bench) {
	q := b.open()
	b.publish("a", "b", "c")
	began := time.Now()
	b.ok(b.take(q).Settle.Retry(b.Context(), time.Second))
	b.want(q, 1, "b", "c")
	if took := time.Since(began); took > time.Second {
		b.Errorf("others waited %s", took)
	}
	d := b.take(q)
	b.came(began, time.Second)
	if b.id(d) != "a" || d.Attempt != 2 {
		b.Fatalf("came %q, attempt %d", b.id(d), d.Attempt)
	}
	b.ok(d.Settle.Retry(b.Context(), 0))
	b.want(q, 3, "a")
	b.none(q)
	b.wantDepth(q, 0, 0)
}

func longRetry(b *bench) {
	const after = 6 * time.Second
	q := b.open()
	b.publish("a", "b")
	began := time.Now()
	b.ok(b.take(q).Settle.Retry(b.Context(), after))
	b.want(q, 1, "b")
	b.none(q)
	b.wantDepth(q, 1, 0)
	q.Close()
	b.restart()
	q = b.open()
	b.wantDepth(q, 1, 0)
	d := b.take(q)
	b.came(began, after)
	if b.id(d) != "a" || d.Attempt != 2 || string(d.Event.Data) != `{"order":"a"}` {
		b.Fatalf("came %q %s, attempt %d", b.id(d), d.Event.Data, d.Attempt)
	}
	b.ok(d.Settle.Done(b.Context()))
	b.none(q)
}

func rebind(b *bench) {
	shipped := func(id string) events.Event {
		e := b.event(id)
		e.Type = b.word + ".shipped"
		return e
	}
	q := b.open()
	b.publish("1")
	b.Publish(shipped("2"))
	b.want(q, 1, "1")
	b.none(q)
	q.Close()
	b.Subscription.Bindings = b.word + ".shipped " + b.word + ".returned.#"
	q = b.open()
	b.known()
	b.publish("3")
	b.Publish(shipped("4"))
	b.want(q, 1, "4")
	b.none(q)
	q.Close()
	b.restart()
	b.Subscription.Bindings = b.word + ".#"
	q = b.open()
	b.publish("5")
	b.Publish(shipped("6"))
	b.want(q, 1, "5", "6")
	b.none(q)
}

func twoQueues(b *bench) {
	other := b.Subscription
	other.Name += "-2"
	other.Queue += "-2"
	other.DeadLetter += "-2"
	var both [2]dispatch.Queue
	both[0], both[1] = b.open(), b.openAs(other)
	b.publish("a", "b")
	b.kill(both[0], "no")
	b.want(both[1], 1, "a", "b")
	b.want(both[0], 1, "b")
	b.wantDepth(both[0], 0, 1)
	b.wantDepth(both[1], 0, 0)
}
