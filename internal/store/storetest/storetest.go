// Package storetest holds the contract of store.Store: every backend passes
// Run unchanged.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"meshlite.dev/internal/store"
)

// Run checks the contract; open returns an empty store for each test.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	t.Run("a missing key is ErrNotFound", func(t *testing.T) {
		if _, err := open(t).Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("Get = %v", err)
		}
	})
	t.Run("what was committed is read back byte for byte", func(t *testing.T) { roundTrip(t, open(t)) })
	t.Run("a prefix lists its keys in order", func(t *testing.T) { list(t, open(t)) })
	t.Run("a commit applies all ops or none", func(t *testing.T) { allOrNone(t, open(t)) })
	t.Run("version 0 demands that the key does not exist", func(t *testing.T) { create(t, open(t)) })
	t.Run("a deleted key is gone and may be created again", func(t *testing.T) { remove(t, open(t)) })
	t.Run("a put of the same value gives a new version", func(t *testing.T) { putAgain(t, open(t)) })
	t.Run("a delete may demand a version", func(t *testing.T) { removeChecked(t, open(t)) })
	t.Run("a commit may be large", func(t *testing.T) { large(t, open(t)) })
	t.Run("compare and set loses no increment", func(t *testing.T) { race(t, open(t)) })
}

func put(t *testing.T, s store.Store, ops ...store.Op) {
	t.Helper()
	if err := s.Commit(t.Context(), ops...); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

func roundTrip(t *testing.T, s store.Store) {
	for i, v := range [][]byte{[]byte(`{"a":1}`), []byte(`{ "a" : 1 }`), []byte("<&>"), {0, 255, 10}, {}} {
		key := "k/" + strconv.Itoa(i)
		put(t, s, store.Op{Key: key, Value: v})
		got, err := s.Get(t.Context(), key)
		if err != nil || !bytes.Equal(got.Value, v) || got.Version == 0 || got.Key != key {
			t.Errorf("%s = %q version %d, %v; want %q", key, got.Value, got.Version, err, v)
		}
	}
}

func list(t *testing.T, s store.Store) {
	put(t, s, store.Op{Key: "b/2", Value: []byte("x")}, store.Op{Key: "a/1", Value: []byte("x")}, store.Op{Key: "b/1", Value: []byte("x")})
	got, err := s.List(t.Context(), "b/")
	if err != nil || len(got) != 2 || got[0].Key != "b/1" || got[1].Key != "b/2" {
		t.Fatalf("List = %v, %v", got, err)
	}
}

func allOrNone(t *testing.T, s store.Store) {
	put(t, s, store.Op{Key: "a", Value: []byte("1")})
	err := s.Commit(t.Context(), store.Op{Key: "b", Value: []byte("2")}, store.Op{Key: "a", Value: []byte("3"), Check: true, IfVersion: 999})
	if !errors.Is(err, store.ErrConflict) {
		t.Fatalf("Commit = %v, want ErrConflict", err)
	}
	if _, err := s.Get(t.Context(), "b"); !errors.Is(err, store.ErrNotFound) {
		t.Error("half of a refused commit was applied")
	}
}

func create(t *testing.T, s store.Store) {
	op := store.Op{Key: "a", Value: []byte("1"), Check: true}
	put(t, s, op)
	if err := s.Commit(t.Context(), op); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("second create = %v, want ErrConflict", err)
	}
}

func remove(t *testing.T, s store.Store) {
	put(t, s, store.Op{Key: "a", Value: []byte("1")})
	put(t, s, store.Op{Key: "a"})
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Get = %v", err)
	}
	put(t, s, store.Op{Key: "a", Value: []byte("2"), Check: true})
}

func putAgain(t *testing.T, s store.Store) {
	var last uint64
	for range 3 {
		put(t, s, store.Op{Key: "a", Value: []byte("1")})
		e, err := s.Get(t.Context(), "a")
		if err != nil || e.Version <= last {
			t.Fatalf("version %d after %d, %v", e.Version, last, err)
		}
		last = e.Version
	}
}

func removeChecked(t *testing.T, s store.Store) {
	put(t, s, store.Op{Key: "a", Value: []byte("1")})
	old, err := s.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, store.Op{Key: "a", Value: []byte("1")})
	for _, version := range []uint64{0, old.Version} {
		if err := s.Commit(t.Context(), store.Op{Key: "a", Check: true, IfVersion: version}); !errors.Is(err, store.ErrConflict) {
			t.Errorf("a delete of version %d = %v, want ErrConflict", version, err)
		}
	}
	now, err := s.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, store.Op{Key: "a", Check: true, IfVersion: now.Version})
	if err := s.Commit(t.Context(), store.Op{Key: "a", Check: true, IfVersion: now.Version}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a second delete = %v, want ErrConflict", err)
	}
}

// large is more than one transaction of most backends takes.
func large(t *testing.T, s store.Store) {
	const n = 300
	ops := []store.Op{{Key: "pointer", Value: []byte("1"), Check: true}}
	for i := range n {
		ops = append(ops, store.Op{Key: fmt.Sprintf("d/%03d", i), Value: bytes.Repeat([]byte("x"), 2_000)})
	}
	put(t, s, ops...)
	if err := s.Commit(t.Context(), ops...); !errors.Is(err, store.ErrConflict) {
		t.Errorf("the same again = %v, want ErrConflict", err)
	}
	all, err := s.List(t.Context(), "d/")
	if err != nil || len(all) != n || all[7].Key != "d/007" {
		t.Fatalf("%d entries, %v", len(all), err)
	}
	pointer, err := s.Get(t.Context(), "pointer")
	if err != nil {
		t.Fatal(err)
	}
	ops = []store.Op{{Key: "pointer", Value: []byte("2"), Check: true, IfVersion: pointer.Version}}
	for _, e := range all {
		ops = append(ops, store.Op{Key: e.Key})
	}
	put(t, s, ops...)
	if all, err := s.List(t.Context(), "d/"); err != nil || len(all) != 0 {
		t.Errorf("%d entries are left, %v", len(all), err)
	}
}

func race(t *testing.T, s store.Store) {
	const workers, each = 4, 5
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	for range workers {
		wg.Go(func() {
			for range each {
				if err := increment(t.Context(), s); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	if e, err := s.Get(t.Context(), "n"); err != nil || string(e.Value) != strconv.Itoa(workers*each) {
		t.Fatalf("n = %q, %v; want %d", e.Value, err, workers*each)
	}
}

func increment(ctx context.Context, s store.Store) error {
	for {
		e, err := s.Get(ctx, "n")
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		n, _ := strconv.Atoi(string(e.Value)) // absent counts as 0
		err = s.Commit(ctx, store.Op{Key: "n", Value: fmt.Append(nil, n+1), Check: true, IfVersion: e.Version})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}
