package server

import (
	"fmt"
	"hash/fnv"
	"slices"

	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
)

// handleSotW takes a request of the state-of-the-world protocol: every one
// repeats the whole subscription, and is an answer if it carries a nonce.
func (st *stream) handleSotW(k cache.Kind, req *request) {
	ks := &st.kinds[k]
	if !ks.asked {
		st.firstSotW(k, req)
		st.watch.Wake()
		return
	}
	answers := slices.ContainsFunc(st.inflight, func(s *sent) bool { return s.kind == k && s.nonce == req.nonce })
	// A nonce that is not the newest is no reason to drop the names: Envoy
	// sends a change of names with the last nonce it has processed.
	changed := st.rename(k, req.names)
	if answers {
		st.answer(k, req)
	} else if !changed && !wildcard(k) && req.nonce == ks.last {
		// The same names again, nothing to answer: a cluster was made anew and
		// waits for its endpoints.
		for _, name := range req.names {
			st.mark(k, name, true)
		}
	}
	if st.due(k) {
		st.watch.Wake()
	}
}

// firstSotW takes the first request of a type. A proxy that comes back with
// the version that it would get anyway gets nothing.
func (st *stream) firstSotW(k cache.Kind, req *request) {
	ks := &st.kinds[k]
	ks.asked, ks.first, ks.fresh = true, true, req.version == ""
	st.rename(k, req.names)
	if req.version == "" || ks.repush {
		return
	}
	names := make([]string, 0, len(ks.notes))
	for name := range ks.notes {
		names = append(names, name)
	}
	sum := newSum()
	for _, name := range names {
		if i := st.current(st.seen, k, name); i != nil && i.State != resource.Withheld {
			sum.add(i)
		}
	}
	if sum.String() != req.version {
		return
	}
	for _, name := range names {
		n := ks.notes[name]
		if i := st.current(st.seen, k, name); i != nil && i.State != resource.Withheld {
			st.assume(k, n, versionOf(i))
			st.prove(i)
			n.force = false
			st.settle(k, name, n)
		}
	}
}

// rename makes names the subscription and reports whether that changed it. An
// empty list is the wildcard, unless names were given before.
func (st *stream) rename(k cache.Kind, names []string) (changed bool) {
	ks := &st.kinds[k]
	explicit := slices.Contains(names, everything)
	if explicit {
		names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == everything })
	}
	all := explicit || len(names) == 0 && wildcard(k) && !ks.named
	ks.named = ks.named || len(names) > 0
	if all != ks.all {
		changed = true
		if all {
			st.widen(k)
		}
	}
	had := map[string]version{}
	for _, name := range names {
		st.unfollow(k, name)
		if !st.watch.Named(k, name) {
			had[name] = st.has(k, name)
		}
	}
	added, removed := st.watch.Replace(k, names)
	removed = slices.DeleteFunc(removed, func(name string) bool { return st.refollow(k, name) })
	for _, name := range added {
		n := st.kinds[k].notes[name]
		if n == nil {
			n = &note{have: had[name]}
			st.keep(k, name, n)
		}
		n.due, n.force = true, true
	}
	for _, name := range removed {
		n := ks.notes[name]
		if n == nil {
			n = &note{}
			if i := st.current(st.seen, k, name); i != nil && i.State != resource.Withheld {
				n.have = versionOf(i)
			}
			st.keep(k, name, n)
		}
		st.leave(k, name, n)
	}
	if !all {
		st.narrow(k)
	}
	return changed || len(added)+len(removed) > 0
}

// sum is the version of a set: the same resources give the same one on every
// replica, in any order.
type sum uint64

func newSum() sum { return 0 }

func (s *sum) add(i *cache.Item) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(i.Name)) // never fails
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(i.Version))
	*s += sum(h.Sum64())
}

// String returns 16 hex digits.
func (s *sum) String() string { return fmt.Sprintf("%016x", uint64(*s)) }

// setVersion is the version of what the proxy has of a type.
func (st *stream) setVersion(k cache.Kind) string {
	s := newSum()
	if wildcard(k) {
		for _, i := range st.set(k) {
			s.add(i)
		}
		return s.String()
	}
	for _, name := range st.watch.Names(k) {
		if v := st.has(k, name); v.item != nil {
			s.add(v.item)
		}
	}
	return s.String()
}

// emitSet sends a whole set if anything of it changed. Suspects go one at a
// time, each with everything else.
func (p *plan) emitSet(k cache.Kind, batch, alone []sentItem) {
	ks := &p.st.kinds[k]
	again := ks.again
	ks.again = false
	if again || len(batch)+len(alone) > 0 {
		p.respond(&sent{kind: k, items: append(batch, alone...), trial: len(alone) > 0}, nil)
		return
	}
	if ks.first && ks.asked && ks.fresh && ks.sent.IsZero() {
		p.respond(&sent{kind: k}, nil)
	}
}
