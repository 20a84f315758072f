package storetest

import (
	"context"
	"errors"
	"testing"

	"meshlite.dev/internal/store"
)

// Fenced is a store with locks whose holders can tie what they write to them.
type Fenced interface {
	store.Store
	store.Fencer
}

// RunFencer checks the contract of store.Fencer; open returns an empty store.
func RunFencer(t *testing.T, open func(t *testing.T) Fenced) {
	t.Run("a holder writes, and learns the versions", func(t *testing.T) { versions(t, open(t)) })
	t.Run("a fence applies all ops or none", func(t *testing.T) {
		s := open(t)
		holding(t, s, func(ctx context.Context, f store.Fence) {
			_, err := f.Commit(ctx, store.Op{Key: "a", Value: []byte("1")}, store.Op{Key: "b", Value: []byte("1"), Check: true, IfVersion: 99})
			if !errors.Is(err, store.ErrConflict) {
				t.Errorf("Commit = %v, want ErrConflict", err)
			}
		})
		absent(t, s, "a")
	})
	t.Run("who gave the lock back writes nothing", func(t *testing.T) {
		s := open(t)
		var old store.Fence
		holding(t, s, func(_ context.Context, f store.Fence) { old = f })
		if _, err := old.Commit(t.Context(), store.Op{Key: "a", Value: []byte("1")}); !errors.Is(err, store.ErrLost) {
			t.Errorf("Commit = %v, want ErrLost", err)
		}
		holding(t, s, func(context.Context, store.Fence) {
			if _, err := old.Commit(t.Context(), store.Op{Key: "a", Value: []byte("1")}); !errors.Is(err, store.ErrLost) {
				t.Errorf("Commit while the next holds = %v, want ErrLost", err)
			}
		})
		absent(t, s, "a")
	})
}

// holding runs do once under the lock and waits for its end.
func holding(t *testing.T, s Fenced, do func(context.Context, store.Fence)) {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	held := false
	s.HoldFenced(ctx, "fence", func(work context.Context, f store.Fence) {
		held = true
		do(work, f)
		leave()
	})
	if !held {
		t.Fatal("the lock was never held")
	}
}

func versions(t *testing.T, s Fenced) {
	holding(t, s, func(ctx context.Context, f store.Fence) {
		first, err := f.Commit(ctx, store.Op{Key: "a", Value: []byte("1"), Check: true}, store.Op{Key: "b", Value: []byte("1")})
		if err != nil {
			t.Errorf("first Commit: %v", err)
			return
		}
		for _, key := range []string{"a", "b"} {
			if e, err := s.Get(ctx, key); err != nil || e.Version != first {
				t.Errorf("%s has version %d, %v; Commit said %d", key, e.Version, err, first)
			}
		}
		second, err := f.Commit(ctx, store.Op{Key: "a", Value: []byte("2"), Check: true, IfVersion: first}, store.Op{Key: "b"})
		if err != nil || second <= first {
			t.Errorf("second Commit = %d, %v; the first was %d", second, err, first)
		}
		if gone, err := f.Commit(ctx, store.Op{Key: "a", Check: true, IfVersion: second}); err != nil || gone != 0 {
			t.Errorf("a Commit that deletes = %d, %v", gone, err)
		}
	})
	absent(t, s, "a")
	absent(t, s, "b")
}

func absent(t *testing.T, s store.Store, key string) {
	t.Helper()
	if e, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%s is %q, %v; want ErrNotFound", key, e.Value, err)
	}
}
