package rollout_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/rollout"
	"meshlite.dev/internal/store"
	"meshlite.dev/internal/store/mem"
	"meshlite.dev/internal/txn/journal"
)

// TestEveryReplicaTakesCommands: each command, given to one that does not lead, is
// answered as the leader would, errors with their kind.
func TestEveryReplicaTakesCommands(t *testing.T) {
	replicas(t, 3, func(all []*world) {
		t, ctx, follower := all[0].t, all[0].t.Context(), all[2]
		propose(all, doc("a", 1))
		hold := adminapi.ModeHold
		armed, err := follower.m.Start(ctx, adminapi.StartRequest{By: "ada", Options: adminapi.RolloutOptions{Mode: &hold}})
		if err != nil || armed.Rollout != nil || armed.Next == nil || *armed.Next.Mode != hold {
			t.Fatalf("start: %+v, %v", armed, err)
		}
		if next := follower.all().Next; next == nil {
			t.Error("the replica that was asked does not know how the next rollout goes")
		}
		propose(all, doc("a", 2))
		follower.expect("a@1=1", adminapi.Pending, adminapi.PhaseHeld)
		id := follower.newest().ID
		if _, err := follower.m.Decide(ctx, id, adminapi.VerbConfirm, adminapi.DecideRequest{}); !errors.Is(err, adminapi.ErrNotNow) || !strings.Contains(err.Error(), "nothing to confirm") {
			t.Errorf("confirm: %v", err)
		}
		if _, err := follower.m.Decide(ctx, "r99", adminapi.VerbCommit, adminapi.DecideRequest{}); !errors.Is(err, adminapi.ErrNoRollout) {
			t.Errorf("commit of none: %v", err)
		}
		r, err := follower.m.Decide(ctx, id, adminapi.VerbCommit, adminapi.DecideRequest{By: "ada", Reason: "looked"})
		if err != nil || r.State != adminapi.Committed {
			t.Errorf("commit: %+v, %v", r, err)
		}
		all[0].settle(2 * time.Second)
		for _, w := range all {
			w.expect("a@2=2", adminapi.Committed, "")
		}
		if d, err := follower.m.Rollout(ctx, id); err != nil || !logs(d, "committed by hand: looked", "ada") {
			t.Errorf("log: %+v, %v", d.Log, err)
		}
		if _, err := follower.m.Undo(ctx, adminapi.UndoRequest{ToRevision: "77"}); !errors.Is(err, adminapi.ErrNoRevision) {
			t.Errorf("undo to none: %v", err)
		}
		undo, err := follower.m.Undo(ctx, adminapi.UndoRequest{By: "ada"})
		if err != nil || undo.Undoes != id {
			t.Fatalf("undo: %+v, %v", undo, err)
		}
		if _, err := follower.m.Rollout(ctx, undo.ID); err != nil {
			t.Errorf("the replica that was asked: %v", err)
		}
		all[0].settle(2 * time.Second)
		for _, w := range all {
			w.expect("a@1=1", adminapi.Committed, "")
		}
		propose(all, doc("a", 2)) // pinned by the undo
		if _, err := follower.m.Start(ctx, adminapi.StartRequest{Retry: true, Options: adminapi.RolloutOptions{Mode: &hold}}); err != nil {
			t.Fatal(err)
		}
		all[0].settle(2 * time.Second)
		held := follower.newest()
		if r, err = follower.m.Decide(ctx, held.ID, adminapi.VerbAbort, adminapi.DecideRequest{By: "ada"}); err != nil || r.State != adminapi.RolledBack {
			t.Errorf("abort: %+v, %v", r, err)
		}
		if n := recorded(all[0], "rollouts/asked/"); n != 8 {
			t.Errorf("%d commands are on record", n)
		}
	})
}

func logs(d adminapi.RolloutDetail, text, by string) bool {
	for _, e := range d.Log {
		if strings.Contains(e.Text, text) && e.By == by {
			return true
		}
	}
	return false
}

func recorded(w *world, prefix string) int {
	w.t.Helper()
	entries, err := w.store.List(w.t.Context(), prefix)
	if err != nil {
		w.t.Fatal(err)
	}
	return len(entries)
}

// stalling is the store of a server that hangs over the commands of others.
type stalling struct {
	*mem.Store
	w *world
}

func (s *stalling) Commit(ctx context.Context, ops ...store.Op) error {
	s.w.mu.Lock()
	wait := time.Until(s.w.stall)
	s.w.mu.Unlock()
	if strings.HasPrefix(ops[0].Key, "rollouts/asked/") && wait > 0 && !store.Rest(ctx, wait) {
		return ctx.Err()
	}
	return s.Store.Commit(ctx, ops...)
}

// hang keeps a server from taking commands of others.
func (w *world) hang(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stall = time.Now().Add(d)
}

// ordered is the id of the command that a server hands over.
func (w *world) ordered() string {
	w.t.Helper()
	ctx, leave := context.WithCancel(w.t.Context())
	heard := make(chan map[string][]byte, 1)
	left := make(chan struct{})
	go func() {
		defer close(left)
		w.store.Post(ctx, "rollouts", nil, func(all map[string][]byte) { heard <- all })
	}()
	defer func() { leave(); <-left }()
	for _, raw := range <-heard {
		var n struct{ Orders []struct{ ID string } }
		if err := json.Unmarshal(raw, &n); err != nil {
			w.t.Fatal(err)
		}
		if len(n.Orders) == 1 {
			return n.Orders[0].ID
		}
	}
	w.t.Fatal("no command is handed over")
	return ""
}

// given is a command that a test awaits.
type given struct {
	r   adminapi.Rollout
	err error
}

func undo(w *world) <-chan given {
	out := make(chan given, 1)
	go func() {
		r, err := w.m.Undo(w.t.Context(), adminapi.UndoRequest{By: "ada"})
		out <- given{r, err}
	}()
	return out
}

// TestACommandWaitsForTheNextLeader: the one that led is dead; whoever follows it,
// the replica that was asked too, obeys once.
func TestACommandWaitsForTheNextLeader(t *testing.T) {
	for _, n := range []int{2, 3} {
		replicas(t, n, func(all []*world) {
			t := all[0].t
			propose(all, doc("a", 1))
			propose(all, doc("a", 2))
			asked := all[n-1]
			all[0].hang(20 * time.Second)
			answer := undo(asked)
			asked.settle(time.Second)
			all[0].stop()
			all[0].stop = nil
			got := <-answer
			if got.err != nil || got.r.By != "ada" {
				t.Fatalf("%d replicas: %+v, %v", n, got.r, got.err)
			}
			asked.settle(10 * time.Second)
			for _, w := range all[1:] {
				w.expect("a@1=1", adminapi.Committed, "")
				if n := len(w.all().Items); n != 3 {
					t.Errorf("%d rollouts", n)
				}
			}
		})
	}
}

// TestACommandThatNobodyTookIsWithdrawn: the answer says that nothing will become
// of it, and the leader that comes late does nothing.
func TestACommandThatNobodyTookIsWithdrawn(t *testing.T) {
	replicas(t, 2, func(all []*world) {
		t := all[0].t
		propose(all, doc("a", 1))
		propose(all, doc("a", 2))
		all[0].hang(time.Minute)
		start := time.Now()
		got := <-undo(all[1])
		if !errors.Is(got.err, adminapi.ErrElsewhere) || !strings.Contains(got.err.Error(), "nothing was done, and nothing will be") {
			t.Errorf("%v", got.err)
		}
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("after %s", d)
		}
		all[0].settle(2 * time.Minute)
		for _, w := range all {
			w.expect("a@2=2", adminapi.Committed, "")
			if n := len(w.all().Items); n != 2 {
				t.Errorf("%d rollouts", n)
			}
		}
	})
}

// TestACommandIsTakenOnce: a leader that died over it leaves the next one in doubt,
// which says so where doing it again could do it twice, and does it where not.
func TestACommandIsTakenOnce(t *testing.T) {
	for _, name := range []string{"", "undo-1"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 3, nil)
			var leads atomic.Bool
			leads.Store(true)
			died := make(chan struct{})
			follow := func(c *rollout.Config) {
				c.Store, c.Board = w.store, w.store
				c.Lead = func(ctx context.Context, do func(context.Context, journal.Journal)) {
					if leads.Load() {
						do(ctx, w.journal.Open())
						return
					}
					select {
					case <-died:
						do(ctx, w.journal.Open())
					case <-ctx.Done():
					}
				}
			}
			w.cfg = func(c *rollout.Config) { follow(c); c.Replica = "other" }
			w.start()
			w.propose(doc("a", 1))
			w.propose(doc("a", 2))
			w.stop()
			leads.Store(false)
			w.start()
			w.settle(time.Second)
			answer := make(chan error, 1)
			go func() {
				_, err := w.m.Undo(t.Context(), adminapi.UndoRequest{ID: name})
				answer <- err
			}()
			w.settle(time.Second)
			id := w.ordered()
			taken := store.Op{Key: "rollouts/asked/" + id, Value: []byte(`{"version":1,"by":"dead","reign":"x"}`)}
			if err := w.store.Commit(t.Context(), taken); err != nil {
				t.Fatal(err)
			}
			close(died)
			err := <-answer
			w.settle(5 * time.Second)
			if n := len(w.all().Items); name == "" && (!errors.Is(err, adminapi.ErrUnsure) || !strings.Contains(err.Error(), "dead had taken it") || n != 2) {
				t.Errorf("without a name: %v, %d rollouts", err, n)
			} else if name != "" && (err != nil || n != 3) {
				t.Errorf("named: %v, %d rollouts", err, n)
			}
			w.stop()
		})
	}
}

// TestACommandOnRecordIsForgottenInTime: records go, an hour after the last who
// could ask.
func TestACommandOnRecordIsForgottenInTime(t *testing.T) {
	replicas(t, 2, func(all []*world) {
		t := all[0].t
		propose(all, doc("a", 1))
		for range 2 {
			if _, err := all[1].m.Start(t.Context(), adminapi.StartRequest{}); err != nil {
				t.Fatal(err)
			}
		}
		all[0].settle(2 * time.Hour)
		if _, err := all[1].m.Start(t.Context(), adminapi.StartRequest{}); err != nil {
			t.Fatal(err)
		}
		all[0].settle(time.Second)
		if n := recorded(all[0], "rollouts/asked/"); n != 1 {
			t.Errorf("%d commands are on record", n)
		}
	})
}
