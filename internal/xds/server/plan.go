package server

import (
	"maps"
	"slices"
	"time"

	"meshlite.dev/internal/xds/cache"
)

// plan is one flush: everything that is due and may go, in an order in which
// every prefix of it leaves the proxy with references that lead somewhere.
type plan struct {
	st   *stream
	now  time.Time
	out  []*response
	part [cache.Kinds]part // what one stage gathers

	followed map[string]struct{} // routes that scopes wait for
}

// part is what goes out of one type in one stage.
type part struct {
	batch []sentItem // accepted by this build before, or a first answer
	alone []sentItem // in responses of their own
	gone  []string   // candidates for removal
}

// flush looks at everything that is due and returns the responses to send.
func (st *stream) flush() []*response {
	st.mu.Lock()
	defer st.unlock()
	st.advance()
	p := &plan{st: st, now: time.Now()}
	st.waiting = false

	p.rested()
	p.look(cache.CDS)
	p.emit(cache.CDS)
	p.look(cache.EDS) // behind its clusters, which may have made it due
	p.emit(cache.EDS)
	p.look(cache.LDS) // may make all scopes and routes due
	p.emit(cache.LDS)
	p.look(cache.SRDS) // only those whose routes are ready; makes these due
	p.unfollowOthers()
	p.look(cache.RDS)
	p.emit(cache.SRDS)
	p.emit(cache.RDS)

	for _, k := range []cache.Kind{cache.LDS, cache.SRDS, cache.RDS, cache.CDS, cache.EDS} {
		p.remove(k)
	}
	for k := range cache.Kinds {
		if ks := &st.kinds[k]; ks.asked { // what is owed to a type waits for its first request
			ks.first, ks.repush = false, false
		}
	}
	p.vote()
	st.watchDeadline(p.now)
	return p.out
}

// names returns what is due of a type, sorted, but starting at a place that
// differs from stream to stream: where only some of the unproven can go, the
// streams of a fleet prove different ones for each other.
func (p *plan) names(k cache.Kind) []string {
	notes := p.st.kinds[k].notes
	if len(notes) == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(notes))
	names = slices.DeleteFunc(names, func(n string) bool { return !notes[n].due })
	if len(names) <= p.st.srv.cfg.Window {
		return names
	}
	at := p.st.watch.Slot() * p.st.srv.cfg.Window % len(names)
	return append(names[at:len(names):len(names)], names[:at]...)
}

// look decides about everything that is due of a type. One that the proxy has
// not asked for waits until it does: an Envoy with a cluster asks for its
// endpoints, another client may never.
func (p *plan) look(k cache.Kind) {
	if !p.st.kinds[k].asked {
		return
	}
	for _, name := range p.names(k) {
		n := p.st.kinds[k].notes[name]
		if n.follow || !p.st.covers(k, name) { // it waits for its scope, or for an answer
			n.due, n.force = false, false
			continue
		}
		p.decide(k, name, n)
	}
}

// send puts an item into the flush, if its turn has come.
func (p *plan) send(k cache.Kind, name string, n *note, i *cache.Item) {
	st, ks, part := p.st, &p.st.kinds[k], &p.part[k]
	// A proxy that starts gets all at once: it asks for the next type when this
	// one is answered. One that comes back does not wait, and what it refuses
	// may take along what stands beside it, and what follows leads to.
	start := ks.first && ks.fresh
	alone := n.alone || !i.Proven(st.bit) && (!start || i.Refused(st.bit))
	switch {
	case st.sotw && wildcard(k):
		alone = n.alone // its response is the whole set
	case !n.alone && k == cache.EDS && ks.own+len(part.alone) >= st.srv.cfg.Window:
		alone = false // endpoints wait for nothing
	}
	n.waits, n.told = "", false
	if alone && !p.turn(ks, part, n) {
		st.waiting = true
		return
	}
	s := sentItem{item: i, prev: n.have}
	if alone {
		part.alone = append(part.alone, s)
	} else {
		part.batch = append(part.batch, s)
	}
	wasNew := n.have.id == ""
	st.assume(k, n, versionOf(i))
	n.alone = false
	st.settle(k, name, n)
	p.bringAlong(k, i, wasNew)
}

// turn reports whether a response of its own may go now.
func (p *plan) turn(ks *kindState, part *part, n *note) bool {
	if n.alone {
		return !p.st.sotw || ks.trial+len(part.alone) == 0
	}
	return ks.own+len(part.alone) < p.st.srv.cfg.Window
}

// bringAlong makes due what has to go right behind a resource.
func (p *plan) bringAlong(k cache.Kind, i *cache.Item, wasNew bool) {
	st := p.st
	switch k {
	case cache.CDS:
		// Envoy warms a cluster it was told of again until its endpoints come
		// again, and does not ask for those it asked for before.
		if i.Endpoints != "" && !st.fresh(cache.CDS, cache.EDS) {
			st.mark(cache.EDS, i.Endpoints, true)
			st.watch.Add(cache.EDS, i.Endpoints)
		}
		if wasNew {
			st.gate(i)
		}
	case cache.LDS:
		// A changed listener may hold a provider of routes that knows none.
		if ks := &st.kinds[k]; !(ks.first && ks.fresh) {
			st.repush(cache.SRDS)
			st.repush(cache.RDS)
		}
	case cache.SRDS:
		if wasNew && !st.fresh(cache.SRDS, cache.RDS) {
			for _, ref := range i.Refs {
				if to, _ := cache.KindOf(ref.Type); to == cache.RDS {
					st.unfollow(cache.RDS, ref.Name)
					st.mark(cache.RDS, ref.Name, true)
					st.watch.Add(cache.RDS, ref.Name)
				}
			}
		}
	}
}

// fresh reports whether a proxy that is told of k for the first time is bound
// to ask for everything of next by itself: it brought nothing along.
func (st *stream) fresh(k, next cache.Kind) bool {
	return st.kinds[k].first && st.kinds[k].fresh && !st.kinds[next].asked
}

// repush makes everything that the proxy has of a type due again.
func (st *stream) repush(k cache.Kind) {
	ks := &st.kinds[k]
	if !ks.asked {
		ks.repush = true
		return
	}
	if ks.all {
		for i := range st.seen.All(k, st.node.Service) {
			st.mark(k, i.Name, true)
		}
	}
	for _, name := range st.watch.Names(k) {
		st.mark(k, name, true)
	}
}
