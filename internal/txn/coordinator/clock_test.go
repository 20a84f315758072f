package coordinator_test

import (
	"context"
	"testing"
	"time"

	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
	"meshlite.dev/internal/txn/journal/journaltest"
)

// wall is a clock on a wall that somebody moves.
type wall struct{ off time.Duration }

func (w *wall) now() time.Time { return time.Now().Add(w.off).Round(0) } // without the reading that never jumps

// TestTheWallClockMayJump an hour forth or back, while parties are asked and after
// the end: votes have their time, neither less nor more, and what is done stays known
// for as long as was promised.
func TestTheWallClockMayJump(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
			s.behave = func(ctx context.Context, call txn.Call, b coordinator.Branch) (coordinator.Answer, error) {
				if b.Tx.ID == "slow" && call == txn.CallPrepare {
					<-ctx.Done()
					return yes, ctx.Err()
				}
				return yes, nil
			}
			clock := &wall{}
			cfg := config(s, m)
			cfg.Now = clock.now
			c := start(t, cfg)
			c.begin(t, order("quick", "a"))
			c.await(t, "quick", done, txn.Committed)
			c.begin(t, order("slow", "a"))
			clock.off = jump
			pass(9 * time.Second)
			if status, err := c.Status(t.Context(), "slow"); err != nil || status != txn.Pending {
				t.Errorf("%s: after 9 of 10 s it is %s, %v", jump, status, err)
			}
			pass(time.Second + time.Millisecond)
			c.await(t, "slow", coordinator.Decided, txn.RolledBack)

			pass(14 * time.Minute)
			known := func(when string, want txn.Status) {
				t.Helper()
				if status, err := c.Status(t.Context(), "quick"); err != nil || status != want {
					t.Errorf("%s: %s it is %s, %v; want %s", jump, when, status, err, want)
				}
			}
			known("after 14 of 15 min", txn.Committed)
			c.begin(t, order("quick", "a")) // by who asks again: not once more
			pass(time.Minute)
			known("after 15 min", txn.RolledBack)

			c.begin(t, order("late", "a"))
			c.await(t, "late", done, txn.Committed)
			pass(time.Second) // of the journal
			if err := c.stop(); err != nil {
				t.Fatal(err)
			}
			clock.off = -jump
			cfg = config(s, m)
			cfg.Now = clock.now
			c = start(t, cfg)
			pass(14 * time.Minute)
			if status, err := c.Status(t.Context(), "late"); err != nil || status != txn.Committed {
				t.Errorf("%s: 14 min after a restart it is %s, %v", jump, status, err)
			}
			calls := 0
			for _, call := range s.did() {
				if call == "commit a" {
					calls++
				}
			}
			if calls != 2 {
				t.Errorf("%s: %d commits of 2 transactions: %v", jump, calls, s.did())
			}
		})
	}
}
