// Package store is the small compare-and-set port under everything that must
// survive a restart: the policy revision in force, the pointer to it, the last
// known good catalog. Backends: file (one state.json), kv (Consul), kube and mem;
// storetest holds the contract that all pass.
package store

import (
	"context"
	"errors"
)

// ErrNotFound reports that a key has no value.
var ErrNotFound = errors.New("store: not found")

// ErrConflict reports that a key moved since it was read. Read again, then
// retry.
var ErrConflict = errors.New("store: conflict")

// Entry is a value and the version to name when replacing it.
type Entry struct {
	Key     string
	Value   []byte // never changed by the store or the caller after the call
	Version uint64 // over 0
}

// Op changes one key of a Commit.
type Op struct {
	Key   string
	Value []byte // nil deletes the key
	// Check makes the whole Commit fail with ErrConflict unless the key's
	// version is IfVersion; 0 means that the key must not exist.
	Check     bool
	IfVersion uint64
}

// Store keeps small values (up to 1 MiB each) under slash-separated keys.
// Methods may be called by many goroutines.
type Store interface {
	// Get returns the entry, or ErrNotFound.
	Get(ctx context.Context, key string) (Entry, error)
	// List returns the entries whose keys start with prefix, sorted by key.
	List(ctx context.Context, prefix string) ([]Entry, error)
	// Commit applies all ops or none, durably before it returns. Every put gives
	// its key a new version, also with the value that it has.
	//
	// A backend whose transactions do not take that much (Consul beyond 120
	// operations or 350 KiB; Kubernetes takes one key) compares the versions of
	// all checked ops first, and then keeps this order: puts without a check in
	// the order of ops, checked ops, deletes without a check. A conflict, a fault
	// or a crash on the way leaves what was done before it. So put without a
	// check, beside a checked op, only what means nothing until that op points
	// to it, such as immutable values under the hash of their content; and name
	// the pointer last.
	Commit(ctx context.Context, ops ...Op) error
}

// Locker lets one replica at a time do what must not be done twice.
type Locker interface {
	// Hold waits until this process alone holds the named lock and calls do
	// with a context that ends when the lock is lost or ctx ends; when do
	// returns, the lock is released. Until ctx ends it tries again, also after
	// a failure of the backend; it then returns. A lock that is held is lost at
	// the latest 15 s after its holder died.
	Hold(ctx context.Context, name string, do func(context.Context))
}

// Board shows each replica a note of every other one. Notes are small, up to
// 512 KiB, and no record: each goes with its replica.
type Board interface {
	// Post shows the newest of notes, once there is one, to all who post on the
	// same board, and calls heard with the notes of the others, by a name that
	// each process has for as long as it posts: once the board has been read and
	// whenever it changes, from one goroutine at a time. Until ctx ends it tries
	// again, also after a failure of the backend, during which what was heard
	// last stands. A note is gone at the latest 30 s after its replica died, and
	// at once when Post returns.
	Post(ctx context.Context, board string, notes <-chan []byte, heard func(map[string][]byte))
}
