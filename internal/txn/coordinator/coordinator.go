// Package coordinator runs transactions: it owns the clock, the goroutines and
// the order of things around txn.Step. One goroutine, that of Run, has all state;
// one writes the journal, gathering what comes while it writes; one calls each
// party that is owed something. A record is durable before its calls are made and
// before anybody is told. Its main type is [Coordinator].
package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/journal"
)

// Config of a coordinator. Default has the numbers.
type Config struct {
	Journal     journal.Journal                     // a handle of its own
	Participant func(txn.Tx, txn.Party) Participant // called by many goroutines; must not block

	// Serial lets a transaction begin when the one before it is done, or waits for
	// a person only; MaxQueue may wait for that, 1 or more.
	Serial   bool
	MaxQueue int

	MaxOpen int // transactions that are not done, 1 or more
	MaxDone int // transactions that are done and remembered, 1 or more; then the oldest is forgotten
	// Retention is for how long a transaction that is done is remembered, from its end
	// or, where it was done before, from the start of this coordinator: who asks after
	// it again must not be told otherwise because a clock was put forward.
	Retention time.Duration

	CallTimeout time.Duration // of one Commit or Rollback
	Backoff     time.Duration // before their first repetition, then twice as long each time, with jitter
	MaxBackoff  time.Duration // at most
	Grace       time.Duration // for open transactions when Run is to end; 0 leaves them to the next recovery

	// Observe hears of each change that others can see, in order, from the goroutine
	// of Run: it must not block. The journal has the change by then; after a restart
	// nobody hears of it again. before has Phase 0 where a transaction begins. Nil
	// is nobody.
	Observe func(before, after txn.State)
	// Recovered hears once, before anything else, of all that the journal has, and
	// Forgot of each transaction that is remembered no more; as Observe, they must
	// not block. Nil is nobody.
	Recovered func([]txn.Record)
	Forgot    func(txn.ID)
	// Now is the wall clock, for times that are kept and shown. Nothing is decided by
	// it, so that it may jump; nil is time.Now.
	Now func() time.Time
	Log *slog.Logger // nil is silent
}

// Default is a Config without Journal and Participant.
func Default() Config {
	return Config{
		MaxQueue: 100, MaxOpen: 1_000, MaxDone: 50_000, Retention: 15 * time.Minute,
		CallTimeout: 10 * time.Second, Backoff: 200 * time.Millisecond, MaxBackoff: 30 * time.Second,
	}
}

// Validate names every field that cannot be.
func (c Config) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(c.Journal != nil, "journal: is missing")
	check(c.Participant != nil, "participant: is missing")
	check(c.MaxQueue >= 1, "maxQueue: %d: must be at least 1", c.MaxQueue)
	check(c.MaxOpen >= 1, "maxOpen: %d: must be at least 1", c.MaxOpen)
	check(c.MaxDone >= 1, "maxDone: %d: must be at least 1", c.MaxDone)
	check(c.Retention >= 0, "retention: %s: must be at least 0s", c.Retention)
	check(c.CallTimeout > 0, "callTimeout: %s: must be over 0s", c.CallTimeout)
	check(c.Backoff > 0, "backoff: %s: must be over 0s", c.Backoff)
	check(c.MaxBackoff >= c.Backoff, "maxBackoff: %s: must be at least backoff, %s", c.MaxBackoff, c.Backoff)
	check(c.Grace >= 0, "grace: %s: must be at least 0s", c.Grace)
	return errors.Join(faults...)
}

// Coordinator runs transactions for as long as Run does.
type Coordinator struct {
	cfg      Config
	running  atomic.Bool
	commands chan func(*loop)
	ready    chan struct{} // closed when what the journal had can be read
	ended    chan struct{} // closed when Run returns
	trouble  atomic.Pointer[error]

	mu   sync.RWMutex
	seen map[txn.ID]*view // what others see
}

// New returns a coordinator that does nothing before Run.
func New(cfg Config) (*Coordinator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure a coordinator: %w", err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Observe == nil {
		cfg.Observe = func(_, _ txn.State) {}
	}
	if cfg.Recovered == nil {
		cfg.Recovered = func([]txn.Record) {}
	}
	if cfg.Forgot == nil {
		cfg.Forgot = func(txn.ID) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Coordinator{
		cfg: cfg, commands: make(chan func(*loop)), ready: make(chan struct{}), ended: make(chan struct{}),
		seen: map[txn.ID]*view{},
	}, nil
}

// Run takes the journal over, brings every transaction in it to its end and takes
// new ones, until ctx ends (nil) or the journal is another's (journal.ErrFenced).
// It also returns an error where the journal cannot be recovered. It may be called
// once; a coordinator that is to go on is a new one.
func (c *Coordinator) Run(ctx context.Context) error {
	if !c.running.CompareAndSwap(false, true) {
		return errors.New("run a coordinator: it has run before")
	}
	defer close(c.ended)
	term, records, err := c.cfg.Journal.Recover(ctx)
	if err != nil {
		return err
	}
	for _, r := range records {
		if r.Term >= term {
			return fmt.Errorf("recover transaction %s: its record has term %d, and the next is only %d: the journal is not the one that it was written to", r.ID, r.Term, term)
		}
	}
	c.cfg.Recovered(records)
	l := newLoop(ctx, c, term)
	l.recover(records)
	close(c.ready)
	return l.run(ctx)
}

// Trouble is why the journal takes no records just now; nil when it does. Nothing
// is decided meanwhile.
func (c *Coordinator) Trouble() error {
	if err := c.trouble.Load(); err != nil {
		return *err
	}
	return nil
}
