package server

import (
	"slices"
	"strings"

	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
)

// emit turns what a stage gathered into responses.
func (p *plan) emit(k cache.Kind) {
	st, part, ks := p.st, &p.part[k], &p.st.kinds[k]
	batch, alone := part.batch, part.alone
	part.batch, part.alone = nil, nil
	if st.sotw && wildcard(k) {
		p.emitSet(k, batch, alone)
		return
	}
	for len(batch) > 0 {
		n, size := 0, 0
		for n < len(batch) && (n == 0 || size+batch[n].item.Size() <= st.srv.cfg.BatchBytes) {
			size += batch[n].item.Size()
			n++
		}
		if k == cache.CDS {
			st.gateTogether(batch[:n])
		}
		p.respond(&sent{kind: k, items: batch[:n:n]}, nil)
		batch = batch[n:]
	}
	for i := range alone {
		p.respond(&sent{kind: k, items: alone[i : i+1 : i+1], own: true, trial: st.sotw}, nil)
	}
	// A proxy that starts waits for an answer to its first wildcard, be it
	// empty.
	if ks.first && ks.asked && ks.fresh && ks.all && ks.sent.IsZero() {
		p.respond(&sent{kind: k}, nil)
	}
}

// respond adds a response and the record that waits for its answer.
func (p *plan) respond(rec *sent, removed []string) {
	st := p.st
	ks := &st.kinds[rec.kind]
	rec.nonce = st.nextNonce()
	if rec.own {
		ks.own++
	}
	if rec.trial {
		ks.trial++
	}
	ks.sent, ks.last = p.now, rec.nonce
	st.inflight = append(st.inflight, rec)
	r := &response{kind: rec.kind, sotw: st.sotw, nonce: rec.nonce, removed: removed}
	if st.sotw {
		r.version = st.setVersion(rec.kind)
		if wildcard(rec.kind) {
			r.items = st.set(rec.kind)
			p.out = append(p.out, r)
			return
		}
	}
	r.items = make([]*cache.Item, len(rec.items))
	for i, s := range rec.items {
		r.items[i] = s.item
	}
	p.out = append(p.out, r)
}

// remove takes away what is gone, once nothing on the proxy leads to it.
func (p *plan) remove(k cache.Kind) {
	st, gone := p.st, p.part[k].gone
	p.part[k].gone = nil
	gone = slices.DeleteFunc(gone, func(name string) bool {
		n := st.kinds[k].notes[name]
		waits := p.needed(k, name)
		switch {
		case st.lingering(k, name) && k == cache.EDS:
			rest(n)
		case waits != "":
			p.hold(k, name, n, waits)
		case k == cache.CDS && p.lingers(n):
			rest(n)
		default:
			return false
		}
		return true
	})
	for _, name := range gone {
		n := st.kinds[k].notes[name]
		st.assume(k, n, version{})
		n.alone = false
		st.proxy.release(k, name)
		st.settle(k, name, n)
		if k == cache.CDS {
			st.openGate(name)
		}
	}
	switch {
	case len(gone) == 0 || st.sotw && !wildcard(k):
	case st.sotw:
		p.respond(&sent{kind: k, removed: len(gone)}, nil)
	default:
		p.respond(&sent{kind: k, removed: len(gone)}, gone)
	}
}

// needed says what on the proxy still leads to a name that is gone; "" when
// nothing does.
func (p *plan) needed(k cache.Kind, name string) (by string) {
	st := p.st
	for _, from := range st.seen.Referrers(cache.Key{Kind: k, Name: name}) {
		if st.has(from.Kind, from.Name).leads(k, name) {
			return from.Kind.String() + " " + from.Name
		}
	}
	for from := range cache.Kinds {
		for other, n := range st.kinds[from].notes {
			if n.have.leads(k, name) {
				return from.String() + " " + other
			}
		}
	}
	for _, rec := range st.inflight {
		for _, s := range rec.items {
			if rec.kind != k && s.prev.leads(k, name) {
				return rec.kind.String() + " ACK of " + s.item.Name
			}
		}
	}
	switch {
	case k == cache.EDS && st.has(cache.CDS, name).id != "":
		return "CDS " + name
	case k == cache.CDS:
		return p.unknownRoutes()
	}
	return ""
}

// unknownRoutes says which routes of a proxy that came back are not known, so
// that they may lead to any cluster; "" when none. They are known once it has
// told of them, and those of another content are replaced with its
// acknowledgement.
func (p *plan) unknownRoutes() string {
	st := p.st
	if st.kinds[cache.CDS].fresh || st.sotw {
		return ""
	}
	ks := &st.kinds[cache.RDS]
	if !ks.asked && p.now.Sub(st.since) < st.srv.cfg.GateDeadline {
		return "RDS, not asked for yet"
	}
	for name, n := range ks.notes {
		if n.have.id != "" && n.have.item == nil {
			return "RDS " + name + ", of unknown content"
		}
	}
	// What replaces them may be refused, and then they stay.
	for _, rec := range st.inflight {
		for _, s := range rec.items {
			if rec.kind == cache.RDS && s.prev.id != "" && s.prev.item == nil {
				return "RDS ACK of " + s.item.Name
			}
		}
	}
	return ""
}

func refers(i *cache.Item, k cache.Kind, name string) bool {
	return slices.Contains(i.Refs, resource.Ref{Type: k.TypeURL(), Name: name})
}

// set returns everything that the proxy has of a type, for protocols that say
// everything each time.
func (st *stream) set(k cache.Kind) []*cache.Item {
	var out []*cache.Item
	add := func(name string) {
		if v := st.has(k, name); v.item != nil {
			out = append(out, v.item)
		}
	}
	for i := range st.seen.All(k, st.node.Service) {
		if k != cache.LDS || st.listeners[i.Name] == nil {
			add(i.Name)
		}
	}
	if k == cache.LDS {
		for name := range st.listeners {
			add(name)
		}
	}
	for name := range st.kinds[k].notes {
		if st.current(st.seen, k, name) == nil {
			add(name)
		}
	}
	slices.SortFunc(out, func(a, b *cache.Item) int { return strings.Compare(a.Name, b.Name) })
	return out
}
