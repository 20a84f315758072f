package store

import (
	"context"
	"errors"
	"sync"
)

// ErrLost reports a commit by one that does not hold its lock any more: nothing
// of it was applied, and nothing ever will be.
var ErrLost = errors.New("store: lock lost")

// Fence is what the holder of a lock commits with, so that one who has lost the
// lock, and does not know it yet, changes nothing.
type Fence interface {
	// Commit is Store.Commit of ops that fit one transaction of the backend, and
	// answers ErrLost once the lock is lost. It returns the version that every
	// written key has now; 0 where ops only delete.
	Commit(ctx context.Context, ops ...Op) (version uint64, err error)
}

// Fencer is a Locker whose holders can tie what they write to the lock.
type Fencer interface {
	// HoldFenced is Locker.Hold, and gives do a Fence that holds until do returns.
	HoldFenced(ctx context.Context, name string, do func(context.Context, Fence))
}

// Fenced calls do with a Fence over commit that ends when do returns: enough
// where a lock is lost only by being given back, among goroutines of a process.
func Fenced(ctx context.Context, commit func(context.Context, ...Op) (uint64, error), do func(context.Context, Fence)) {
	f := &localFence{commit: commit}
	defer f.end()
	do(ctx, f)
}

type localFence struct {
	commit func(context.Context, ...Op) (uint64, error)

	mu    sync.RWMutex
	ended bool
}

func (f *localFence) Commit(ctx context.Context, ops ...Op) (uint64, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.ended {
		return 0, ErrLost
	}
	return f.commit(ctx, ops...)
}

func (f *localFence) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
}
