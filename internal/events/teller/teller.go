// Package teller derives the mesh's events from its state and keeps them in the
// outbox, together with what was told last. One replica at a time tells of
// services and policies, under a lock; each tells of its own proxies.
package teller

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/facts"
	"meshlite.dev/internal/store"
)

const (
	lockName = "events"
	// quiet gathers what happens at once; gap is the least time between two
	// runs, and ten times what the last one took, up to maxGap.
	quiet  = 10 * time.Millisecond
	gap    = 50 * time.Millisecond
	maxGap = 2 * time.Second
	// look is when the world is looked at without being told to: nothing tells
	// that a proxy has been silent for long.
	look = time.Second
	// again is how long after a failure the next try is made.
	again = time.Second
)

// Log keeps events and the cursor. The outbox does.
type Log interface {
	UID() string
	Cursor() (map[string][]byte, error)
	Append(make func(first uint64) []events.Event, moved map[string][]byte) ([]events.Event, error)
}

// Config is what a Teller needs; all of it but Waiting and Log.
type Config struct {
	Outbox Log
	Lock   store.Locker // one holder tells of services and policies
	Store  store.Store  // shared by all who may hold Lock: who told last, and the mesh's uid
	World  func() (World, bool)
	// Replica names this process to people.
	Replica string
	Waiting int          // transactions that may wait to be told of; 0: 100,000
	Log     *slog.Logger // nil is silent
}

// Teller tells. Make one with New.
type Teller struct {
	cfg   Config
	wake  chan struct{}        // holds one token while something may have changed
	lead  atomic.Pointer[lead] // nil while another replica holds the lock
	fault atomic.Pointer[string]
	uid   atomic.Pointer[string]
	told  atomic.Uint64
	queue *Queue
}

// New returns a teller that does nothing before Run.
func New(cfg Config) *Teller {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	t := &Teller{cfg: cfg, wake: make(chan struct{}, 1)}
	t.queue = newQueue(t.Poke, cfg.Waiting)
	return t
}

// Transactions is where those of applications are said to have changed.
func (t *Teller) Transactions() *Queue { return t.queue }

// Poke says that the world may have changed. It never waits.
func (t *Teller) Poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Problem says why nothing is told; "" where all is well.
func (t *Teller) Problem() string {
	if p := t.fault.Load(); p != nil {
		return *p
	}
	return ""
}

// Told counts the events of the mesh that were kept since the start.
func (t *Teller) Told() uint64 { return t.told.Load() }

// Run tells until ctx ends. What fails is tried again: until then nothing is
// told, and nothing is lost.
func (t *Teller) Run(ctx context.Context) error {
	d := &desk{cfg: t.cfg}
	for {
		err := t.begin(ctx, d)
		if err == nil {
			break
		}
		t.failed(ctx, err)
		if !store.Rest(ctx, again) {
			return nil
		}
	}
	held := make(chan struct{})
	go func() {
		defer close(held)
		t.cfg.Lock.Hold(ctx, lockName, t.hold)
	}()
	t.loop(ctx, d)
	<-held
	return nil
}

// begin reads what was told last.
func (t *Teller) begin(ctx context.Context, d *desk) error {
	uid, err := meshUID(ctx, t.cfg.Store)
	if err != nil {
		return fmt.Errorf("read the mesh's uid: %w", err)
	}
	raw, err := t.cfg.Outbox.Cursor()
	if err != nil {
		return err
	}
	told := memory{}
	for subject, value := range raw {
		var s facts.Subject
		if err := json.Unmarshal(value, &s); err != nil {
			return fmt.Errorf("read what was told of %s: %w", subject, err)
		}
		told.set(subject, s)
	}
	d.begin(uid, told)
	t.uid.Store(&uid)
	return nil
}

// Source is what the mesh's events have as their source; "" before the mesh's
// uid is known.
func (t *Teller) Source() string {
	if uid := t.uid.Load(); uid != nil {
		return source(*uid)
	}
	return ""
}

func source(uid string) string { return "/mesh/" + uid + "/xds-server" }

// loop owns the desk.
func (t *Teller) loop(ctx context.Context, d *desk) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	last, pause := time.Time{}, gap
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		case <-timer.C:
		}
		if !store.Rest(ctx, max(quiet, time.Until(last.Add(pause)))) {
			return
		}
		select {
		case <-t.wake: // this run sees it
		default:
		}
		start := time.Now()
		if err := t.run(ctx, d); err != nil && ctx.Err() == nil {
			t.failed(ctx, err)
		} else {
			t.fault.Store(nil)
		}
		last = time.Now()
		pause = min(max(gap, 10*last.Sub(start)), maxGap)
		timer.Reset(look)
	}
}

func (t *Teller) run(ctx context.Context, d *desk) error {
	world, ok := t.cfg.World()
	if !ok {
		return nil // nothing is served yet
	}
	l, changed := t.lead.Load(), t.queue.peek()
	n, err := d.tell(world, changed, l, time.Now())
	t.told.Add(uint64(n))
	if err == nil {
		t.queue.done(changed)
	}
	if err != nil || l == nil || !l.foreign {
		return err
	}
	return t.note(ctx, l)
}

func (t *Teller) failed(ctx context.Context, err error) {
	text := err.Error()
	if before := t.fault.Swap(&text); before == nil || *before != text {
		t.cfg.Log.ErrorContext(ctx, "no event is told; nothing is lost, and it is tried again", "err", err)
	}
}
