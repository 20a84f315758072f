package server

import (
	"slices"
	"time"

	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
)

// gate stands before the routes to a cluster that is new to a proxy: it opens
// when the proxy has acknowledged the cluster, and at once where nothing can
// go wrong with it. Endpoints have no gate.
type gate struct {
	item *cache.Item
	// late: only this proxy's own acknowledgement opens it. The endpoints are
	// not known, or something unproven travels in the same response.
	late bool
}

// gate puts a gate before a cluster that is sent to this proxy for the first
// time, if its endpoints may be late or no Envoy of this build has accepted
// its content.
func (st *stream) gate(i *cache.Item) {
	late := false
	if i.Endpoints != "" {
		e := st.current(st.seen, cache.EDS, i.Endpoints)
		late = e == nil || e.State == resource.Withheld
	}
	if !late && i.Proven(st.bit) {
		return
	}
	if st.gates == nil {
		st.gates = map[string]gate{}
	}
	st.gates[i.Name] = gate{i, late}
}

// gateTogether puts gates before all new clusters of a response when one of
// them may be refused, and the whole response with it.
func (st *stream) gateTogether(batch []sentItem) {
	if !slices.ContainsFunc(batch, func(s sentItem) bool { return !s.item.Proven(st.bit) }) {
		return
	}
	if st.gates == nil {
		st.gates = map[string]gate{}
	}
	for _, s := range batch {
		if s.prev.id == "" {
			st.gates[s.item.Name] = gate{s.item, true}
		}
	}
}

// openGate takes the gate before a cluster away.
func (st *stream) openGate(name string) {
	g, ok := st.gates[name]
	if !ok {
		return
	}
	st.srv.forgetProof(g.item, st)
	if delete(st.gates, name); len(st.gates) == 0 {
		st.gates = nil
	}
}

// comesAgain reports whether a cluster is under way that went meanwhile and is new
// once more. The gate is then the later one's, and earlier answers say nothing of it.
func (st *stream) comesAgain(name string) bool {
	return slices.ContainsFunc(st.inflight, func(rec *sent) bool {
		return rec.kind == cache.CDS && slices.ContainsFunc(rec.items, func(s sentItem) bool { return s.item.Name == name && s.prev.id == "" })
	})
}

// blocked says what a resource has to wait for; "" when nothing.
func (p *plan) blocked(k cache.Kind, i *cache.Item) (waits string) {
	for _, ref := range i.Refs {
		to, ok := cache.KindOf(ref.Type)
		switch {
		case ok && k == cache.SRDS && to == cache.RDS:
			waits = p.routes(ref.Name)
		case ok && k == cache.RDS && to == cache.CDS:
			waits = p.cluster(ref.Name)
		}
		if waits != "" {
			return waits
		}
	}
	return ""
}

// routes says what a scope's route configuration waits for.
func (p *plan) routes(name string) (waits string) {
	st := p.st
	if st.has(cache.RDS, name).id != "" {
		return ""
	}
	i := st.current(st.seen, cache.RDS, name)
	switch {
	case i == nil || i.State == resource.Withheld:
		waits = "RDS " + name
	case st.proxy.knows(cache.RDS, i) && (i.Fallback() == nil || st.proxy.knows(cache.RDS, i.Fallback())):
		waits = "RDS " + name + ", which the proxy refused"
	default:
		waits = p.blocked(cache.RDS, i)
	}
	if waits != "" {
		p.follow(name)
	}
	return waits
}

// cluster says what a route to a cluster waits for. Clusters that the proxy
// did not subscribe to are its own affair.
func (p *plan) cluster(name string) (waits string) {
	st := p.st
	if !st.covers(cache.CDS, name) {
		return ""
	}
	if st.has(cache.CDS, name).id == "" {
		return "CDS " + name
	}
	g, ok := st.gates[name]
	if !ok {
		return ""
	}
	if !g.late {
		if g.item.Proven(st.bit) {
			st.openGate(name)
			return ""
		}
		if st.srv.awaitProof(g.item, st); g.item.Proven(st.bit) {
			return "" // just now
		}
	}
	return "CDS ACK of " + name
}

// hold leaves a name as it is on the proxy, to be looked at again.
func (p *plan) hold(k cache.Kind, name string, n *note, waits string) {
	st := p.st
	st.waiting = true
	if n.waits == "" {
		n.since = p.now
	}
	n.waits, n.lingers = waits, time.Time{}
	if n.told || p.now.Sub(n.since) < st.srv.cfg.GateDeadline {
		return
	}
	n.told = true
	id, h := st.node.ID, Held{Type: k.String(), Resource: name, Waits: waits, Since: n.since}
	st.tell(func() { st.srv.reportHeld(id, h) })
	if k == cache.RDS && n.have.id == "" && st.watch.Named(k, name) {
		if i := st.srv.synthesize(k, name); i != nil {
			st.assumeStandIn(p, name, n, i)
		}
	}
}

// assumeStandIn answers for a route configuration that a listener waits for
// and whose clusters do not come.
func (st *stream) assumeStandIn(p *plan, name string, n *note, i *cache.Item) {
	waits, since := n.waits, n.since
	p.send(cache.RDS, name, n, i)
	n = st.note(cache.RDS, name)
	n.due, n.waits, n.since, n.told = true, waits, since, true
}

// watchDeadline sets the timer for the next hold that has to be reported, or
// the next cluster that has lingered.
func (st *stream) watchDeadline(now time.Time) {
	next := st.nextRested(now)
	for k := range cache.Kinds {
		for _, n := range st.kinds[k].notes {
			if n.waits == "" || n.told || !st.waiting {
				continue
			}
			if left := max(n.since.Add(st.srv.cfg.GateDeadline).Sub(now), time.Millisecond); next == 0 || left < next {
				next = left
			}
		}
	}
	if next == 0 {
		return
	}
	if st.deadline == nil {
		st.deadline = time.AfterFunc(next, st.watch.Wake)
		return
	}
	st.deadline.Reset(next)
}
