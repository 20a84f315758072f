package rollout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/status"
	"meshlite.dev/internal/store"
	"meshlite.dev/internal/txn/journal"
)

const (
	// followEvery is how often a replica that does not lead looks for a revision
	// that the leader put in force.
	followEvery = time.Second
	// retryStore is how long after a failure of the store the next try is made.
	retryStore = 5 * time.Second
	// freezeLook is how often a change that waits for the end of a freeze asks.
	freezeLook = time.Second
)

// Config is what a Manager needs; every field but Board, Instance, Observe, Changed, Now and
// Log.
type Config struct {
	Keeper *revision.Keeper
	Store  store.Store // Keeper's: rollouts stand beside the revisions
	// Lead calls do while this replica leads, with a journal of its own for each
	// reign, until ctx ends.
	Lead  func(ctx context.Context, do func(context.Context, journal.Journal))
	Board store.Board // where replicas tell each other of rollouts; nil: there is no other
	Fleet Fleet
	Use   func(policy.Revision) // serves a revision from now on

	Settings    adminapi.RolloutSettings
	VoteTimeout time.Duration // for all proxies to answer; over 0
	Carrier     string        // who proposes: "dir", "consul", "kube"
	Replica     string        // this one's name
	Instance    string        // the same after a restart, and no other's; "" where there is no such name

	Observe func(before, after adminapi.Rollout) // hears of each change; must not wait
	Changed func()                               // what Held returns has changed
	// Now is the wall clock, for times that are kept. What this replica began itself
	// does not go by it, so that it may jump; nil is time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// Manager turns proposals into revisions in force. Its methods may be called by
// many goroutines.
type Manager struct {
	cfg    Config
	ledger *ledger

	reigns chan reign
	news   chan struct{}      // holds one token while a proposal is new
	fresh  chan chan struct{} // closed once what is on record was read

	mu       sync.Mutex
	newest   *policy.Proposal
	inForce  policy.Revision // used last
	queued   int             // changed documents that wait
	waits    string          // for what, beside the open rollout
	held     []status.Held
	problems string
	peers    map[string]note      // other replicas, by name
	heard    chan struct{}        // closed when they are others
	seen     map[string]time.Time // records of commands: since when
	own      note                 // this one's
	serving  *following           // what proxies are followed to
	polled   *polled              // whom the last candidate was put to; nil: nobody yet

	notes chan []byte   // for the board, the newest one
	asked chan struct{} // holds one token while another replica has said something
	moved chan struct{} // and this one while another revision is served

	leads atomic.Pointer[desk]    // nil while another does
	open  atomic.Pointer[running] // for the participants
}

// reign is a time in which this replica leads.
type reign struct {
	ctx     context.Context
	journal journal.Journal
	done    chan struct{}
}

// New returns a manager that does nothing before Run.
func New(cfg Config) *Manager {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Observe == nil {
		cfg.Observe = func(_, _ adminapi.Rollout) {}
	}
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Manager{
		cfg: cfg, ledger: newLedger(cfg.Store, cfg.Observe),
		reigns: make(chan reign), news: make(chan struct{}, 1), fresh: make(chan chan struct{}),
		heard: make(chan struct{}), notes: make(chan []byte, 1), asked: make(chan struct{}, 1), moved: make(chan struct{}, 1),
	}
}

// Propose takes what a carrier holds now; what it held before counts no more.
func (m *Manager) Propose(p policy.Proposal) {
	m.mu.Lock()
	m.newest = &p
	m.mu.Unlock()
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// Served tells of the revision that is served already, of an earlier run.
func (m *Manager) Served(rev policy.Revision) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inForce = rev
}

// Held lists the versions that rollouts keep out of force, for their statuses.
func (m *Manager) Held() []status.Held {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held
}

// Problem says why nothing comes in force just now; "" where all is well.
func (m *Manager) Problem() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.problems
}

func (m *Manager) proposal() *policy.Proposal {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.newest
}

// use serves rev, with what the newest proposal has of faults.
func (m *Manager) use(rev policy.Revision) {
	if p := m.proposal(); p != nil {
		rev.Refused = p.Refused
	}
	m.mu.Lock()
	m.inForce = rev
	moved := m.own.InForce != rev.Hash
	if moved && m.cfg.Board != nil {
		m.serves(rev)
	}
	m.mu.Unlock()
	m.cfg.Use(rev)
	if moved {
		m.tell(func(n *note) { n.InForce = rev.Hash })
	}
}

// Run leads while it may and follows otherwise, until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	var leading sync.WaitGroup
	defer leading.Wait()
	leading.Go(func() {
		m.cfg.Lead(ctx, func(ctx context.Context, j journal.Journal) {
			r := reign{ctx, j, make(chan struct{})}
			select {
			case m.reigns <- r:
				<-r.done
			case <-ctx.Done():
			}
		})
	})
	if m.cfg.Board != nil {
		leading.Go(func() { m.board(ctx) })
		leading.Go(func() { m.report(ctx) })
	}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	var answering *answering
	defer func() { answering.end() }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-m.reigns:
			answering.end()
			answering = nil
			m.reign(r.ctx, r.journal) //nolint:contextcheck // a reign ends with the lock, which ends with ctx
			close(r.done)
			continue
		case <-m.news:
			m.follow(ctx, true)
		case <-m.asked:
			answering = m.answer(ctx, answering)
			if m.elsewhere() {
				m.follow(ctx, false)
			}
		case done := <-m.fresh:
			m.follow(ctx, false)
			close(done)
		case <-tick.C:
			m.follow(ctx, false)
		}
	}
}

// elsewhere reports whether the leader serves another revision.
func (m *Manager) elsewhere() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.peers {
		if n.Leads && n.InForce != m.inForce.Hash {
			return true
		}
	}
	return false
}

// follow serves what the leader put in force, and what faults the own carrier
// found. Failures of the store pass.
func (m *Manager) follow(ctx context.Context, proposed bool) {
	err := m.ledger.load(ctx)
	if err == nil {
		var rev policy.Revision
		var ok bool
		rev, ok, err = m.cfg.Keeper.Current(ctx)
		if ok && (proposed || len(rev.Changed) > 0) {
			m.use(rev)
		}
	}
	if err != nil && ctx.Err() == nil {
		m.cfg.Log.DebugContext(ctx, "the revision in force is not read", "err", err)
	}
	m.holds(nil)
}

// holds works out what Held tells: rejections, and what is on its way.
func (m *Manager) holds(pending []status.Held) {
	held := pending
	for _, r := range m.ledger.now().Rejections {
		held = append(held, status.Held{Key: r.Key, Generation: r.Generation, Refused: true, Message: r.message()})
	}
	m.mu.Lock()
	same := len(held) == len(m.held)
	for i := range held {
		same = same && held[i] == m.held[i]
	}
	m.held = held
	m.mu.Unlock()
	if !same {
		m.cfg.Changed()
	}
}

func (r Rejection) message() string {
	return fmt.Sprintf("rollout %s: %s", r.Rollout, r.Reason)
}

// trouble remembers why nothing moves.
func (m *Manager) trouble(ctx context.Context, err error) {
	text := ""
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return
		}
		text = err.Error()
		m.cfg.Log.ErrorContext(ctx, "policies not taken over; the revision in force stays", "err", err, "retry_in", retryStore.String())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.problems = text
}
