package server

import (
	"slices"

	"meshlite.dev/internal/xds/cache"
)

// leave takes a name out that the proxy no longer asks for. What is under way
// it may have all the same: by the time that it hears of that, it may have
// asked again, and says so before it answers.
func (st *stream) leave(k cache.Kind, name string, n *note) {
	st.assume(k, n, version{})
	st.proxy.release(k, name)
	for _, rec := range st.inflight {
		for _, s := range rec.items {
			if rec.kind == k && s.item.Name == name {
				n.have.maybe = append(n.have.maybe, s.item)
			}
		}
	}
	if n.have.maybe == nil {
		st.forget(k, name)
		return
	}
	n.alone = false
	rest(n)
}

// heard takes an answer as what it says of contents that the proxy may have: it
// has those that it accepted, of names that it asks for by then, and not those
// that it refused, or was sent without asking.
func (st *stream) heard(rec *sent, refused bool) {
	for _, s := range rec.items {
		k, name := rec.kind, s.item.Name
		asks := st.covers(k, name)
		n := st.kinds[k].notes[name]
		if n == nil || n.follow || refused && asks && len(rec.items) > 1 {
			continue
		}
		var underWay []*cache.Item // of the name, behind rec
		for _, later := range st.inflight {
			for i := range later.items {
				if it := &later.items[i]; later.kind == k && it.item.Name == name {
					it.prev, _ = it.prev.learn(s.item, asks && !refused, underWay)
					underWay = append(underWay, it.item)
				}
			}
		}
		have, learnt := n.have.learn(s.item, asks && !refused, underWay)
		if !learnt {
			continue
		}
		st.assume(k, n, have)
		if n.due = asks; !asks && have.maybe == nil {
			st.forget(k, name)
		}
		st.watch.Wake()
	}
}

// learn returns v for a proxy that has, or has not, got i: what it may have
// beside that is what was sent later, i once more among it. learnt is false when v
// says nothing of i.
func (v version) learn(i *cache.Item, has bool, later []*cache.Item) (next version, learnt bool) {
	switch {
	case !slices.Contains(v.maybe, i):
		return v, false
	case !has:
		next = v
		next.maybe = slices.DeleteFunc(slices.Clone(v.maybe), func(m *cache.Item) bool {
			return m.Version == i.Version && !slices.Contains(later, m)
		})
		if len(next.maybe) == 0 {
			next.maybe = nil
		}
		return next, true
	}
	next = versionOf(i)
	for _, m := range v.maybe {
		if m != i && slices.Contains(later, m) {
			next.maybe = append(next.maybe, m)
		}
	}
	return next, true
}
