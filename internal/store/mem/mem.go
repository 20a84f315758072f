// Package mem is the store without a disk: for tests, and the state of the
// other backends between two writes.
package mem

import (
	"context"
	"slices"
	"strings"
	"sync"

	"meshlite.dev/internal/store"
)

// Store keeps entries in memory. The zero value is not ready; use New.
type Store struct {
	mu      sync.RWMutex
	entries map[string]store.Entry
	version uint64 // of the newest entry

	locks  locks
	boards boards
}

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store { return &Store{entries: map[string]store.Entry{}} }

// Restore returns a store with the given entries, as All gave them.
func Restore(entries []store.Entry) *Store {
	s := New()
	for _, e := range entries {
		s.entries[e.Key] = e
		s.version = max(s.version, e.Version)
	}
	return s
}

// Get implements store.Store.
func (s *Store) Get(_ context.Context, key string) (store.Entry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, ok := s.entries[key]
	if !ok {
		return store.Entry{}, store.ErrNotFound
	}
	return e, nil
}

// List implements store.Store.
func (s *Store) List(_ context.Context, prefix string) ([]store.Entry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []store.Entry
	for key, e := range s.entries {
		if strings.HasPrefix(key, prefix) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b store.Entry) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, ops ...store.Op) error {
	_, err := s.commit(ctx, ops...)
	return err
}

func (s *Store) commit(ctx context.Context, ops ...store.Op) (uint64, error) {
	return s.CommitAfter(ctx, func([]store.Entry) error { return nil }, ops...)
}

// CommitAfter applies ops only if persist, which is given every entry as it
// will stand, sorted by key, succeeds. Readers see the old state until then. It
// returns the version of what was written, 0 where ops only delete.
func (s *Store) CommitAfter(_ context.Context, persist func([]store.Entry) error, ops ...store.Op) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := make(map[string]store.Entry, len(s.entries)+len(ops))
	for k, e := range s.entries {
		next[k] = e
	}
	version, written := s.version+1, uint64(0)
	for _, op := range ops {
		if op.Check && s.entries[op.Key].Version != op.IfVersion {
			return 0, store.ErrConflict
		}
		if op.Value == nil {
			delete(next, op.Key)
			continue
		}
		written = version
		next[op.Key] = store.Entry{Key: op.Key, Value: slices.Clone(op.Value), Version: version}
	}
	all := make([]store.Entry, 0, len(next))
	for _, e := range next {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b store.Entry) int { return strings.Compare(a.Key, b.Key) })
	if err := persist(all); err != nil {
		return 0, err
	}
	s.entries, s.version = next, version
	return written, nil
}
