package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

var errNotYet = errors.New("not yet")

func errEnded(p *Process) error {
	return fmt.Errorf("%s ended: %w\n%s", p.Name, p.err, tail(p.Log(), 20))
}

type stopError struct{ error }

// Stop marks err as one that waiting does not cure: Until fails at once.
func Stop(err error) error { return stopError{err} }

// Until asks cond again and again until it returns nil, and fails t with its
// last error once limit has passed. It returns how long that took.
func Until(t T, limit time.Duration, what string, cond func() error) time.Duration {
	t.Helper()
	begin := time.Now()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		err := cond()
		if err == nil {
			return time.Since(begin)
		}
		var stop stopError
		if errors.As(err, &stop) || time.Since(begin) > limit {
			t.Fatalf("%s: not within %s: %v", what, limit, err)
		}
		select {
		case <-poll.C:
		case <-t.Context().Done():
			t.Fatalf("%s: interrupted: %v", what, err)
		}
	}
}

// Hold asks cond again and again for all of span and fails t at its first
// error: what must stay true.
func Hold(t T, span time.Duration, what string, cond func() error) {
	t.Helper()
	end := time.NewTimer(span)
	defer end.Stop()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		if err := cond(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		select {
		case <-poll.C:
		case <-end.C:
			return
		case <-t.Context().Done():
			t.Fatalf("%s: interrupted", what)
		}
	}
}

// Ports below the range that the kernel takes for outgoing connections, so
// that nothing else takes one between its choice and its use.
var ports = struct {
	mu   sync.Mutex
	next int
}{next: 20000 + rand.IntN(10000)}

// FreePort returns a loopback port that nobody listens on and that it has not
// given out before.
func FreePort(t T) int {
	t.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
	for range 10000 {
		ports.next++
		if ports.next >= 32000 {
			ports.next = 20000
		}
		lis, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", ports.next))
		if err == nil {
			lis.Close()
			return ports.next
		}
	}
	t.Fatalf("no free port on 127.0.0.1 between 20000 and 32000")
	return 0
}
