package report

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/status"
	"meshlite.dev/internal/store"
	"meshlite.dev/internal/xds/server"
)

const (
	lockName  = "status"
	boardName = "status-replicas"

	// quiet gathers what happens at once; gap is the least time between two
	// runs, and ten times what the last one took, up to maxGap.
	quiet  = 100 * time.Millisecond
	gap    = 250 * time.Millisecond
	maxGap = 5 * time.Second
	// look is when a run is repeated while something waits for its time.
	look = time.Second
	// startGrace is how long after the start proxies may take to come back
	// before it is told that they are missing.
	startGrace = time.Minute
)

// Fleet tells how far the connected proxies are.
type Fleet interface {
	Survey(q *server.Inquiry) server.Survey
}

var _ Fleet = (*server.Server)(nil)

// Config is what a Reporter needs. View and Fleet are required.
type Config struct {
	// View returns what is served; false before anything is.
	View  func() (compile.Result, policy.Revision, bool)
	Fleet Fleet
	// Held lists the versions that rollouts keep out of force. Nil: none.
	Held func() []status.Held
	// Deliveries tells how this replica carries out subscriptions. It is asked every
	// second. Nil, or nil of it: it does not have the role.
	Deliveries func() status.Deliveries
	Sink       policy.StatusSink // nil: statuses are told, and written nowhere
	Lock       store.Locker      // required with Sink: one replica at a time writes
	Board      store.Board       // nil: there is no other replica
	// Changed hears of transitions: what was told before, if anything, and is
	// now. It must not wait. Nil hears nothing.
	Changed func(before, now policy.Status)
	Log     *slog.Logger // nil is silent
}

// Reporter keeps statuses. Make one with New; methods may be called by any
// goroutine.
type Reporter struct {
	cfg     Config
	wake    chan struct{}  // holds one token while something may have changed
	outdate atomic.Bool    // documents have to be worked out again
	stands  chan *standing // what a new holder of the lock found
	notes   chan []byte    // for the board, the newest one
	news    chan struct{}  // holds one token while the writer has not looked
	latest  atomic.Pointer[Statuses]
	peers   atomic.Pointer[map[string]status.Note]
	holding atomic.Bool
}

// New returns a reporter that does nothing before Run.
func New(cfg Config) *Reporter {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Changed == nil {
		cfg.Changed = func(policy.Status, policy.Status) {}
	}
	r := &Reporter{
		cfg: cfg, wake: make(chan struct{}, 1), stands: make(chan *standing),
		notes: make(chan []byte, 1), news: make(chan struct{}, 1),
	}
	r.outdate.Store(true)
	return r
}

// Documents says that other documents are in force, or that what they are for
// has changed.
func (r *Reporter) Documents() {
	r.outdate.Store(true)
	poke(r.wake)
}

// Proxies says that proxies came, went, or answered.
func (r *Reporter) Proxies() { poke(r.wake) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Statuses returns what is told now; nil before the first run. Shared: do not
// change it.
func (r *Reporter) Statuses() *Statuses { return r.latest.Load() }

// Run works until ctx ends.
func (r *Reporter) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	if r.cfg.Board != nil {
		wg.Go(func() { r.cfg.Board.Post(ctx, boardName, r.notes, r.heard) })
	}
	if r.cfg.Sink != nil {
		wg.Go(func() { r.cfg.Lock.Hold(ctx, lockName, r.write) })
	}
	r.loop(ctx)
	wg.Wait()
	return nil
}

// heard takes the notes of other replicas.
func (r *Reporter) heard(notes map[string][]byte) {
	all := make(map[string]status.Note, len(notes))
	for name, raw := range notes {
		n, err := status.DecodeNote(raw)
		if err != nil {
			r.cfg.Log.Warn("another replica is not understood; its proxies do not count", "replica", name, "err", err)
			continue
		}
		all[name] = n
	}
	r.peers.Store(&all)
	poke(r.wake)
}

// loop owns the desk.
func (r *Reporter) loop(ctx context.Context) {
	d := newDesk(r.cfg, time.Now())
	again := time.NewTimer(look)
	again.Stop()
	defer again.Stop()
	last, pause := time.Time{}, gap
	for {
		var found *standing
		select {
		case <-ctx.Done():
			return
		case found = <-r.stands:
		case <-r.wake:
		case <-again.C:
		}
		if !store.Rest(ctx, max(quiet, time.Until(last.Add(pause)))) {
			return
		}
		select {
		case <-r.wake: // this run sees it
		default:
		}
		start := time.Now()
		waits := r.run(d, found, start)
		last = time.Now()
		pause = min(max(gap, 10*last.Sub(start)), maxGap)
		if waits {
			again.Reset(look)
		}
	}
}

// run brings the statuses up to date and passes them on. It reports whether
// something waits for its time.
func (r *Reporter) run(d *desk, found *standing, now time.Time) (waits bool) {
	d.adopt(found)
	if r.outdate.Swap(false) && !d.reload() {
		r.outdate.Store(true)
	}
	if !d.loaded {
		return false // nothing is served yet; Documents is called when it is
	}
	if peers := r.peers.Load(); peers != nil {
		d.peers = *peers
	}
	settling, delivers := d.survey(), d.deliver()
	waiting := d.tell(now)
	r.latest.Store(d.statuses(now))
	d.release()
	poke(r.news)
	if r.cfg.Board == nil {
		return settling || waiting || delivers
	}
	note, later := d.note(now)
	if note != nil {
		select { // the newest alone counts
		case <-r.notes:
		default:
		}
		r.notes <- note
	}
	return settling || waiting || delivers || later
}
