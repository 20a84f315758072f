package rollout_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/rollout"
	"meshlite.dev/internal/store"
)

func TestTheHistoryIsKept(t *testing.T) {
	run(t, 1, nil, func(w *world) {
		if k := w.m.Kept(); k.Read {
			w.t.Errorf("nothing was read yet, and there is %+v", k)
		}
		w.settle(time.Millisecond)
		if k := w.m.Kept(); !k.Read || len(k.Items) != 0 || k.Oldest+k.Newest != 0 {
			w.t.Errorf("%+v", k)
		}
		for i := range 103 {
			w.propose(doc("a", 1+i%5))
		}
		k := w.m.Kept()
		if !k.Read || len(k.Items) != 100 || k.Oldest != 4 || k.Newest != 103 || k.Items[0].To.Number != 103 {
			w.t.Errorf("%d items, %d to %d, read: %t", len(k.Items), k.Oldest, k.Newest, k.Read)
		}
	})
}

// TestWhatIsHeldIsKnownEverywhere: other replicas read the store.
func TestWhatIsHeldIsKnownEverywhere(t *testing.T) {
	replicas(t, 2, func(all []*world) {
		propose(all, doc("a", 1))
		if _, err := all[0].m.Start(all[0].t.Context(), adminapi.StartRequest{Options: adminapi.RolloutOptions{Mode: new(adminapi.ModeHold)}}); err != nil {
			all[0].t.Fatal(err)
		}
		propose(all, doc("a", 2))
		for _, w := range all {
			w.expect("a@1=1", adminapi.Pending, adminapi.PhaseHeld)
		}
	})
}

// full is a store that takes nothing for a while.
type full struct {
	store.Store
	on atomic.Bool
}

func (f *full) Commit(ctx context.Context, ops ...store.Op) error {
	if f.on.Load() {
		return errors.New("no space left on device")
	}
	return f.Store.Commit(ctx, ops...)
}

// TestAConfirmationCountsOnceItIsStored: nobody is told of it before.
func TestAConfirmationCountsOnceItIsStored(t *testing.T) {
	var disk *full
	cfg := func(c *rollout.Config) {
		confirming(c)
		disk = &full{Store: c.Store}
		c.Store = disk
	}
	run(t, 1, cfg, func(w *world) {
		w.propose(doc("a", 1))
		w.propose(doc("a", 2))
		w.settle(time.Millisecond)
		disk.on.Store(true)
		id := w.newest().ID
		if _, err := w.m.Decide(w.t.Context(), id, adminapi.VerbConfirm, adminapi.DecideRequest{By: "me"}); err == nil {
			w.t.Error("it is confirmed, and not stored")
		}
		if r := w.newest(); r.Confirmed != nil || r.ConfirmBy == nil {
			w.t.Errorf("%+v", r)
		}
		disk.on.Store(false)
		if _, err := w.m.Decide(w.t.Context(), id, adminapi.VerbConfirm, adminapi.DecideRequest{By: "me"}); err != nil {
			w.t.Fatal(err)
		}
		if r := w.newest(); r.Confirmed == nil || r.ConfirmedBy != "me" || r.ConfirmBy != nil {
			w.t.Errorf("%+v", r)
		}
	})
}
