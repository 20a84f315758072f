// Package readiness decides whether this replica may be sent proxies. Ready is
// a latch: it comes with the first full state served, from the sources or from
// last known good, and an outage of a source never takes it back, since another
// replica would be no better off. What is wrong outside is shown as an alarm
// beside it. Only what is this replica's own makes it unready again: a builder
// that does not come after, and the end.
package readiness

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// Latch is one replica's readiness. Make one with New; methods may be called by
// many goroutines.
type Latch struct {
	lag    func() time.Duration
	maxLag time.Duration

	mu       sync.Mutex
	waiting  []string // in the order of New
	stopping bool
	alarms   map[string]string
}

// DefaultMaxLag is how far the builder may fall behind before the replica asks
// for no more proxies.
const DefaultMaxLag = 30 * time.Second

// New returns a latch that waits for every one of parts ("catalog",
// "policies"). lag tells how long the oldest change has waited for the builder;
// nil: never long. maxLag 0 is DefaultMaxLag.
func New(lag func() time.Duration, maxLag time.Duration, parts ...string) *Latch {
	if maxLag <= 0 {
		maxLag = DefaultMaxLag
	}
	return &Latch{lag: lag, maxLag: maxLag, waiting: slices.Clone(parts), alarms: map[string]string{}}
}

// Done says that part has come; it never goes again.
func (l *Latch) Done(part string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = slices.DeleteFunc(l.waiting, func(p string) bool { return p == part })
}

// Alarm shows that something outside is wrong with name; "" ends it. Alarms
// change nothing about readiness.
func (l *Latch) Alarm(name, message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if message == "" {
		delete(l.alarms, name)
		return
	}
	l.alarms[name] = message
}

// Stop makes the replica unready for good: it is about to end.
func (l *Latch) Stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopping = true
}

// State is what /readyz tells.
type State struct {
	Ready   bool
	Waiting []string // what is waited for, in words; empty when Ready
	Alarms  []string // "catalog: serving last known good", by name
}

// State returns the replica's readiness.
func (l *Latch) State() State {
	l.mu.Lock()
	s := State{Waiting: slices.Clone(l.waiting)}
	for _, name := range slices.Sorted(maps.Keys(l.alarms)) {
		s.Alarms = append(s.Alarms, name+": "+l.alarms[name])
	}
	stopping := l.stopping
	l.mu.Unlock()
	if stopping {
		s.Waiting = append(s.Waiting, "nothing: the server is stopping")
	}
	if l.lag != nil {
		if lag := l.lag(); lag > l.maxLag {
			s.Waiting = append(s.Waiting, "the builder, which is "+lag.Round(time.Second).String()+" behind")
		}
	}
	s.Ready = len(s.Waiting) == 0
	return s
}

// Ready is State without the words.
func (l *Latch) Ready() bool { return l.State().Ready }
