//go:build e2e

package kv_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"meshlite.dev/internal/catalog/consul/consultest"
	"meshlite.dev/internal/store"
	"meshlite.dev/internal/store/kv"
	"meshlite.dev/internal/store/storetest"
)

// TestLocks gives every contender a connection of its own to one real Consul,
// which keeps its data when it is killed.
func TestLocks(t *testing.T) {
	open, cut, outage := processes(t)
	storetest.RunLocker(t, func(*testing.T) storetest.Locks {
		join := open()
		return storetest.Locks{
			Open:   func(t *testing.T) store.Locker { return join(t) },
			Cut:    func(l store.Locker) { cut(l.(wired)) },
			Outage: outage,
		}
	})
}

// TestBoards does the same with notes.
func TestBoards(t *testing.T) {
	open, cut, outage := processes(t)
	storetest.RunBoard(t, func(*testing.T) storetest.Boards {
		join := open()
		return storetest.Boards{
			Open:   func(t *testing.T) store.Board { return join(t) },
			Cut:    func(b store.Board) { cut(b.(wired)) },
			Outage: outage,
		}
	})
}

// processes starts a Consul that keeps its data. open returns what opens stores
// of one prefix, each with a connection of its own.
func processes(t *testing.T) (open func() func(*testing.T) wired, cut func(wired), outage func() func()) {
	agent := consultest.Start(t, consultest.Options{Data: true})
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { agent.Kill(); goleak.VerifyNone(t, leaks) })
	var n atomic.Int64
	open = func() func(*testing.T) wired {
		prefix := fmt.Sprint("test", n.Add(1), "/")
		return func(t *testing.T) wired {
			w := startWire(t, agent.Addr)
			s, err := kv.New(kv.Config{Addr: w.addr, Prefix: prefix})
			if err != nil {
				t.Fatal(err)
			}
			return wired{s, w}
		}
	}
	return open, func(w wired) { w.wire.cut() }, func() func() { agent.Kill(); return agent.Run }
}

// TestALockOfAnEndedSession is taken away from its holder at once, and given
// to nobody until it must have noticed. What it writes until then is refused.
func TestALockOfAnEndedSession(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	s := open(t, agent, "ended/")
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	held, ended, lost := make(chan struct{}), make(chan struct{}), make(chan struct{})
	left := make(chan struct{})
	go func() {
		defer close(left)
		s.HoldFenced(ctx, "x", func(work context.Context, f store.Fence) {
			close(held)
			<-ended
			if _, err := f.Commit(ctx, store.Op{Key: "a", Value: []byte("late")}); !errors.Is(err, store.ErrLost) {
				t.Errorf("Commit = %v, want ErrLost", err)
			}
			<-work.Done()
			close(lost)
			leave()
		})
	}()
	<-held
	pair, _, err := agent.API().KV().Get("ended/lock/x", nil)
	if err != nil || pair == nil || pair.Session == "" {
		t.Fatalf("the lock's key is %+v, %v", pair, err)
	}
	if _, err := agent.API().Session().Destroy(pair.Session, nil); err != nil {
		t.Fatal(err)
	}
	close(ended)
	<-lost
	<-left
}

// wired is a store behind a wire that can be cut.
type wired struct {
	*kv.Store
	wire *wire
}

// wire passes connections on to an address until it is cut.
type wire struct {
	addr string
	lis  net.Listener

	mu    sync.Mutex
	conns map[net.Conn]bool
	down  bool
}

func startWire(t *testing.T, to string) *wire {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: lis.Addr().String(), lis: lis, conns: map[net.Conn]bool{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			in, err := lis.Accept()
			if err != nil {
				return
			}
			all.Go(func() { w.pass(in, to) })
		}
	})
	t.Cleanup(func() { w.cut(); all.Wait() })
	return w
}

func (w *wire) pass(in net.Conn, to string) {
	defer in.Close()
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer out.Close()
	if !w.keep(in) || !w.keep(out) {
		return
	}
	go func() { _, _ = io.Copy(out, in); out.Close(); in.Close() }()
	_, _ = io.Copy(in, out)
}

func (w *wire) keep(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[c] = true
	return !w.down
}

func (w *wire) cut() {
	w.lis.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = true
	for c := range w.conns {
		c.Close()
	}
}
