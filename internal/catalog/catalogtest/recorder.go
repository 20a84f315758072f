// Package catalogtest holds the contract of catalog.Source as one suite that
// every adapter passes, and what tests of an adapter need to watch it.
package catalogtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"meshlite.dev/internal/catalog"
)

// Recorder runs a source and keeps what it publishes.
type Recorder struct {
	Source catalog.Source

	tb     testing.TB
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // valid once ended is closed

	mu        sync.Mutex
	snapshots []catalog.Snapshot
	changed   chan struct{} // closed and replaced with every snapshot
}

// Record starts the source; it is stopped at the end of the test.
func Record(tb testing.TB, s catalog.Source) *Recorder {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Recorder{Source: s, tb: tb, cancel: cancel, ended: make(chan struct{}), changed: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.err = s.Run(ctx, r.publish)
	}()
	tb.Cleanup(func() { _ = r.Stop() })
	return r
}

func (r *Recorder) publish(s catalog.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.snapshots = append(r.snapshots, s)
	close(r.changed)
	r.changed = make(chan struct{})
}

// Stop ends the source and returns what Run returned.
func (r *Recorder) Stop() error {
	r.cancel()
	return r.Wait(20 * time.Second)
}

// Wait returns what Run returned, once it has.
func (r *Recorder) Wait(limit time.Duration) error {
	select {
	case <-r.ended:
		return r.err
	case <-time.After(limit):
		r.tb.Errorf("Run has not returned within %s", limit)
		return nil
	}
}

// All returns every snapshot so far.
func (r *Recorder) All() []catalog.Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]catalog.Snapshot(nil), r.snapshots...)
}

// Count is how many snapshots there were.
func (r *Recorder) Count() int { return len(r.All()) }

// Latest returns the newest snapshot; the zero value before the first.
func (r *Recorder) Latest() catalog.Snapshot {
	all := r.All()
	if len(all) == 0 {
		return catalog.Snapshot{}
	}
	return all[len(all)-1]
}

// Service returns a service of the newest snapshot, nil where it has none.
func (r *Recorder) Service(name string) *catalog.Service {
	s, _ := r.Latest().Services.Get(name)
	return s
}

// Addresses lists the endpoints of a service as HOST:PORT=HEALTH, "none" where
// the service is not there, "not synced" where it is a name alone.
func (r *Recorder) Addresses(name string) string { return Addresses(r.Service(name)) }

// Addresses lists the endpoints of s as Recorder.Addresses does.
func Addresses(s *catalog.Service) string {
	switch {
	case s == nil:
		return "none"
	case !s.Synced:
		return "not synced"
	}
	out := ""
	for i, e := range s.Endpoints {
		if i > 0 {
			out += " "
		}
		out += fmt.Sprintf("%s:%d=%s", e.Address, e.Port, e.Health)
	}
	return out
}

// Until waits until check succeeds, looking after every snapshot and every
// 20 ms, and fails the test when it has not within limit.
func (r *Recorder) Until(limit time.Duration, what string, check func() error) {
	r.tb.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		err := check()
		if err == nil {
			return
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-r.ended:
			r.tb.Fatalf("%s: Run returned %v; %v", what, r.err, err)
		case <-deadline:
			r.tb.Fatalf("%s: not within %s: %v\nstatus: %+v", what, limit, err, r.Source.Status())
		}
	}
}

// UntilAddresses waits until a service has these endpoints.
func (r *Recorder) UntilAddresses(limit time.Duration, service, want string) {
	r.tb.Helper()
	r.Until(limit, service, func() error {
		if got := r.Addresses(service); got != want {
			return fmt.Errorf("endpoints of %s are [%s], want [%s]", service, got, want)
		}
		return nil
	})
}

// Always fails the test when check does within d.
func (r *Recorder) Always(d time.Duration, what string, check func() error) {
	r.tb.Helper()
	end := time.After(d)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := check(); err != nil {
			r.tb.Fatalf("%s: %v\nstatus: %+v", what, err, r.Source.Status())
		}
		select {
		case <-tick.C:
		case <-end:
			return
		}
	}
}

// Held returns the hold on a service, nil where there is none.
func (r *Recorder) Held(service string) *catalog.Hold {
	for _, h := range r.Source.Status().Holds {
		if h.Service == service {
			return &h
		}
	}
	return nil
}
