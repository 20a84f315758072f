package teller

import (
	"cmp"
	"sync"

	"meshlite.dev/internal/events/facts"
)

const (
	// waitingMost is how many transactions may wait to be told of: more than a
	// coordinator remembers.
	waitingMost = 100_000
	// queueRun is how many of them one run tells.
	queueRun = 2_000
)

// Queue holds transactions that changed since they were told of, each once, as it
// is now. It never waits. Its methods may be called by many goroutines.
type Queue struct {
	poke func()
	most int

	mu     sync.Mutex
	items  map[string]*queued
	order  []string        // of items, the longest waiting first
	only   map[string]bool // all that there are, after a Begin that was not told yet; nil: not known
	begun  int             // counts Begins
	missed uint64          // that found no room
}

// queued is what waits of one transaction.
type queued struct {
	of   func(before facts.Subject) facts.Subject // nil: nothing new
	gone bool                                     // nothing more will come
}

func newQueue(poke func(), most int) *Queue {
	return &Queue{poke: poke, most: cmp.Or(most, waitingMost), items: map[string]*queued{}}
}

// Begin says that these are all the transactions that there are. Each must be
// Put after it.
func (q *Queue) Begin(ids []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.only, q.begun = make(map[string]bool, len(ids)), q.begun+1
	for _, id := range ids {
		q.only[id] = true
	}
}

// Put says how a transaction is now; of is called later, and more than once.
func (q *Queue) Put(id string, of func(before facts.Subject) facts.Subject) {
	q.put(id, queued{of: of})
}

// Gone says that nothing more comes of a transaction.
func (q *Queue) Gone(id string) { q.put(id, queued{gone: true}) }

func (q *Queue) put(id string, next queued) {
	q.mu.Lock()
	defer q.mu.Unlock()
	old := q.items[id]
	switch {
	case old != nil && next.gone:
		next.of = old.of
	case old == nil && len(q.items) >= q.most:
		if !next.gone { // else the cursor keeps it until the next Begin
			q.missed++
			q.poke()
		}
		return
	case old == nil:
		q.order = append(q.order, id)
	}
	q.items[id] = &next
	q.poke()
}

// batch is a part of a Queue that is being told.
type batch struct {
	ids    []string
	items  map[string]*queued
	only   map[string]bool
	begun  int
	missed uint64
}

// peek returns what has waited longest; it stays until it is done.
func (q *Queue) peek() batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.order), queueRun)
	b := batch{ids: q.order[:n:n], items: make(map[string]*queued, n), only: q.only, begun: q.begun, missed: q.missed}
	for _, id := range b.ids {
		b.items[id] = q.items[id]
	}
	return b
}

// done says that a batch was told. What changed meanwhile waits on, and so does
// the end of one that was told with it.
func (q *Queue) done(b batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.order = q.order[len(b.ids):]
	for _, id := range b.ids {
		now := q.items[id]
		switch {
		case now != b.items[id]:
			q.order = append(q.order, id)
		case now.gone && now.of != nil:
			q.items[id] = &queued{gone: true}
			q.order = append(q.order, id)
		default:
			delete(q.items, id)
		}
	}
	q.missed -= b.missed
	if b.begun == q.begun {
		q.only = nil
	}
	if len(q.order) > 0 {
		q.poke()
	}
}
