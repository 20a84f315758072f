package server

import (
	"slices"
	"sync"

	"meshlite.dev/internal/xds/cache"
)

// refusedKept is how many refused versions are remembered of a name, and
// namesKept of how many names, for each proxy.
const (
	refusedKept = 8
	namesKept   = 4096
)

// quarantine is what one proxy refused. It outlives the proxy's streams, so
// that a reconnect does not send the same content again.
type quarantine struct {
	mu    sync.Mutex
	build string // what another build refused says nothing of this one
	names map[cache.Key]*refusal
}

// refusal is one name in quarantine.
type refusal struct {
	Rejection
	active   bool     // the refused content is still what the proxy should have
	versions []string // all that were refused, oldest first
}

// enter forgets everything if the proxy comes back as another build.
func (q *quarantine) enter(build string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.build != build {
		q.build, q.names = build, nil
	}
}

// refuse adds a version; false when it was there already.
func (q *quarantine) refuse(k cache.Kind, build string, r Rejection) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := cache.Key{Kind: k, Name: r.Resource}
	f := q.names[key]
	if f == nil {
		if q.names == nil {
			q.names = map[cache.Key]*refusal{}
		}
		if len(q.names) >= namesKept {
			q.dropResolved()
		}
		f = &refusal{}
		q.names[key] = f
	}
	known := slices.Contains(f.versions, r.Version)
	if known && f.active && f.Version == r.Version {
		return false
	}
	q.build, f.Rejection, f.active = build, r, true
	if !known {
		f.versions = append(f.versions, r.Version)
		if len(f.versions) > refusedKept {
			f.versions = f.versions[1:]
		}
	}
	return true
}

// dropResolved makes room by forgetting what is no longer in force.
func (q *quarantine) dropResolved() {
	for key, f := range q.names {
		if !f.active {
			delete(q.names, key)
		}
	}
}

// holds reports whether a content must not be sent, and makes it the active
// rejection of its name.
func (q *quarantine) holds(k cache.Kind, i *cache.Item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	f := q.names[cache.Key{Kind: k, Name: i.Name}]
	if f == nil || !slices.Contains(f.versions, i.Version) {
		return false
	}
	f.active, f.Version, f.Policies, f.Service = true, i.Version, i.Policies, i.Service
	return true
}

// knows reports whether a content was refused, and changes nothing.
func (q *quarantine) knows(k cache.Kind, i *cache.Item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	f := q.names[cache.Key{Kind: k, Name: i.Name}]
	return f != nil && slices.Contains(f.versions, i.Version)
}

// accept ends the active rejection of a name: the proxy has something newer.
// A fallback that was accepted is not.
func (q *quarantine) accept(k cache.Kind, i *cache.Item, wanted string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f := q.names[cache.Key{Kind: k, Name: i.Name}]
	if f == nil {
		return
	}
	if i.Version == wanted || f.Version == i.Version {
		f.active = false
		return
	}
	if f.active {
		f.LastGood = i.Version
	}
}

// release ends the active rejection of a name that is no longer wanted.
func (q *quarantine) release(k cache.Kind, name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if f := q.names[cache.Key{Kind: k, Name: name}]; f != nil {
		f.active = false
	}
}

// active returns the rejections in force, by type and name.
func (q *quarantine) active() []Rejection {
	q.mu.Lock()
	defer q.mu.Unlock()
	var keys []cache.Key
	for key, f := range q.names {
		if f.active {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, cache.Key.Compare)
	out := make([]Rejection, len(keys))
	for i, key := range keys {
		out[i] = q.names[key].Rejection
	}
	return out
}

// find returns the active rejection of a name.
func (q *quarantine) find(k cache.Kind, name string) (Rejection, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if f := q.names[cache.Key{Kind: k, Name: name}]; f != nil && f.active {
		return f.Rejection, true
	}
	return Rejection{}, false
}
