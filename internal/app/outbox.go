package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/admin/metrics"
	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/amqp"
	"meshlite.dev/internal/events/outbox"
	"meshlite.dev/internal/events/teller"
	"meshlite.dev/internal/events/web"
	"meshlite.dev/internal/store"
)

// eventRole is the log of events and what tells the mesh's own. Where it cannot
// work the rest of the server does.
type eventRole struct {
	box    *outbox.Outbox // nil: it could not be opened
	teller *teller.Teller
	fault  error       // why box is nil
	apps   bool        // those of applications are taken
	relay  *amqp.Relay // with broker; nil: there is none
	broker *amqp.Broker

	subscriptions *subscriptions // nil without the role, or the log
}

// localStore is what openEvents needs of this process's own store.
type localStore interface {
	store.Store
	store.Locker
}

// openEvents opens the outbox. A fault of it is told by doctor, in the log and
// to whoever asks for events, and is no reason not to serve Envoys.
func (a *app) openEvents(ctx context.Context, cfg Config, state localStore, shared sharedStore) {
	if cfg.Events == EventsOff {
		return
	}
	a.events = &eventRole{apps: cfg.has("events")}
	limits := outbox.DefaultLimits()
	limits.Broker = cfg.Events == EventsAMQP
	a.events.box, a.events.fault = outbox.Open(filepath.Join(cfg.StateDir, "outbox.db"), limits)
	if a.events.fault != nil {
		a.log.ErrorContext(ctx, "no events: mend it and start again; all else works", "err", a.events.fault)
		return
	}
	replica, err := os.Hostname()
	if err != nil {
		replica = "xds-server" // it only names us to people
	}
	c := teller.Config{Outbox: a.events.box, Lock: state, Store: state, Replica: replica, Log: a.log}
	if shared != nil {
		c.Lock, c.Store = shared, shared
	}
	started := time.Now()
	c.World = func() (teller.World, bool) { return a.world(replica, started) }
	a.events.teller = teller.New(c)
	if cfg.Events == EventsAMQP {
		to := cfg.AMQP
		to.Name = "xds-server " + replica
		a.events.broker = amqp.NewBroker(to)
		a.events.relay = amqp.New(a.events.box, a.events.broker.Dial, a.log)
	}
}

// taking reports whether applications may publish.
func (e *eventRole) taking() bool { return e != nil && e.apps }

// run tells and publishes until ctx ends.
func (e *eventRole) run(ctx context.Context) error {
	if e == nil || e.box == nil {
		return nil
	}
	var g errgroup.Group
	g.Go(func() error { return e.teller.Run(ctx) })
	if e.relay != nil {
		g.Go(func() error { return e.relay.Run(ctx) })
	}
	g.Go(func() error { return e.subscriptions.run(ctx) })
	return errors.Join(g.Wait(), e.close())
}

func (e *eventRole) close() error {
	if e == nil || e.box == nil {
		return nil
	}
	return e.box.Close()
}

// poke says that something may have changed.
func (e *eventRole) poke() {
	if e != nil && e.teller != nil {
		e.teller.Poke()
	}
}

// problem is why events are not kept; "" where they are, or are not wanted.
func (e *eventRole) problem() string {
	switch {
	case e == nil:
		return ""
	case e.fault != nil:
		return e.fault.Error()
	}
	return e.teller.Problem()
}

// waiting is why events wait for the broker; "" where they do not.
func (e *eventRole) waiting() string {
	if e == nil || e.relay == nil {
		return ""
	}
	return cmp.Or(e.relay.Problem(), e.broker.Blocked())
}

// eventStats is read by a scrape.
func (a *app) eventStats() (m metrics.Events, ok bool) {
	e := a.events
	if e == nil {
		return m, false
	}
	m.Problem = e.problem() != ""
	if e.box != nil {
		s := e.box.Stats()
		m.Depth, m.Bytes, m.Kept, m.Told = s.Depth(), s.Bytes, s.Last, e.teller.Told()
		if e.relay != nil {
			m.Broker = &metrics.EventBroker{
				Waiting: s.Last - s.Published, Published: e.relay.Sent(), Unroutable: e.broker.Unroutable(), Connected: e.waiting() == "",
			}
		}
	}
	return m, true
}

// check is a line of doctor.
func (e *eventRole) check(context.Context) []adminapi.Check {
	c := adminapi.Check{Name: "events", Status: "ok", Message: "events are kept"}
	if p := e.problem(); p != "" {
		c.Status, c.Message, c.Hint = "error", p, "Envoys are served all the same; look at the disk under --state-dir"
	}
	if e.relay == nil {
		return []adminapi.Check{c}
	}
	b := adminapi.Check{Name: "broker", Status: "ok", Message: "events are published to the exchange " + amqp.Exchange}
	if p := e.waiting(); p != "" {
		s := e.box.Stats()
		b.Status, b.Message = "error", fmt.Sprintf("%d events wait: %s", s.Last-s.Published, p)
		b.Hint = "they are kept, and go once the broker takes them; Envoys are served all the same"
	}
	return []adminapi.Check{c, b}
}

// log is what the admin API reads; nil where events are off.
func (e *eventRole) log() admin.Events {
	if e == nil {
		return nil
	}
	return eventLog{e}
}

// eventLog serves the log, or says why there is none.
type eventLog struct{ *eventRole }

var _ admin.Events = eventLog{}

// Read implements admin.Events.
func (l eventLog) Read(after uint64, most int) ([]events.Record, error) {
	if l.fault != nil {
		return nil, l.fault
	}
	return l.box.Read(after, most)
}

// Before implements admin.Events.
func (l eventLog) Before(at time.Time) (uint64, error) {
	if l.fault != nil {
		return 0, l.fault
	}
	return l.box.Before(at)
}

// Kept implements admin.Events.
func (l eventLog) Kept() (first, last uint64, err error) {
	if l.fault != nil {
		return 0, 0, l.fault
	}
	s := l.box.Stats()
	return s.First, s.Last, nil
}

// News implements admin.Events.
func (l eventLog) News() <-chan struct{} {
	if l.fault != nil {
		return nil // never
	}
	return l.box.News()
}

// Publish implements admin.Events.
func (l eventLog) Publish(_ context.Context, all []events.Event) ([]events.Event, error) {
	if l.fault != nil {
		return nil, l.fault
	}
	kept, err := l.keep(all)
	if errors.Is(err, outbox.ErrFull) {
		err = fmt.Errorf("%w: %w", web.ErrFull, err)
	}
	return kept, err
}

// keep keeps events in the log.
func (e *eventRole) keep(all []events.Event) ([]events.Event, error) {
	return e.box.Append(func(uint64) []events.Event { return slices.Clone(all) }, nil)
}

// tell keeps events of our own.
func (e *eventRole) tell(all []events.Event) error {
	_, err := e.keep(all)
	return err
}

// Republish implements admin.Events.
func (l eventLog) Republish(ctx context.Context, all []events.Record) (int, error) {
	if l.relay == nil {
		return 0, admin.ErrNoBroker
	}
	return l.relay.Republish(ctx, all)
}
