package app

import "time"

// Bounds of the debounce. Endpoints go out at once when nothing went out for
// a while (the leading edge) and then at growing intervals under churn; a
// change of structure (a service, a policy) waits until it is quiet.
const (
	endpointsFirst  = 20 * time.Millisecond  // least interval after a leading edge
	endpointsWidest = 100 * time.Millisecond // interval under lasting churn
	endpointsCalm   = time.Second            // without change, the interval starts anew
	structureQuiet  = 10 * time.Millisecond
	structureAtMost = 100 * time.Millisecond
)

// windows decides when the pending changes of each service are due. It is a
// plain value driven by explicit times, owned by one goroutine.
type windows struct {
	pending map[string]pendingChange
	sent    map[string]sentChange
}

type pendingChange struct {
	first, last time.Time
	structural  bool
}

type sentChange struct {
	at    time.Time
	width time.Duration
}

func newWindows() *windows {
	return &windows{pending: map[string]pendingChange{}, sent: map[string]sentChange{}}
}

// note records that service changed at now.
func (w *windows) note(service string, structural bool, now time.Time) {
	p, ok := w.pending[service]
	if !ok {
		p.first = now
	}
	p.last = now
	p.structural = p.structural || structural
	w.pending[service] = p
}

// due tells when service's change should go out.
func (w *windows) due(service string) time.Time {
	p := w.pending[service]
	if p.structural {
		quiet, latest := p.last.Add(structureQuiet), p.first.Add(structureAtMost)
		if quiet.Before(latest) {
			return quiet
		}
		return latest
	}
	s, ok := w.sent[service]
	if !ok {
		return p.first
	}
	return s.at.Add(s.width)
}

// take removes and returns what is due at now, and the time of the next due
// change (zero: none is pending).
func (w *windows) take(now time.Time) (due []string, next time.Time) {
	for service := range w.pending {
		at := w.due(service)
		if at.After(now) {
			if next.IsZero() || at.Before(next) {
				next = at
			}
			continue
		}
		due = append(due, service)
		delete(w.pending, service)
		w.sent[service] = sentChange{at: now, width: w.widen(service, now)}
	}
	if len(w.pending) == 0 {
		w.forget(now)
	}
	return due, next
}

func (w *windows) widen(service string, now time.Time) time.Duration {
	s, ok := w.sent[service]
	if !ok || now.Sub(s.at) >= endpointsCalm {
		return endpointsFirst
	}
	return min(2*s.width, endpointsWidest)
}

// forget drops services that have been calm, so that the map stays as small
// as the churn is.
func (w *windows) forget(now time.Time) {
	for service, s := range w.sent {
		if now.Sub(s.at) >= endpointsCalm {
			delete(w.sent, service)
		}
	}
}
