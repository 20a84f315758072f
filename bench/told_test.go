package bench

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/facts"
	"meshlite.dev/internal/events/outbox"
	"meshlite.dev/internal/events/teller"
	"meshlite.dev/internal/store/mem"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
)

// telling runs a teller with an outbox on disk and has it told of transactions, as
// xds-server does. wait returns once so many events are kept.
func telling(b *testing.B) (edit func(*coordinator.Config), wait func(events uint64)) {
	box, err := outbox.Open(filepath.Join(b.TempDir(), "outbox.db"), outbox.DefaultLimits())
	if err != nil {
		b.Fatal(err)
	}
	shared := mem.New()
	t := teller.New(teller.Config{
		Outbox: box, Lock: shared, Store: shared, Replica: "bench",
		World: func() (teller.World, bool) { return teller.World{}, true },
	})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- t.Run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := box.Close(); err != nil {
			b.Error(err)
		}
	})
	observe := func(before, after txn.State) {
		if before.Phase != 0 && before.Outcome == after.Outcome {
			return
		}
		t.Transactions().Put(string(after.ID), func(before facts.Subject) facts.Subject {
			return facts.OfTransaction(factsOf(after.Record), before)
		})
	}
	wait = func(n uint64) {
		for t.Told() < n {
			<-time.After(time.Millisecond)
		}
	}
	return func(c *coordinator.Config) {
		c.Observe, c.Forgot = observe, func(id txn.ID) { t.Transactions().Gone(string(id)) }
	}, wait
}

func factsOf(r txn.Record) facts.Transaction {
	out := facts.Transaction{ID: string(r.ID), Started: r.Started, Decided: r.Decided, Reason: r.Reason, Participants: func() []events.Participant {
		parts := make([]events.Participant, len(r.Parties))
		for i, p := range r.Parties {
			parts[i] = events.Participant{Service: p.ID, Vote: p.Vote.String(), Text: p.Text}
		}
		return parts
	}}
	if r.Outcome != txn.Undecided {
		out.Decision = r.Outcome.String()
	}
	return out
}
