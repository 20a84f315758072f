package compile

import (
	"reflect"
	"slices"

	"meshlite.dev/internal/mesh"
)

// facts are what the routes of other services depend on. nil: the catalog has
// no such service.
type facts struct {
	synced  bool
	subsets []string // that routes may name, sorted
	empty   []string // those of them without an instance
	routed  bool     // a TrafficRoute is in force, and so the subsets are all
	// by is how callers meet the service; "" is all that are not named, others
	// are named where they meet it otherwise.
	by map[string]reach
}

// reach is how a caller meets a service.
type reach struct {
	tcp  bool
	hash []mesh.HashKey
}

func (e *entry) newFacts() *facts {
	f := &facts{synced: e.from.Synced, routed: e.route != nil, by: map[string]reach{}}
	if e.route != nil {
		for _, s := range e.route.route.subsets {
			f.subsets = append(f.subsets, s.Name)
			if e.from.Synced && !slices.ContainsFunc(e.from.Endpoints, s.Has) {
				f.empty = append(f.empty, s.Name)
			}
		}
	}
	for _, u := range e.uses {
		if u.rule != "" || !u.role.effective() {
			continue
		}
		r := reach{tcp: !u.protocol.HTTP(), hash: u.merged.effective.LoadBalancing.Hash}
		if u.caller == "" || !reflect.DeepEqual(r, f.by[""]) { // the default comes first
			f.by[u.caller] = r
		}
	}
	return f
}

// of is how caller meets the service.
func (f *facts) of(caller string) reach {
	if r, ok := f.by[caller]; ok {
		return r
	}
	return f.by[""]
}

func (f *facts) equal(o *facts) bool { return reflect.DeepEqual(f, o) }

// sameFacts reports whether other services see no difference between a and b,
// of which build keeps the facts where they are equal.
func sameFacts(a, b *entry) bool {
	return a != nil && b != nil && a.facts == b.facts
}

// factsOf is what is known of a service key.
func (c *Compiler) factsOf(key string) *facts {
	if e := c.services[key]; e != nil {
		return e.facts
	}
	return nil
}
