package dispatchtest

import (
	"encoding/json"
	"slices"
	"time"

	"meshlite.dev/internal/events"
)

func deadLetters(b *bench) {
	q := b.open()
	b.wantDead()
	b.publish("a", "b", "c", "d")
	told := b.event("told")
	told.Type = events.DeliveryDeadLettered
	d := b.take(q)
	b.ok(d.Settle.Retry(b.Context(), 0))
	for range 4 { // the others may come first
		if d = b.take(q); d.Attempt == 2 {
			b.ok(d.Settle.Dead(b.Context(), 3, "503 Service Unavailable", &told))
			break
		}
		b.ok(d.Settle.Done(b.Context()))
	}
	before := len(b.Told())
	if before != 1 || b.Told()[0].ID != told.ID {
		b.Fatalf("told %+v", b.Told())
	}
	b.publish("e")
	b.kill(q, "the handler answered DROP")
	if len(b.Told()) != before {
		b.Error("told of what nothing is to be told")
	}
	list, total, err := b.Backend.Dead(b.Context(), b.Subscription, 1)
	b.ok(err)
	if len(list) != 1 || total != 2 {
		b.Fatalf("%d of %d dead letters, want 1 of 2", len(list), total)
	}
	got, want := list[0], b.event("a")
	var whole struct{ ID string }
	if err := json.Unmarshal(got.Event, &whole); err != nil || whole.ID != want.ID {
		b.Errorf("the event is %s, %v", got.Event, err)
	}
	if got.ID != want.ID || got.Type != want.Type || got.Source != want.Source || got.Subject != want.Subject || got.Body != nil ||
		got.Reason != "503 Service Unavailable" || got.Attempts != 3 || got.At.Before(time.Now().Add(-time.Minute)) || got.At.After(time.Now().Add(time.Minute)) {
		b.Errorf("dead letter %+v", got)
	}
	first, _ := b.dead(100)
	q.Close()
	b.restart()
	if again, total := b.dead(100); total != 2 || len(again) != 2 || !slices.Equal(again, first) {
		b.Errorf("dead letters %q after a restart, %q before", again, first)
	}
}

// killAll publishes events and gives all of them up.
func (b *bench) killAll(ids ...string) {
	b.Helper()
	q := b.open()
	b.publish(ids...)
	for range ids {
		b.kill(q, "no")
	}
	q.Close()
	b.wantDead(ids...)
}

// some calls Requeue or Purge and checks how many it says.
func (b *bench) some(n int, err error, want int) {
	b.Helper()
	if err != nil || n != want {
		b.Fatalf("%d dead letters, %v; want %d", n, err, want)
	}
}

func requeue(b *bench) {
	b.killAll("a", "b", "c", "d")
	n, err := b.Backend.Requeue(b.Context(), b.Subscription, []string{b.event("x").ID})
	b.some(n, err, 0)
	n, err = b.Backend.Requeue(b.Context(), b.Subscription, []string{b.event("c").ID, b.event("x").ID, b.event("a").ID})
	b.some(n, err, 2)
	b.wantDead("b", "d")
	q := b.open()
	b.want(q, 1, "a", "c")
	b.none(q)
	n, err = b.Backend.Requeue(b.Context(), b.Subscription, nil) // while it is open
	b.some(n, err, 2)
	b.want(q, 1, "b", "d")
	b.none(q)
	b.wantDead()
	n, err = b.Backend.Requeue(b.Context(), b.Subscription, nil)
	b.some(n, err, 0)
	b.wantDepth(q, 0, 0)
}

func purge(b *bench) {
	b.killAll("a", "b", "c", "d")
	n, err := b.Backend.Purge(b.Context(), b.Subscription, []string{b.event("b").ID, b.event("x").ID})
	b.some(n, err, 1)
	b.wantDead("a", "c", "d")
	n, err = b.Backend.Purge(b.Context(), b.Subscription, nil)
	b.some(n, err, 3)
	b.wantDead()
	b.none(b.open())
}

func depth(b *bench) {
	q := b.open()
	b.publish("a", "b", "c", "d")
	b.wantDepth(q, 4, 0)
	d := b.take(q)
	b.wantDepth(q, 4, 0)
	b.ok(d.Settle.Done(b.Context()))
	b.wantDepth(q, 3, 0)
	b.ok(b.take(q).Settle.Retry(b.Context(), time.Minute))
	b.wantDepth(q, 3, 0)
	b.ok(b.take(q).Settle.Retry(b.Context(), time.Second))
	b.wantDepth(q, 3, 0)
	b.kill(q, "no")
	b.wantDepth(q, 2, 1)
}

func dropEmpty(b *bench) {
	q := b.open()
	b.publish("a")
	b.want(q, 1, "a")
	b.wantDepth(q, 0, 0)
	q.Close()
	b.restart()
	b.ok(b.Backend.Drop(b.Context(), b.Subscription))
	if b.known() {
		b.Error("known after it was dropped")
	}
	b.ok(b.Backend.Drop(b.Context(), b.Subscription)) // once more, by another replica
	b.wantDead()
	b.publish("b")
	q = b.open()
	b.publish("c")
	b.want(q, 1, "c")
	b.none(q)
}

func dropFull(b *bench) {
	b.killAll("dead")
	q := b.open()
	b.publish("a", "b")
	b.wantDepth(q, 2, 1)
	q.Close()
	b.ok(b.Backend.Drop(b.Context(), b.Subscription))
	if b.known() {
		b.Error("known after it was dropped")
	}
	b.publish("c")
	b.wantDead("dead")
	q = b.open()
	b.want(q, 1, "a", "b")
	b.none(q)
	b.wantDead("dead")
}
