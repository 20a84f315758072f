package cache

import (
	"sync"

	"meshlite.dev/internal/xds/resource"
)

// Label names what of the published carries a policy's label: the resources
// of one service or, with Service "", all.
type Label struct{ Policy, Service string }

// labels is the index from labels to resources, kept with every publish at the
// cost of what the publish changes.
type labels struct {
	mu sync.RWMutex
	at map[string]map[string]map[owned]struct{} // by label and service
}

// follow takes over what an edit changed.
func (l *labels) follow(e *edit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, now := range e.touched {
		was, _ := e.old.trees[key.Kind].Get(key.Name)
		for caller, i := range was.variants() {
			if now.variant(caller) != i {
				l.remove(owned{key, caller}, i.Resource)
			}
		}
		for caller, i := range now.variants() {
			if was.variant(caller) != i {
				l.add(owned{key, caller}, i.Resource)
			}
		}
	}
}

func (l *labels) add(o owned, r *resource.Resource) {
	for _, p := range r.Policies {
		if l.at == nil {
			l.at = map[string]map[string]map[owned]struct{}{}
		}
		services := l.at[p]
		if services == nil {
			services = map[string]map[owned]struct{}{}
			l.at[p] = services
		}
		if services[r.Service] == nil {
			services[r.Service] = map[owned]struct{}{}
		}
		services[r.Service][o] = struct{}{}
	}
}

func (l *labels) remove(o owned, r *resource.Resource) {
	for _, p := range r.Policies {
		services := l.at[p]
		if delete(services[r.Service], o); len(services[r.Service]) == 0 {
			delete(services, r.Service)
		}
		if len(services) == 0 {
			delete(l.at, p)
		}
	}
}

// each calls visit with every resource under a label until it returns false,
// and reports whether there is any.
func (l *labels) each(of Label, visit func(owned) bool) (any bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	services := l.at[of.Policy]
	for service, resources := range services {
		if of.Service != "" && service != of.Service {
			continue
		}
		for o := range resources {
			if any = true; !visit(o) {
				return true
			}
		}
	}
	return any
}

// Crowd is a set of watches. The zero value is empty.
type Crowd struct{ slots bitset }

// Add puts w into the crowd.
func (c *Crowd) Add(w *Watch) { c.slots.add(w.slot) }

// Len returns the number of watches.
func (c *Crowd) Len() int { return c.slots.len() }

// Clear empties the crowd.
func (c *Crowd) Clear() { clear(c.slots) }

// Audience adds to into those of among who are subscribed to something under a
// label, in the variant that they get; false when nothing carries the label. It
// ends with the first resource that all of them get, which is the usual case.
func (s *Store) Audience(of Label, among, into *Crowd) (labelled bool) {
	all, ix := among.Len(), s.Index()
	var some bitset
	return s.labels.each(of, func(o owned) bool {
		some = s.table.audience(o, ix, some[:0])
		some.and(among.slots)
		into.slots.or(some)
		return into.Len() < all
	})
}

// audience returns who gets a resource, written over into.
func (t *table) audience(o owned, ix *Index, into bitset) bitset {
	t.mu.RLock()
	defer t.mu.RUnlock()
	into.or(t.all[o.Kind])
	into.or(t.names[o.Kind][o.Name])
	if o.caller != "" {
		into.and(t.callers[o.caller])
		return into
	}
	if e, ok := ix.trees[o.Kind].Get(o.Name); ok {
		for caller := range e.byCaller {
			into.andNot(t.callers[caller])
		}
	}
	return into
}
