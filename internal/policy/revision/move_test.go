package revision_test

import (
	"errors"
	"testing"

	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/store"
)

// TestAMoveIsPreparedAndRepeatable: nothing is in force before the move, the
// whole after it, also when it is repeated after a restart.
func TestAMoveIsPreparedAndRepeatable(t *testing.T) {
	onBoth(t, func(t *testing.T, s store.Store, reopen func() store.Store) {
		k := revision.New(s)
		first := propose(t, k, files("a.yaml", doc("a", 1)))
		next := revision.Decide(first, files("a.yaml", doc("a", 2), "b.yaml", doc("b", 3)))
		if err := k.Prepare(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		if now, _, err := k.Current(t.Context()); err != nil || now.Hash != first.Hash {
			t.Fatalf("prepared, and in force is %s, %v", pins(now), err)
		}
		s = reopen()
		k = revision.New(s)
		prepared, err := k.Revision(t.Context(), next.Hash)
		if err != nil || pins(prepared) != "rp/default/a@2=2 rp/default/b@1=3" {
			t.Fatalf("after a restart: %s, %v", pins(prepared), err)
		}
		for range 2 {
			moved, err := k.Move(t.Context(), first.Hash, prepared)
			if err != nil || moved.Number != 2 {
				t.Fatalf("moved to %d, %v", moved.Number, err)
			}
		}
		now, ok, err := revision.New(s).Load(t.Context())
		if err != nil || !ok || now.Hash != next.Hash || now.Number != 2 {
			t.Errorf("in force %d %s, %v", now.Number, pins(now), err)
		}
		back, err := k.Revision(t.Context(), first.Hash)
		if err != nil {
			t.Fatal(err)
		}
		if undone, err := k.Move(t.Context(), next.Hash, back); err != nil || undone.Number != 3 || undone.Hash != first.Hash {
			t.Errorf("back: %d, %v", undone.Number, err)
		}
	})
}

// TestAMoveFromAnotherRevisionIsRefused: also while all is frozen.
func TestAMoveFromAnotherRevisionIsRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, s store.Store, _ func() store.Store) {
		k, other := revision.New(s), revision.New(s)
		first := propose(t, k, files("a.yaml", doc("a", 1)))
		next := revision.Decide(first, files("a.yaml", doc("a", 2)))
		if err := k.SetFreeze(t.Context(), &revision.Freeze{Reason: "sale"}); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Move(t.Context(), first.Hash, next); !errors.Is(err, revision.ErrFrozen) {
			t.Errorf("frozen: %v", err)
		}
		if err := k.SetFreeze(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		propose(t, other, files("a.yaml", doc("a", 3)))
		if _, err := k.Move(t.Context(), first.Hash, next); !errors.Is(err, revision.ErrMoved) {
			t.Errorf("moved by another: %v", err)
		}
		if _, err := k.Revision(t.Context(), next.Hash); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a revision that was never stored: %v", err)
		}
	})
}
