package rollout_test

import (
	"testing"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/rollout"
)

// wall is a clock on a wall that somebody moves.
type wall struct{ off time.Duration }

func (w *wall) of(more func(*rollout.Config)) func(*rollout.Config) {
	return func(c *rollout.Config) {
		if more != nil {
			more(c)
		}
		c.Now = func() time.Time { return time.Now().Add(w.off).Round(0) } // without the reading that never jumps
	}
}

var jumps = []time.Duration{time.Hour, -time.Hour}

// TestTheWallClockMayJumpInAVote: proxies have their time to answer, and no more.
func TestTheWallClockMayJumpInAVote(t *testing.T) {
	for _, jump := range jumps {
		clock := &wall{}
		run(t, 2, clock.of(nil), func(w *world) {
			w.propose(doc("a", 1))
			w.fleet.set(func(f *fleet) { f.silent["envoy-0"], f.silent["envoy-1"] = true, true })
			w.propose(doc("a", 2))
			clock.off = jump
			w.settle(9 * time.Second)
			w.expect("a@1=1", adminapi.Pending, adminapi.PhaseVoting)
			w.settle(2 * time.Second)
			w.expect("a@1=1", adminapi.RolledBack, "")
		})
	}
}

func TestTheWallClockMayJumpInATrial(t *testing.T) {
	for _, jump := range jumps {
		clock := &wall{}
		run(t, 10, clock.of(onTrial("20%")), func(w *world) {
			w.propose(doc("a", 1))
			w.propose(doc("a", 2))
			w.settle(2 * time.Second)
			clock.off = jump
			w.settle(55 * time.Second)
			w.expect("a@1=1", adminapi.Pending, adminapi.PhaseCanary)
			w.settle(5 * time.Second)
			w.expect("a@2=2", adminapi.Committed, "")
		})
	}
}

// TestTheWallClockMayJumpBeforeAConfirmation: who has to confirm has the time that
// was given.
func TestTheWallClockMayJumpBeforeAConfirmation(t *testing.T) {
	for _, jump := range jumps {
		clock := &wall{}
		run(t, 2, clock.of(confirming), func(w *world) {
			w.propose(doc("a", 1))
			w.propose(doc("a", 2))
			clock.off = jump
			w.settle(55 * time.Second)
			w.expect("a@2=2", adminapi.Committed, adminapi.PhaseConfirming)
			w.settle(6 * time.Second)
			if got := w.inForce(); got != "a@1=1" {
				w.t.Errorf("%s: unconfirmed, and %s serves", jump, got)
			}
		})
	}
}

// TestAJumpOverARestartIsBounded: what a server finds it measures by the wall's clock.
// One that was put forward ends the time at once, as a long stop would; one that was
// put back gives at most all of it once more.
func TestAJumpOverARestartIsBounded(t *testing.T) {
	for _, jump := range jumps {
		clock := &wall{}
		run(t, 2, clock.of(confirming), func(w *world) {
			w.propose(doc("a", 1))
			w.propose(doc("a", 2))
			w.settle(30 * time.Second)
			w.expect("a@2=2", adminapi.Committed, adminapi.PhaseConfirming)
			w.stop()
			clock.off = jump
			w.start()
			w.settle(55 * time.Second)
			want := "a@1=1"
			if jump < 0 {
				want = "a@2=2"
			}
			if got := w.inForce(); got != want {
				w.t.Errorf("%s: 55 s after the restart %s serves, want %s", jump, got, want)
			}
			w.settle(10 * time.Second)
			if got := w.inForce(); got != "a@1=1" {
				w.t.Errorf("%s: 65 s after the restart %s serves", jump, got)
			}
		})
	}
}
