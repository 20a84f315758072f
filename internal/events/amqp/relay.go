// Package amqp publishes the log of events to a topic exchange of an AMQP 0-9-1
// broker such as RabbitMQ: in order, persistent, and each until the broker has
// confirmed it. A broker that is away only delays. The log comes through Log, the
// broker's library stays in this package.
package amqp

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/store"
)

const (
	// window is how many events may wait for their confirms.
	window = 512
	// firstPause and longestPause are between two tries to connect, with jitter.
	firstPause, longestPause = 500 * time.Millisecond, 30 * time.Second
)

// Log is what is published: what stands after Published, in order.
type Log interface {
	Read(after uint64, most int) ([]events.Record, error)
	News() <-chan struct{}
	Published() uint64
	Publish(sequence uint64) error // it and all before it are with the broker
}

// Dial makes a session with the broker.
type Dial func(ctx context.Context) (Session, error)

// Session is one connection to the broker. One goroutine uses it.
type Session interface {
	// Publish sends events in order and returns how many of them, from the first
	// on, the broker confirmed. An error ends the session.
	Publish(ctx context.Context, all []events.Record) (confirmed int, err error)
	// Idle waits until wake is closed or ctx ends; it returns an error once the
	// session has ended.
	Idle(ctx context.Context, wake <-chan struct{}) error
	Close()
}

// Relay publishes. Make one with New.
type Relay struct {
	log   Log
	dial  Dial
	slog  *slog.Logger
	fault atomic.Pointer[string] // nil: connected
	sent  atomic.Uint64
}

// New returns a relay that does nothing before Run. slog nil is silent.
func New(log Log, dial Dial, logger *slog.Logger) *Relay {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	r := &Relay{log: log, dial: dial, slog: logger}
	text := "not connected yet"
	r.fault.Store(&text)
	return r
}

// Problem says why nothing is published; "" while the broker is connected.
func (r *Relay) Problem() string {
	if p := r.fault.Load(); p != nil {
		return *p
	}
	return ""
}

// Sent counts the events that the broker confirmed since the start.
func (r *Relay) Sent() uint64 { return r.sent.Load() }

// Run publishes until ctx ends. Whatever fails is tried again.
func (r *Relay) Run(ctx context.Context) error {
	pause := firstPause
	for {
		before := r.sent.Load()
		err := r.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if r.sent.Load() > before {
			pause = firstPause
		}
		text := err.Error()
		if old := r.fault.Swap(&text); old == nil || *old != text {
			r.slog.WarnContext(ctx, "events wait for the broker", "err", err)
		}
		if !store.Rest(ctx, pause/2+rand.N(pause/2)) {
			return nil
		}
		pause = min(2*pause, longestPause)
	}
}

// Republish sends events again, over a connection of its own, and returns how
// many the broker confirmed, from the first on.
func (r *Relay) Republish(ctx context.Context, all []events.Record) (confirmed int, err error) {
	if len(all) == 0 {
		return 0, nil
	}
	s, err := r.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	for part := range slices.Chunk(all, window) {
		n, err := s.Publish(ctx, part)
		confirmed += n
		if err != nil {
			return confirmed, err
		}
	}
	return confirmed, nil
}

// session publishes over one connection until it ends.
func (r *Relay) session(ctx context.Context) error {
	s, err := r.dial(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if r.fault.Swap(nil) != nil {
		r.slog.InfoContext(ctx, "events go to the broker")
	}
	for {
		news := r.log.News()
		page, err := r.log.Read(r.log.Published(), window)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			if err := s.Idle(ctx, news); err != nil || ctx.Err() != nil {
				return err
			}
			continue
		}
		n, err := s.Publish(ctx, page)
		if n > 0 {
			r.sent.Add(uint64(n))
			if failed := r.log.Publish(page[n-1].Sequence); failed != nil {
				return failed // they are published again: the same events
			}
		}
		if err != nil {
			return err
		}
	}
}
