package mem

import (
	"context"
	"sync"
	"time"

	"meshlite.dev/internal/store"
)

// handover is how long a holder that gave a lock back waits before it asks
// again, so that others come in between.
const handover = time.Second

// locks are the named locks of one process: channels that hold one token while
// the lock is taken.
type locks struct {
	mu    sync.Mutex
	taken map[string]chan struct{}
}

func (l *locks) named(name string) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken == nil {
		l.taken = map[string]chan struct{}{}
	}
	c := l.taken[name]
	if c == nil {
		c = make(chan struct{}, 1)
		l.taken[name] = c
	}
	return c
}

var (
	_ store.Locker = (*Store)(nil)
	_ store.Fencer = (*Store)(nil)
)

// HoldFenced implements store.Fencer.
func (s *Store) HoldFenced(ctx context.Context, name string, do func(context.Context, store.Fence)) {
	s.Hold(ctx, name, func(ctx context.Context) { store.Fenced(ctx, s.commit, do) })
}

// Hold implements store.Locker, among the goroutines of one process: it dies
// with all of its holders. Those who wait come in the order in which they asked.
func (s *Store) Hold(ctx context.Context, name string, do func(context.Context)) {
	lock := s.locks.named(name)
	for {
		select {
		case <-ctx.Done():
			return
		case lock <- struct{}{}:
		}
		hold(ctx, lock, do)
		if !store.Rest(ctx, handover) {
			return
		}
	}
}

func hold(ctx context.Context, lock <-chan struct{}, do func(context.Context)) {
	defer func() { <-lock }()
	ctx, end := context.WithCancel(ctx)
	defer end()
	if ctx.Err() == nil {
		do(ctx)
	}
}
