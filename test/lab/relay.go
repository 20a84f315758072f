package lab

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// Relay carries bytes between a program and the server that it thinks it speaks to,
// until Cut: then nothing passes in either direction and no connection is closed, as
// when a network has parted. Mend ends the connections of before and lets new ones
// through.
type Relay struct {
	Addr string // HOST:PORT, to be given in the server's place
	to   string

	mu    sync.Mutex
	cut   chan struct{} // closed while cut
	conns map[net.Conn]struct{}
}

// Relay starts one to HOST:PORT.
func (l *Lab) Relay(to string) *Relay {
	l.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.Fatalf("listen for a relay: %v", err)
	}
	r := &Relay{Addr: lis.Addr().String(), to: to, cut: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	ctx, cancel := context.WithCancel(context.Background())
	var crew sync.WaitGroup
	crew.Go(func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return // closed below
			}
			crew.Go(func() { r.carry(ctx, c) })
		}
	})
	l.Cleanup(func() {
		cancel()
		_ = lis.Close()
		r.hangUp()
		crew.Wait()
	})
	return r
}

// Cut parts the network.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.cut)
}

// Mend joins it again.
func (r *Relay) Mend() {
	r.mu.Lock()
	r.cut = make(chan struct{})
	r.mu.Unlock()
	r.hangUp()
}

func (r *Relay) hangUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		_ = c.Close()
	}
}

func (r *Relay) parted() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cut
}

func (r *Relay) hold(c net.Conn) (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[c] = struct{}{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.conns, c)
		_ = c.Close()
	}
}

// carry serves one connection.
func (r *Relay) carry(ctx context.Context, c net.Conn) {
	defer r.hold(c)()
	far, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", r.to)
	if err != nil {
		return
	}
	defer r.hold(far)()
	var crew sync.WaitGroup
	crew.Go(func() { r.pump(far, c) })
	crew.Go(func() { r.pump(c, far) })
	crew.Wait()
}

// pump copies until either end goes; what it has read while the network is parted
// it keeps, and never hands on.
func (r *Relay) pump(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-r.parted():
			_, _ = io.Copy(io.Discard, from) // until Mend hangs up
			return
		default:
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
