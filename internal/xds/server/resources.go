package server

import (
	"cmp"
	"maps"
	"slices"

	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
)

// Resources returns every resource of a connected proxy, by type in send order
// and name; ok is false when it is not connected.
func (s *Server) Resources(id string) (rs []ResourceState, ok bool) {
	s.ledger.mu.Lock()
	var st *stream
	if p := s.ledger.proxies[id]; p != nil {
		st = p.stream
	}
	s.ledger.mu.Unlock()
	if st == nil {
		return nil, false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.gone {
		return nil, false
	}
	for k := range cache.Kinds {
		rs = append(rs, st.states(k)...)
	}
	return rs, true
}

// Subscribed tells for each connected proxy, by id, which of refs it is
// subscribed to: all of a type that it takes whole, else those that it named.
func (s *Server) Subscribed(refs []resource.Ref) map[string][]bool {
	kinds := make([]cache.Kind, len(refs))
	known := make([]bool, len(refs))
	for i, r := range refs {
		kinds[i], known[i] = cache.KindOf(r.Type)
	}
	out := map[string][]bool{}
	for _, st := range s.live() {
		st.mu.Lock()
		if !st.gone {
			gets := make([]bool, len(refs))
			for i, r := range refs {
				gets[i] = known[i] && st.covers(kinds[i], r.Name)
			}
			out[st.node.ID] = gets
		}
		st.mu.Unlock()
	}
	return out
}

// states describes every resource of one type, by name.
func (st *stream) states(k cache.Kind) []ResourceState {
	if !st.kinds[k].asked {
		return nil
	}
	names := map[string]struct{}{}
	latest := st.source().Index()
	if st.kinds[k].all {
		for _, ix := range []*cache.Index{st.seen, latest} {
			for i := range ix.All(k, st.node.Service) {
				names[i.Name] = struct{}{}
			}
		}
		if k == cache.LDS {
			for name := range st.listeners {
				names[name] = struct{}{}
			}
		}
	}
	for _, name := range st.watch.Names(k) {
		names[name] = struct{}{}
	}
	for name := range st.kinds[k].notes {
		names[name] = struct{}{}
	}
	var out []ResourceState
	for name := range maps.Keys(names) {
		if r, ok := st.state(latest, k, name); ok {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b ResourceState) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// standsIn returns what a proxy should have under a name that the index lacks:
// what it has where that stays, the routes of a configured upstream, else
// nothing.
func (st *stream) standsIn(k cache.Kind, name, acked string, body []byte) (string, []byte) {
	i := st.srv.synthesize(k, name)
	switch {
	case k == cache.LDS && st.node.listeners()[name], k == cache.EDS && i != nil:
		return acked, body
	case k == cache.RDS && i != nil && st.node.calls(name):
		return i.Version, i.Body
	}
	return "", nil
}

// state describes one name; ok is false when nothing is to be said of it.
func (st *stream) state(latest *cache.Index, k cache.Kind, name string) (r ResourceState, ok bool) {
	r = ResourceState{Type: k.TypeURL(), Name: name, Status: Synced}
	acked, way := st.has(k, name), false
	for _, rec := range st.inflight {
		for _, s := range rec.items {
			if rec.kind == k && s.item.Name == name && !way {
				acked, way = s.prev, true // the oldest under way
			}
		}
	}
	r.Acked = acked.id
	if acked.item != nil {
		r.Body, r.Policies, r.Service, r.At = acked.item.Body, acked.item.Policies, acked.item.Service, acked.item.At
	}
	if cur := st.current(latest, k, name); cur != nil {
		r.Service, r.Policies = cur.Service, cur.Policies
		if cur.State == resource.Normal || cur.State == resource.IfAbsent && acked.id == "" {
			r.Wanted, r.WantedBody, r.At = cur.Version, cur.Body, cur.At
		}
		if cur.State != resource.Normal && acked.id != "" {
			r.Wanted, r.WantedBody = acked.id, r.Body
		}
	} else if st.lingering(k, name) {
		r.Wanted, r.WantedBody = acked.id, r.Body
	} else {
		r.Wanted, r.WantedBody = st.standsIn(k, name, acked.id, r.Body)
	}
	if way || r.Wanted != r.Acked {
		r.Status = Stale
	}
	if n := st.kinds[k].notes[name]; n != nil && n.waits != "" {
		r.Status, r.Message, r.At = Stale, "waits for "+n.waits, n.since
	}
	if e, bad := st.proxy.find(k, name); bad {
		r.Status, r.Message, r.At = Error, e.Message, e.At
	}
	return r, r.Acked != "" || r.Wanted != ""
}
