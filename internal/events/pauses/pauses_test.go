package pauses_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"meshlite.dev/internal/events/pauses"
	"meshlite.dev/internal/store"
	"meshlite.dev/internal/store/mem"
)

// dispatcher remembers what it was told last.
type dispatcher struct {
	mu     sync.Mutex
	told   int
	paused map[string]bool
}

func (d *dispatcher) pause(keys map[string]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told++
	d.paused = keys
}

func (d *dispatcher) state() (paused []string, told int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.paused)), d.told
}

func (d *dispatcher) want(t *testing.T, told int, paused ...string) {
	t.Helper()
	if got, n := d.state(); !slices.Equal(got, paused) || n != told {
		t.Errorf("told %d times, last %v; want %d and %v", n, got, told, paused)
	}
}

// replica follows s until the end of the test.
func replica(t *testing.T, s store.Store, inForce ...string) (*pauses.Keeper, *dispatcher) {
	t.Helper()
	d := &dispatcher{}
	k := pauses.New(s, d.pause, nil)
	k.Use(inForce)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- k.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return k, d
}

func set(t *testing.T, k *pauses.Keeper, key string, paused bool, reason string) {
	t.Helper()
	if err := k.Set(t.Context(), key, paused, reason); err != nil {
		t.Fatalf("set %s: %v", key, err)
	}
}

func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestAPauseReachesAllReplicasAndARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New()
		a, own := replica(t, s, "default/a", "default/b")
		_, other := replica(t, s, "default/a", "default/b")
		synctest.Wait()
		own.want(t, 1)
		other.want(t, 1)
		set(t, a, "default/a", true, "the handler is moved")
		own.want(t, 2, "default/a") // at once
		since := a.Paused()["default/a"].Since
		pass(2 * time.Second)
		other.want(t, 2, "default/a")
		set(t, a, "default/a", true, "still")
		if got := a.Paused()["default/a"]; got.Reason != "still" || !got.Since.Equal(since) {
			t.Errorf("another reason: %+v, want it, since %s", got, since)
		}
		set(t, a, "default/b", true, "")
		restarted, again := replica(t, s, "default/a", "default/b")
		synctest.Wait()
		again.want(t, 1, "default/a", "default/b")
		set(t, restarted, "default/a", false, "")
		set(t, restarted, "default/b", false, "")
		set(t, restarted, "default/b", false, "") // nothing is no error
		pass(2 * time.Second)
		own.want(t, 4)
		if _, err := s.Get(t.Context(), "events/pauses"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("something is left: %v", err)
		}
	})
}

func TestAPauseGoesAMinuteAfterItsSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New()
		k, told := replica(t, s, "default/a", "default/b")
		set(t, k, "default/a", true, "")
		set(t, k, "default/b", true, "")
		k.Use([]string{"default/b"})
		pass(50 * time.Second)
		k.Use([]string{"default/a", "default/b"}) // it was replaced
		pass(50 * time.Second)
		told.want(t, 2, "default/a", "default/b")
		k.Use(nil)
		pass(59 * time.Second)
		told.want(t, 2, "default/a", "default/b")
		k.Use([]string{"default/b"})
		pass(5 * time.Second)
		told.want(t, 3, "default/b")
	})
}

// Before anything is known of the documents nothing is forgotten.
func TestAStartForgetsNoPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New()
		if err := s.Commit(t.Context(), store.Op{Key: "events/pauses", Value: []byte(`{"default/a": {"since": "2026-11-23T14:00:00Z"}}`)}); err != nil {
			t.Fatal(err)
		}
		d := &dispatcher{}
		k := pauses.New(s, d.pause, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := k.Run(ctx); err != nil {
			t.Error(err)
		}
		d.want(t, 1, "default/a")
	})
}

// broken is a store that fails, or that another replica writes in between.
type broken struct {
	*mem.Store
	fault    error
	crossing int
}

func (b *broken) Get(ctx context.Context, key string) (store.Entry, error) {
	if b.fault != nil {
		return store.Entry{}, b.fault
	}
	e, err := b.Store.Get(ctx, key)
	if b.crossing > 0 {
		b.crossing--
		if err := b.Commit(ctx, store.Op{Key: key, Value: []byte(`{"other/one": {"since": "2026-11-23T14:00:00Z"}}`)}); err != nil {
			return e, err
		}
	}
	return e, err
}

func TestChangesThatCrossAreBothKept(t *testing.T) {
	d := &dispatcher{}
	k := pauses.New(&broken{Store: mem.New(), crossing: 2}, d.pause, nil)
	set(t, k, "default/a", true, "")
	d.want(t, 1, "default/a", "other/one")
	k = pauses.New(&broken{Store: mem.New(), crossing: 1_000}, d.pause, nil)
	if err := k.Set(t.Context(), "default/a", true, ""); !errors.Is(err, store.ErrConflict) {
		t.Errorf("crossed for ever: %v", err)
	}
}

func TestWhatWasKnownCountsWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &broken{Store: mem.New()}
		d := &dispatcher{}
		k := pauses.New(s, d.pause, nil)
		k.Use([]string{"default/a"})
		set(t, k, "default/a", true, "")
		s.fault = errors.New("the store is away")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := k.Run(ctx); err != nil {
			t.Error(err)
		}
		d.want(t, 1, "default/a")
		if err := k.Set(t.Context(), "default/a", false, ""); !errors.Is(err, s.fault) {
			t.Errorf("set without a store: %v", err)
		}
		s.fault = nil
		if err := s.Commit(t.Context(), store.Op{Key: "events/pauses", Value: []byte(`[]`)}); err != nil {
			t.Fatal(err)
		}
		if err := k.Set(t.Context(), "default/a", false, ""); err == nil {
			t.Error("what is no JSON object is taken")
		}
		d.want(t, 1, "default/a")
	})
}
