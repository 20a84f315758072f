package server

import (
	"time"

	"meshlite.dev/internal/xds/cache"
)

// A cluster outlives the routes to it on a proxy: requests that have chosen
// their route look for the cluster later, behind an injected delay or with each
// further try, and then go by the name alone. Meanwhile it counts as settled.

// lingers reports whether a cluster that nothing leads to has to stay for now.
func (p *plan) lingers(n *note) bool {
	if n.lingers.IsZero() {
		n.lingers = p.now
	}
	return p.now.Sub(n.lingers) < p.st.srv.cfg.Linger
}

// rest leaves a name as it is until the cluster has lingered.
func rest(n *note) { n.due, n.force, n.waits, n.told = false, false, "", false }

// rested makes due what has lingered, the cluster and its endpoints, and the
// clusters whose place in a wave has come.
func (p *plan) rested() {
	st := p.st
	for name, n := range st.kinds[cache.CDS].notes {
		if !n.turn.IsZero() && !n.turn.After(p.now) {
			n.due, n.turn = true, time.Time{}
		}
		if n.lingers.IsZero() || p.lingers(n) {
			continue
		}
		n.due = true
		if e := st.kinds[cache.EDS].notes[name]; e != nil {
			e.due = true
		}
	}
}

// nextRested is how long it takes until the next cluster has lingered, or has its
// turn; 0 when none does.
func (st *stream) nextRested(now time.Time) (next time.Duration) {
	soon := func(at time.Time) {
		if left := max(at.Sub(now), time.Millisecond); next == 0 || left < next {
			next = left
		}
	}
	for _, n := range st.kinds[cache.CDS].notes {
		if !n.lingers.IsZero() {
			soon(n.lingers.Add(st.srv.cfg.Linger))
		}
		if !n.turn.IsZero() {
			soon(n.turn)
		}
	}
	return next
}

// lingering reports whether a name stays for the sake of a cluster that does.
func (st *stream) lingering(k cache.Kind, name string) bool {
	n := st.kinds[cache.CDS].notes[name]
	return n != nil && !n.lingers.IsZero() && (k == cache.CDS || k == cache.EDS)
}
