package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"meshlite.dev/internal/policy/filter"
)

// lookAgain is how often a subscription that could not be ended is tried again.
const lookAgain = 10 * time.Second

// Config says what a Dispatcher works with. All fields but Log are required.
type Config struct {
	Backend Backend
	// Client calls services through a proxy of the dispatcher's own, and follows no
	// redirects: httpcall.Through makes one.
	Client *http.Client
	// Source is that of the events that it tells: "/mesh/UID/xds-server"; "" while it
	// is not known, and nothing is delivered.
	Source func() string
	Log    *slog.Logger // nil is silent
}

// Dispatcher carries subscriptions out. Make one with New.
type Dispatcher struct {
	cfg  Config
	wake chan struct{} // holds one token while something changed

	mu      sync.Mutex
	told    bool // Use was called
	ready   bool // so was Pause
	wanted  []Subscription
	paused  map[string]bool
	workers map[string]*running
	clashes map[string]string // by key of those not carried out: why
}

// running is a worker and its end.
type running struct {
	*worker
	stop func() // returns once it has stopped
}

// New returns a dispatcher that does nothing before Run.
func New(cfg Config) *Dispatcher {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Dispatcher{cfg: cfg, wake: make(chan struct{}, 1), workers: map[string]*running{}, clashes: map[string]string{}}
}

// Use says which subscriptions are in force: all of them.
func (d *Dispatcher) Use(all []Subscription) {
	d.edit(func() { d.wanted, d.told = all, true })
}

// Pause says which are paused, by key: all of them. Their events wait. Nothing is
// delivered before it was called.
func (d *Dispatcher) Pause(keys map[string]bool) {
	d.edit(func() { d.paused, d.ready = maps.Clone(keys), true })
}

func (d *Dispatcher) edit(change func()) {
	d.mu.Lock()
	change()
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Run serves until ctx ends.
func (d *Dispatcher) Run(ctx context.Context) error {
	defer d.cfg.Client.CloseIdleConnections()
	defer d.reconcile(ctx, nil, nil)
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
		case <-tick.C:
		}
		d.mu.Lock()
		wanted, paused, told := d.wanted, d.paused, d.told && d.ready
		d.mu.Unlock()
		if !told {
			continue
		}
		d.reconcile(ctx, wanted, paused)
		d.drop(ctx, wanted)
	}
}

// reconcile stops the workers that are not wanted as they are, and starts others.
func (d *Dispatcher) reconcile(ctx context.Context, wanted []Subscription, paused map[string]bool) {
	chosen, clashes := choose(wanted)
	d.mu.Lock()
	d.clashes = clashes
	var ended []*running
	for key, w := range d.workers {
		if s, ok := chosen[key]; !ok || s != w.Subscription || paused[key] != w.paused {
			ended = append(ended, w)
			delete(d.workers, key)
		}
	}
	d.mu.Unlock()
	for _, w := range ended {
		w.stop() // its queue is free before another takes it
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, s := range chosen {
		if d.workers[key] == nil {
			d.workers[key] = d.start(ctx, s, paused[key])
		}
	}
}

// choose leaves out those that name a queue of another one: the first by key has it.
func choose(wanted []Subscription) (chosen map[string]Subscription, clashes map[string]string) {
	chosen, clashes = map[string]Subscription{}, map[string]string{}
	owner := map[string]string{}
	for _, s := range slices.SortedFunc(slices.Values(wanted), func(a, b Subscription) int { return cmp.Compare(a.Key(), b.Key()) }) {
		if other := cmp.Or(owner[s.Queue], owner[s.DeadLetter]); other != "" {
			clashes[s.Key()] = fmt.Sprintf("its queue %s or %s is that of subscription %s: give it another name", s.Queue, s.DeadLetter, other)
			continue
		}
		owner[s.Queue], owner[s.DeadLetter] = s.Key(), s.Key()
		chosen[s.Key()] = s
	}
	return chosen, clashes
}

func (d *Dispatcher) start(ctx context.Context, s Subscription, paused bool) *running {
	w := &worker{Subscription: s, paused: paused, backend: d.cfg.Backend, client: d.cfg.Client, source: d.cfg.Source, log: d.cfg.Log}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if s.Filter != "" {
			f, err := filter.Compile(s.Filter)
			if err != nil { // no accepted document has one
				w.broken(fmt.Errorf("the filter: %w", err))
				return
			}
			w.filter = f
		}
		w.run(ctx)
	}()
	return &running{w, func() { cancel(); <-ended }}
}

// drop ends, with the backend, what an earlier document, also one of an earlier
// run, had opened.
func (d *Dispatcher) drop(ctx context.Context, wanted []Subscription) {
	known, err := d.cfg.Backend.Known(ctx)
	if err != nil {
		d.cfg.Log.WarnContext(ctx, "subscriptions that ended are not tidied up yet", "err", err)
		return
	}
	for _, old := range known {
		if slices.ContainsFunc(wanted, func(s Subscription) bool { return s.Queue == old.Queue }) {
			continue
		}
		if err := d.cfg.Backend.Drop(ctx, old); err != nil {
			d.cfg.Log.WarnContext(ctx, "a subscription that ended is not tidied up yet", "subscription", old.Key(), "err", err)
		}
	}
}

// Of returns one that is in force, by key.
func (d *Dispatcher) Of(key string) (Subscription, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.IndexFunc(d.wanted, func(s Subscription) bool { return s.Key() == key }); i >= 0 {
		return d.wanted[i], true
	}
	return Subscription{}, false
}

// Status returns every subscription in force, sorted by key.
func (d *Dispatcher) Status(ctx context.Context) []Status {
	return d.statuses(func(w *worker) Status { return w.status(ctx) })
}

// States is Status without depths: no queue is asked.
func (d *Dispatcher) States() []Status {
	return d.statuses(func(w *worker) Status {
		s, _ := w.state()
		return s
	})
}

func (d *Dispatcher) statuses(of func(*worker) Status) []Status {
	d.mu.Lock()
	wanted, workers, clashes := d.wanted, maps.Clone(d.workers), d.clashes
	d.mu.Unlock()
	out := make([]Status, 0, len(wanted))
	for _, s := range wanted {
		switch w := workers[s.Key()]; {
		case w != nil:
			out = append(out, of(w.worker))
		case clashes[s.Key()] != "":
			out = append(out, Status{Subscription: s, State: Conflicting, Problem: clashes[s.Key()]})
		default:
			out = append(out, Status{Subscription: s, State: Interrupted, Problem: begins})
		}
	}
	slices.SortFunc(out, func(a, b Status) int { return cmp.Compare(a.Key(), b.Key()) })
	return out
}
