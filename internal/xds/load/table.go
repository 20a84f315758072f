package load

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// The window of the counts: how far back it reaches and in what steps it
// slides.
const (
	Window = 10 * time.Minute
	step   = 10 * time.Second
)

// Edge is what one service called on another. Counts are tries.
type Edge struct {
	From, To string
	// Successes, Errors and Dropped count within the last Window. Dropped
	// tries never left the caller: a circuit breaker was open.
	Successes, Errors, Dropped uint64
	// Total* count since the edge was first seen; an edge without a call
	// for a Window is forgotten, and starts anew.
	TotalSuccesses, TotalErrors, TotalDropped uint64
	InProgress                                uint64  // at the last report
	Rate                                      float64 // tries per second over the last report
}

// sample is what one report says of one callee.
type sample struct {
	successes, errors, dropped, inProgress uint64
	rate                                   float64 // per second
}

func (s sample) tries() uint64 { return s.successes + s.errors + s.dropped }

type pair struct{ from, to string }

// edge is one pair's account. Buckets are in order of time, those with a call
// only.
type edge struct {
	buckets    []bucket
	total      bucket
	inProgress uint64
	rate       float64
	seen       time.Time // of the last report with a call
}

type bucket struct {
	at                         time.Time // its start
	successes, errors, dropped uint64
}

func (b *bucket) add(successes, errors, dropped uint64) {
	b.successes += successes
	b.errors += errors
	b.dropped += dropped
}

// table holds every edge that had a call within the window, at most max.
type table struct {
	max int

	mu      sync.Mutex
	edges   map[pair]*edge
	ignored uint64 // samples without room
	pruned  time.Time
}

func newTable(limit int) *table {
	return &table{max: limit, edges: map[pair]*edge{}}
}

// record takes the report of one proxy of from: what it says now, and what it
// said before, whose gauges go.
func (t *table) record(from string, now time.Time, before, after map[string]sample) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for to, s := range before {
		if e := t.edges[pair{from, to}]; e != nil {
			e.inProgress -= min(e.inProgress, s.inProgress)
			e.rate = max(0, e.rate-s.rate)
		}
	}
	for to, s := range after {
		e := t.edges[pair{from, to}]
		if e == nil {
			if len(t.edges) >= t.max {
				t.ignored++
				continue
			}
			e = &edge{}
			t.edges[pair{from, to}] = e
		}
		e.inProgress += s.inProgress
		e.rate += s.rate
		e.seen = now
		e.count(now, s)
	}
	if now.Sub(t.pruned) >= step {
		t.prune(now)
	}
}

func (e *edge) count(now time.Time, s sample) {
	if s.tries() == 0 {
		return
	}
	e.total.add(s.successes, s.errors, s.dropped)
	at := now.Truncate(step)
	if n := len(e.buckets); n == 0 || e.buckets[n-1].at.Before(at) {
		e.expire(now)
		e.buckets = append(e.buckets, bucket{at: at})
	}
	e.buckets[len(e.buckets)-1].add(s.successes, s.errors, s.dropped)
}

// expire drops the buckets that the window has left behind.
func (e *edge) expire(now time.Time) {
	oldest := now.Add(-Window)
	keep := slices.IndexFunc(e.buckets, func(b bucket) bool { return b.at.After(oldest) })
	if keep < 0 {
		keep = len(e.buckets)
	}
	e.buckets = slices.Delete(e.buckets, 0, keep)
}

// prune forgets the edges without a call for a whole window.
func (t *table) prune(now time.Time) {
	t.pruned = now
	for p, e := range t.edges {
		if now.Sub(e.seen) >= Window {
			delete(t.edges, p)
		}
	}
}

// graph returns every edge, by caller and callee.
func (t *table) graph(now time.Time) []Edge {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.prune(now)
	out := make([]Edge, 0, len(t.edges))
	for p, e := range t.edges {
		e.expire(now)
		var sum bucket
		for _, b := range e.buckets {
			sum.add(b.successes, b.errors, b.dropped)
		}
		out = append(out, Edge{
			From: p.from, To: p.to,
			Successes: sum.successes, Errors: sum.errors, Dropped: sum.dropped,
			TotalSuccesses: e.total.successes, TotalErrors: e.total.errors, TotalDropped: e.total.dropped,
			InProgress: e.inProgress, Rate: e.rate,
		})
	}
	slices.SortFunc(out, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return out
}
