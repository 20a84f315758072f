package dispatch

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// The states of a subscription.
const (
	Delivering  = "Delivering"
	Paused      = "Paused"      // events wait
	Interrupted = "Interrupted" // Problem says why; it is tried again
	Conflicting = "Conflicting" // another subscription has its queue; nothing is delivered
)

// begins is the problem of one whose queue is not open yet.
const begins = "it begins"

// Status is how a subscription is doing on this replica; Depth is the queue's.
type Status struct {
	Subscription
	State   string
	Problem string // "" where all is well
	Depth
	Counted   bool // Depth is known
	InFlight  int  // calls under way
	Delivered uint64
	Retried   uint64 // attempts that failed
	Given     uint64 // moved to the dead-letter queue
	Skipped   uint64 // by the filter

	LastFailure   string // of a call; "" before the first
	LastFailureAt time.Time
	Unanswered    string // the last event that the filter had no answer for
}

// tally is what a worker counts since it began.
type tally struct {
	inFlight                          atomic.Int64
	delivered, retried, dead, skipped atomic.Uint64

	mu        sync.Mutex
	queue     Queue // nil: not open
	problem   string
	failure   string
	failureAt time.Time
	noAnswer  string
}

func (t *tally) open(q Queue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue = q
	if q != nil {
		t.problem = ""
	}
}

// broken notes what keeps the worker from its work; it reports whether that is new.
func (t *tally) broken(err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.problem
	t.problem = err.Error()
	return was != t.problem
}

func (t *tally) mended() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.problem = ""
}

// failed notes a call that failed.
func (t *tally) failed(why string) {
	t.retried.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failure, t.failureAt = why, time.Now()
}

func (t *tally) unanswered(why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.noAnswer = why
}

// status sums up; a queue that cannot be counted leaves Depth out.
func (w *worker) status(ctx context.Context) Status {
	s, q := w.state()
	if q != nil {
		if depth, err := q.Depth(ctx); err == nil {
			s.Depth, s.Counted = depth, true
		}
	}
	return s
}

// state is what is known without asking the queue; nil: it is not open.
func (w *worker) state() (Status, Queue) {
	w.mu.Lock()
	s := Status{
		Subscription: w.Subscription, State: Delivering, Problem: w.problem,
		LastFailure: w.failure, LastFailureAt: w.failureAt, Unanswered: w.noAnswer,
	}
	q := w.queue
	w.mu.Unlock()
	s.InFlight, s.Delivered, s.Retried = int(w.inFlight.Load()), w.delivered.Load(), w.retried.Load()
	s.Given, s.Skipped = w.dead.Load(), w.skipped.Load()
	if q == nil && s.Problem == "" {
		s.Problem = begins
	}
	switch {
	case s.Problem != "":
		s.State = Interrupted
	case w.paused:
		s.State = Paused
	}
	return s, q
}
