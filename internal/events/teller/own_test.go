package teller_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/facts"
	"meshlite.dev/internal/events/teller"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/store/mem"
)

// history makes the rollouts first to last, all committed.
func history(first, last uint64) teller.Rollouts {
	r := teller.Rollouts{Known: true, Oldest: first, Newest: last}
	for n := last; n >= first; n-- {
		r.Items = append(r.Items, facts.Change{
			ID: fmt.Sprint("r", n), State: "COMMITTED", Revision: n, Started: time.Unix(int64(n), 0), Decided: time.Unix(int64(n), 500),
			Detail: func() events.Rollout { return events.Rollout{SkipVote: true, By: "ada"} },
		})
	}
	return r
}

// ids are those of the events of types under a prefix, each with its subject.
func (b *box) ids(prefix string) map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[string]string{}
	for _, e := range b.log {
		if strings.HasPrefix(e.Type, prefix) {
			out[e.ID] = e.Type + " " + e.Subject
		}
	}
	return out
}

func TestRolloutsAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, a, b := mem.New(), &world{}, newBox("A"), newBox("B")
		w.services()
		_, stop := run(t, a, s, w, "r1")
		pass(3 * time.Second)
		expect(t, a, gapFirst, gapProxies) // the history has not been read
		w.change(func(w *world) { w.Rollouts = history(1, 2) })
		pass(3 * time.Second)
		want := []string{"rollout.started rollout/r1", "rollout.committed rollout/r1", "rollout.started rollout/r2", "rollout.committed rollout/r2"}
		first := a.ids("mesh.rollout.")
		if at := a.log[1].Time; !at.Equal(time.Unix(1, 500)) || !strings.Contains(string(a.log[1].Data), `"skipVote":true,"by":"ada"`) {
			t.Errorf("told %s at %s", a.log[1].Data, at)
		}
		expect(t, a, want...)
		stop()
		_, stop = run(t, a, s, w, "r1") // again
		w.change(func(w *world) { w.Rollouts = history(2, 3) })
		pass(3 * time.Second)
		expect(t, a, "rollout.started rollout/r3", "rollout.committed rollout/r3")
		stop()
		w.change(func(w *world) { w.Rollouts = history(1, 2) })
		_, stop = run(t, b, s, w, "r2") // another replica takes over
		pass(3 * time.Second)
		if again := b.ids("mesh.rollout."); !maps.Equal(first, again) {
			t.Errorf("one told %v, the other %v", first, again)
		}
		b.heard(t)
		w.change(func(w *world) { w.Rollouts = history(5, 5) }) // it slept too long
		pass(3 * time.Second)
		expect(t, b, "gap rollouts: rollouts 3 to 4, as they are counted, left the history before they were told", "rollout.started rollout/r5", "rollout.committed rollout/r5")
		stop()
		if n := len(slices.DeleteFunc(slices.Collect(maps.Keys(b.cursor)), func(s string) bool { return !strings.HasPrefix(s, "rollout/") })); n != 1 {
			t.Errorf("%d rollouts in the cursor", n)
		}
	})
}

func TestTheGuardIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s, w := newBox("A"), mem.New(), &world{}
		w.services()
		hold := []facts.Hold{{Service: "web", Reason: "mass loss", Since: time.Unix(1, 0)}}
		w.change(func(w *world) { w.HoldsKnown, w.Holds = true, hold })
		_, stop := run(t, b, s, w, "r1")
		pass(3 * time.Second)
		expect(t, b, gapFirst, gapProxies, "guard.tripped guard/web")
		stop()
		w.change(func(w *world) { w.HoldsKnown, w.Holds = false, nil })
		_, stop = run(t, b, s, w, "r1")
		defer stop()
		pass(3 * time.Second)
		expect(t, b)
		w.change(func(w *world) { w.HoldsKnown = true })
		pass(3 * time.Second)
		expect(t, b, "guard.released guard/web")
	})
}

// transaction is how one is.
func transaction(id, decision string) func(facts.Subject) facts.Subject {
	return func(before facts.Subject) facts.Subject {
		return facts.OfTransaction(facts.Transaction{
			ID: id, Decision: decision, Started: time.Unix(1, 0), Participants: func() []events.Participant { return nil },
		}, before)
	}
}

func TestTransactionsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, a := mem.New(), &world{}, newBox("A")
		w.services()
		x, stop := run(t, a, s, w, "r1")
		pass(3 * time.Second)
		a.heard(t)
		q := x.Transactions()
		q.Begin(nil)
		q.Put("1", transaction("1", ""))
		pass(time.Second)
		expect(t, a, "transaction.started transaction/1")
		q.Put("1", transaction("1", "commit"))
		q.Put("2", transaction("2", ""))
		q.Put("2", transaction("2", "abort"))
		pass(time.Second)
		expect(t, a, "transaction.committed transaction/1", "transaction.started transaction/2", "transaction.rolledback transaction/2")
		q.Put("3", transaction("3", "commit"))
		q.Gone("3") // before it was told
		q.Gone("2")
		pass(time.Second)
		expect(t, a, "transaction.started transaction/3", "transaction.committed transaction/3")
		if _, ok := a.cursor["transaction/2"]; ok || a.cursor["transaction/3"] != nil || a.cursor["transaction/1"] == nil {
			t.Errorf("the cursor has %v", slices.Collect(maps.Keys(a.cursor)))
		}
		if raw := string(a.cursor["transaction/1"]); strings.Contains(raw, "data") {
			t.Errorf("the cursor keeps %s", raw)
		}
		stop()

		x, stop = run(t, a, s, w, "r1") // another term: the journal has 4 and 5, and 1 no more
		defer stop()
		q = x.Transactions()
		q.Begin([]string{"4", "5"})
		q.Put("4", transaction("4", "commit"))
		q.Put("5", transaction("5", ""))
		pass(3 * time.Second)
		expect(t, a, "transaction.started transaction/4", "transaction.committed transaction/4", "transaction.started transaction/5")
		if a.cursor["transaction/1"] != nil {
			t.Error("what is forgotten is in the cursor")
		}
	})
}

// TestTransactionsWaitForTheDisk: more than one run tells, none is lost; what finds
// no room to wait is said to be missing.
func TestTransactionsWaitForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, a := mem.New(), &world{}, newBox("A")
		w.services()
		const most, over = 5_000, 3
		x, stop := run(t, a, s, w, "r1", func(c *teller.Config) { c.Waiting = most })
		defer stop()
		pass(3 * time.Second)
		a.heard(t)
		a.failing(errors.New("no space left on device"))
		for i := range most + over {
			id := fmt.Sprint(i)
			x.Transactions().Put(id, transaction(id, "commit"))
		}
		pass(3 * time.Second)
		a.failing(nil)
		pass(time.Minute)
		told := a.heard(t)
		if len(told) != 1+2*most || !slices.Contains(told, fmt.Sprintf("gap transactions: %d changes of transactions found no room to wait", over)) {
			t.Errorf("%d told", len(told))
		}
	})
}

// TestOneTransactionIsOneEventEverywhere: two replicas tell the same under one id.
func TestOneTransactionIsOneEventEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := mem.New(), &world{}
		w.services(&mesh.Service{Name: "late"})
		var told []map[string]string
		for _, uid := range []string{"A", "B"} {
			b := newBox(uid)
			x, stop := run(t, b, s, w, uid)
			x.Transactions().Put("1", transaction("1", "commit"))
			pass(3 * time.Second)
			stop()
			told = append(told, b.ids("mesh.transaction."))
		}
		if !maps.Equal(told[0], told[1]) || len(told[0]) != 2 {
			t.Errorf("told %v", told)
		}
	})
}
