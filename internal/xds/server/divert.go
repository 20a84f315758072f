package server

import (
	"slices"

	"meshlite.dev/internal/xds/cache"
)

// diversion are proxies that follow another store. Immutable.
type diversion struct {
	store *cache.Store
	ids   map[string]bool
}

// Divert lets the proxies of these ids follow a fork of Config.Store, now or when
// they connect, until Divert is called again: it replaces the diversion before, and
// without ids ends it. Proxies go over and come back as with any change, clusters
// before the routes that lead to them. It returns at once; Survey goes on to ask
// about Config.Store.
func (s *Server) Divert(fork *cache.Store, ids ...string) {
	d := &diversion{fork, make(map[string]bool, len(ids))}
	for _, id := range ids {
		d.ids[id] = true
	}
	before := s.canary.Swap(d)
	for _, st := range s.live() {
		if d.ids[st.node.ID] || before != nil && before.ids[st.node.ID] {
			st.watch.Wake()
		}
	}
}

// Diverted returns the ids of the diversion in force, sorted, connected or not.
func (s *Server) Diverted() []string {
	d := s.canary.Load()
	if d == nil {
		return nil
	}
	ids := make([]string, 0, len(d.ids))
	for id := range d.ids {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// source is the store that the proxy follows.
func (st *stream) source() *cache.Store {
	if d := st.srv.canary.Load(); d != nil && d.ids[st.node.ID] {
		return d.store
	}
	return st.srv.cfg.Store
}
