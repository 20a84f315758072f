package server

import (
	"slices"

	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
)

const everything = "*" // the explicit wildcard

// handleDelta takes an incremental request. An answer and a change of
// subscription may stand in one message; Envoy sends them apart.
func (st *stream) handleDelta(k cache.Kind, req *request) {
	if req.nonce != "" {
		st.answer(k, req)
	}
	ks := &st.kinds[k]
	if !ks.asked {
		st.firstDelta(k, req)
	} else {
		st.subscribe(k, req.subscribe)
	}
	st.unsubscribe(k, req.unsubscribe)
	if st.due(k) || ks.first {
		st.watch.Wake()
	}
}

// wildcard reports whether an empty first subscription means everything, as
// it does for the types that a proxy cannot name beforehand.
func wildcard(k cache.Kind) bool { return k == cache.CDS || k == cache.LDS || k == cache.SRDS }

// firstDelta takes the first request of a type: the subscription, and the
// versions that the proxy brings along from an earlier stream.
func (st *stream) firstDelta(k cache.Kind, req *request) {
	ks := &st.kinds[k]
	ks.asked, ks.first, ks.fresh = true, true, len(req.initial) == 0
	all := slices.Contains(req.subscribe, everything) || len(req.subscribe) == 0 && wildcard(k)
	for _, name := range req.subscribe {
		if name != everything {
			st.bring(k, name, req.initial[name], true)
		}
	}
	if !all {
		return
	}
	for i := range st.seen.All(k, st.node.Service) {
		st.bring(k, i.Name, req.initial[i.Name], false)
	}
	if k == cache.LDS {
		for name := range st.listeners {
			st.bring(k, name, req.initial[name], false)
		}
	}
	for name, v := range req.initial {
		if st.kinds[k].notes[name] == nil && st.current(st.seen, k, name) == nil {
			st.bring(k, name, v, false) // gone meanwhile
		}
	}
	ks.all = true
	st.watch.SetAll(k, true)
}

// bring notes what the proxy has under a name at the start of a stream. asked
// says that it named it.
func (st *stream) bring(k cache.Kind, name, v string, asked bool) {
	ks := &st.kinds[k]
	st.unfollow(k, name)
	if ks.notes[name] != nil || st.covers(k, name) {
		// Sent behind its owner before the proxy asked: it answers for itself,
		// unless the proxy says that it has something.
		if asked && v == "" {
			st.mark(k, name, true)
		}
		return
	}
	n := &note{due: true, force: ks.repush || asked && v == ""}
	st.keep(k, name, n)
	if asked {
		st.watch.Add(k, name)
	}
	if v == "" {
		return
	}
	st.assume(k, n, version{id: v})
	cur := st.current(st.seen, k, name)
	if cur == nil || cur.State == resource.Withheld || cur.Version != v {
		return
	}
	n.have.item = cur
	st.prove(cur)
	if !n.force {
		st.forget(k, name)
	}
}

// subscribe takes further names. Each is answered, even if it was sent before:
// a proxy asks again when it has lost what it had.
func (st *stream) subscribe(k cache.Kind, names []string) {
	for _, name := range names {
		if name == everything {
			st.widen(k)
			continue
		}
		st.unfollow(k, name)
		st.mark(k, name, true)
		st.watch.Add(k, name)
	}
}

// widen turns the wildcard on: everything not yet there becomes due.
func (st *stream) widen(k cache.Kind) {
	ks := &st.kinds[k]
	if ks.all {
		return
	}
	var names []string
	for i := range st.seen.All(k, st.node.Service) {
		names = append(names, i.Name)
	}
	if k == cache.LDS {
		for name := range st.listeners {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if !st.covers(k, name) {
			st.mark(k, name, false)
		}
	}
	ks.all = true
	st.watch.SetAll(k, true)
}

// unsubscribe takes names out. One that the wildcard still covers is answered
// once more: the proxy has dropped it.
func (st *stream) unsubscribe(k cache.Kind, names []string) {
	for _, name := range names {
		if name == everything {
			st.narrow(k)
			continue
		}
		n := st.note(k, name)
		if n.follow {
			continue // it had not asked for it
		}
		st.watch.Remove(k, name)
		if st.kinds[k].all {
			st.assume(k, n, version{})
			n.due, n.force = true, true
			continue
		}
		st.leave(k, name, n)
	}
}

// narrow turns the wildcard off; names added one by one stay.
func (st *stream) narrow(k cache.Kind) {
	ks := &st.kinds[k]
	if !ks.all {
		return
	}
	ks.all = false
	st.watch.SetAll(k, false)
	for name := range ks.notes {
		if !st.watch.Named(k, name) {
			st.forget(k, name)
		}
	}
	ks.count = 0
	for _, name := range st.watch.Names(k) {
		if st.has(k, name).id != "" {
			ks.count++
		}
	}
}

// due reports whether the next flush has something to look at in a type.
func (st *stream) due(k cache.Kind) bool {
	for _, n := range st.kinds[k].notes {
		if n.due {
			return true
		}
	}
	return false
}
