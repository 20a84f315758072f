package rollout_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/rollout"
	"meshlite.dev/internal/store"
	"meshlite.dev/internal/store/mem"
	"meshlite.dev/internal/txn"
)

// disk is all that a process writes: it dies at one write, before or after it.
type disk struct {
	*mem.Store
	mu     sync.Mutex
	left   int // writes until it dies
	before bool
	dead   bool
}

var errDead = errors.New("the process is dead")

// write lets one write through, and says whether the process sees its end.
func (d *disk) write() (through bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return false, errDead
	}
	if d.left--; d.left > 0 {
		return true, nil
	}
	d.dead = true
	return !d.before, errDead
}

func (d *disk) Commit(ctx context.Context, ops ...store.Op) error {
	through, err := d.write()
	if through {
		err = errors.Join(err, d.Store.Commit(ctx, ops...))
	}
	return err
}

// journal makes the journal die with the disk.
func (d *disk) journal(w *world) {
	w.journal.Before = func([]txn.Record) error {
		through, err := d.write()
		if through && err != nil {
			return nil // written, and then it dies
		}
		return err
	}
	w.journal.After = func([]txn.Record) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.dead {
			return errDead
		}
		return nil
	}
}

func (d *disk) alive() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.dead
}

func (d *disk) revive() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead, d.left = false, 1<<30
}

// TestAServerMayDieAtEachWrite: a rollout, a refused one with a bystander, and an
// undo; whatever the moment, after the restart the history says of each rollout
// whether it came in force, nothing is open, and the carrier's word gets through.
func TestAServerMayDieAtEachWrite(t *testing.T) {
	for _, before := range []bool{true, false} {
		for n := 1; ; n++ {
			survived := false
			synctest.Test(t, func(t *testing.T) { survived = dies(t, n, before) })
			if survived {
				t.Logf("%d writes", n-1)
				break
			}
			if n > 200 {
				t.Fatal("it never ends")
			}
		}
	}
}

func dies(t *testing.T, n int, before bool) (survived bool) {
	d := &disk{left: n, before: before}
	w := newWorld(t, 2, func(c *rollout.Config) {
		c.Keeper, c.Store = revision.New(d), d
	})
	d.Store = w.store
	d.journal(w)
	w.fleet.refuses = refusing("a", 7)
	w.start()
	w.propose(doc("a", 1), doc("b", 1))
	w.settle(time.Second)
	w.propose(doc("a", 2), doc("b", 1))
	w.settle(time.Second)
	w.propose(doc("a", 7), doc("b", 2))
	w.settle(time.Second)
	if d.alive() {
		_, _ = w.m.Undo(t.Context(), adminapi.UndoRequest{}) // it may die on the way
		w.settle(time.Second)
	}
	survived = d.alive()
	w.stop()
	d.revive()
	w.start()
	w.settle(10 * time.Second)
	w.propose(doc("a", 3), doc("b", 3))
	w.settle(2 * time.Minute)
	w.stop()
	if got := w.inForce(); !strings.HasSuffix(got, "=3") || !strings.Contains(got, "=3 ") {
		t.Errorf("write %d (before %v): serves %s", n, before, got)
	}
	if slices.ContainsFunc(w.used, func(s string) bool { return strings.Contains(s, "=7") }) {
		t.Errorf("write %d (before %v): it served what was refused: %v", n, before, w.used)
	}
	for _, r := range w.all().Items {
		rev, err := revision.New(w.store).Revision(t.Context(), r.To.Hash)
		came := err == nil && slices.Contains(w.used, pins(rev))
		if r.Source == "undo" {
			came = r.State == adminapi.Committed // to what had been in force before
		}
		if r.Open() || r.State == adminapi.Pending || (r.State == adminapi.Committed) != came {
			t.Errorf("write %d (before %v): %s is %s %q (%s); it came in force: %v", n, before, r.ID, r.State, r.Phase, r.Reason, came)
		}
	}
	return survived
}
