package storetest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"meshlite.dev/internal/store"
)

// Locks is how the suite reaches the locks of one backend.
type Locks struct {
	// Open returns the locks as one more process sees them.
	Open func(t *testing.T) store.Locker
	// Cut parts the process that l was opened for from the backend, without a
	// word and for good. Nil where the locks live in the process itself.
	Cut func(l store.Locker)
	// Outage takes the backend away from everybody until over is called. Nil
	// where that cannot be.
	Outage func() (over func())
}

const (
	soon = 5 * time.Second  // a lock that was given back
	dead = 15 * time.Second // the lock of a process that is gone; what store.Locker promises
)

// RunLocker checks the contract of store.Locker; open returns locks that
// nobody holds.
func RunLocker(t *testing.T, open func(t *testing.T) Locks) {
	t.Run("of many one holds", func(t *testing.T) { oneOfMany(t, open(t)) })
	t.Run("a lock given back goes to the next", func(t *testing.T) { handOn(t, open(t)) })
	t.Run("locks of two names are two", func(t *testing.T) { twoNames(t, open(t)) })
	t.Run("the end of ctx ends the work and the wait", func(t *testing.T) { ended(t, open(t)) })
	t.Run("who gives a lock back gets it again", func(t *testing.T) { again(t, open(t)) })
	t.Run("a holder that is cut off stops, then the next begins", func(t *testing.T) {
		if l := open(t); l.Cut != nil {
			cutOff(t, l)
		}
	})
	t.Run("an outage of the backend is waited out", func(t *testing.T) {
		if l := open(t); l.Outage != nil {
			outage(t, l)
		}
	})
}

// contender is one process that wants a lock. held has a value while it holds
// it: the context of the work.
type contender struct {
	locker store.Locker
	held   chan context.Context
	free   chan struct{} // lets the work return
	leave  context.CancelFunc
	left   chan struct{}
}

func contend(t *testing.T, l Locks, name string) *contender {
	ctx, leave := context.WithCancel(t.Context())
	c := &contender{
		locker: l.Open(t), held: make(chan context.Context), free: make(chan struct{}, 16),
		leave: leave, left: make(chan struct{}),
	}
	go func() {
		defer close(c.left)
		c.locker.Hold(ctx, name, func(work context.Context) {
			select {
			case c.held <- work:
			case <-work.Done():
				return
			}
			select {
			case <-c.free:
			case <-work.Done():
			}
		})
	}()
	t.Cleanup(func() { leave(); <-c.left })
	return c
}

func (c *contender) holds(t *testing.T, within time.Duration) context.Context {
	t.Helper()
	select {
	case work := <-c.held:
		return work
	case <-time.After(within):
		t.Fatalf("the lock was not held within %s", within)
		return nil
	}
}

func (c *contender) waits(t *testing.T, d time.Duration, why string) {
	t.Helper()
	select {
	case <-c.held:
		t.Fatal(why)
	case <-time.After(d):
	}
}

func closed(t *testing.T, c <-chan struct{}, within time.Duration, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(within):
		t.Fatalf("%s: not within %s", what, within)
	}
}

func oneOfMany(t *testing.T, l Locks) {
	const many = 8
	var inside atomic.Int32
	errs, left := make(chan error, many), make(chan struct{}, many)
	for i := range many {
		locker := l.Open(t)
		go func() {
			defer func() { left <- struct{}{} }()
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			locker.Hold(ctx, "one", func(context.Context) {
				if n := inside.Add(1); n != 1 {
					errs <- fmt.Errorf("contender %d: %d hold the lock", i, n)
				}
				time.AfterFunc(10*time.Millisecond, leave)
				<-ctx.Done()
				inside.Add(-1)
			})
		}()
	}
	late := time.After(many * soon)
	for range many {
		select {
		case <-left:
		case <-late:
			t.Fatal("not everybody got the lock")
		}
	}
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}

func handOn(t *testing.T, l Locks) {
	a := contend(t, l, "handed")
	a.holds(t, soon)
	b := contend(t, l, "handed")
	b.waits(t, time.Second, "two hold the lock")
	a.leave()
	b.holds(t, soon)
}

func twoNames(t *testing.T, l Locks) {
	contend(t, l, "a").holds(t, soon)
	contend(t, l, "b").holds(t, soon)
}

func ended(t *testing.T, l Locks) {
	a := contend(t, l, "ended")
	work := a.holds(t, soon)
	b := contend(t, l, "ended")
	b.leave()
	closed(t, b.left, soon, "Hold returns to one that waits")
	a.leave()
	closed(t, work.Done(), soon, "the work's context ends")
	closed(t, a.left, soon, "Hold returns to the holder")
	contend(t, l, "ended").holds(t, soon)
}

func again(t *testing.T, l Locks) {
	a := contend(t, l, "again")
	for range 2 {
		work := a.holds(t, soon)
		a.free <- struct{}{}
		closed(t, work.Done(), soon, "the work's context ends when it returned")
	}
}

func cutOff(t *testing.T, l Locks) {
	a := contend(t, l, "cut")
	work := a.holds(t, soon)
	b := contend(t, l, "cut")
	b.waits(t, time.Second, "two hold the lock")
	l.Cut(a.locker)
	b.holds(t, dead)
	if work.Err() == nil {
		t.Error("the next began before the holder was told to stop")
	}
}

func outage(t *testing.T, l Locks) {
	a := contend(t, l, "outage")
	work := a.holds(t, soon)
	b := contend(t, l, "outage")
	over := l.Outage()
	closed(t, work.Done(), dead, "the holder is told to stop")
	over()
	var next context.Context
	select {
	case next = <-a.held:
	case next = <-b.held:
	case <-time.After(2 * dead):
		t.Fatal("nobody got the lock after the outage")
	}
	if next.Err() != nil {
		t.Error("a lock was handed out that is lost already")
	}
}
