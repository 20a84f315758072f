package app

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/policy"
)

// revisionKey stands among the service names for a change of the policies;
// no service is called so.
const revisionKey = ""

// inbox gathers what the sources say until the builder has time for it. The
// sources' goroutines put, one goroutine takes; nothing here blocks on work.
type inbox struct {
	wake chan struct{} // holds one token while something is new

	mu          sync.Mutex
	windows     *windows
	services    pmap.Map[*catalog.Service] // newest
	problems    []mesh.Finding
	datacenter  string
	revision    policy.Revision
	changedKeys map[policy.Key]bool
	next        *pending                   // a revision that waits
	given       pmap.Map[*catalog.Service] // what take has given out
	built       bool                       // take has given out something
	frozen      bool                       // only endpoints change
	hasCatalog  bool
	hasRevision bool
}

// awaitRemotes is how long a revision waits for what the catalog has to learn
// first: the services of other datacenters that its routes name. Without it
// their calls would be refused until then.
const awaitRemotes = 2 * time.Second

// pending is a revision that waits for services.
type pending struct {
	revision policy.Revision
	changed  map[policy.Key]bool
	services []string
	until    time.Time
}

// work is what the builder does in one go.
type work struct {
	snapshot catalog.Snapshot // all services; Changed names those that are due
	revision policy.Revision  // Changed names the documents since the last work
}

func newInbox() *inbox {
	return &inbox{wake: make(chan struct{}, 1), windows: newWindows(), changedKeys: map[policy.Key]bool{}}
}

// putCatalog takes a new snapshot.
func (in *inbox) putCatalog(s catalog.Snapshot, now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, name := range s.Changed {
		before, _ := in.services.Get(name)
		after, _ := s.Services.Get(name)
		in.windows.note(name, !sameButEndpoints(before, after), now)
	}
	news := !in.hasCatalog || len(s.Changed) > 0
	if in.datacenter != s.Datacenter { // routes may name it
		in.windows.note(revisionKey, true, now)
		news = true
	}
	in.services, in.problems, in.datacenter, in.hasCatalog = s.Services, s.Problems, s.Datacenter, true
	if in.release(now) || news {
		in.signal()
	}
}

// putRevision takes a new revision; one that is not the first waits a while
// until the catalog has answered for the services.
func (in *inbox) putRevision(r policy.Revision, services []string, now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	p := &pending{revision: r, changed: map[policy.Key]bool{}, services: services, until: now}
	if in.hasRevision {
		p.until = now.Add(awaitRemotes)
	}
	for _, key := range r.Changed {
		p.changed[key] = true
	}
	if in.next != nil {
		maps.Copy(p.changed, in.next.changed)
	}
	in.next = p
	in.release(now)
	in.signal()
}

// release puts the revision that waits in force, once it need not any more.
func (in *inbox) release(now time.Time) bool {
	p := in.next
	if p == nil || now.Before(p.until) && slices.ContainsFunc(p.services, in.unanswered) {
		return false
	}
	in.revision, in.hasRevision, in.next = p.revision, true, nil
	maps.Copy(in.changedKeys, p.changed)
	in.windows.note(revisionKey, true, now)
	return true
}

// unanswered reports whether the catalog has yet to answer for a service; those
// of the own datacenter are there without its name.
func (in *inbox) unanswered(key string) bool {
	_, datacenter := mesh.SplitServiceKey(key)
	s, ok := in.services.Get(key)
	return datacenter != in.datacenter && (!ok || !s.Synced)
}

// take returns what is due, if anything is; next is when to ask again (zero:
// after the next wake).
func (in *inbox) take(now time.Time) (w work, next time.Time, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.hasCatalog || !in.hasRevision {
		return work{}, time.Time{}, false
	}
	in.release(now)
	due, next := in.windows.take(now)
	if p := in.next; p != nil && (next.IsZero() || p.until.Before(next)) {
		next = p.until
	}
	if len(due) == 0 {
		return work{}, next, false
	}
	in.give(due)
	w.snapshot = catalog.Snapshot{Services: in.given, Datacenter: in.datacenter, Problems: in.problems}
	w.revision = in.revision
	w.revision.Changed = nil
	for _, name := range due {
		if name != revisionKey {
			w.snapshot.Changed = append(w.snapshot.Changed, name)
			continue
		}
		for key := range in.changedKeys {
			w.revision.Changed = append(w.revision.Changed, key)
		}
		clear(in.changedKeys)
	}
	slices.Sort(w.snapshot.Changed)
	slices.SortFunc(w.revision.Changed, func(a, b policy.Key) int {
		return strings.Compare(a.String(), b.String())
	})
	return w, next, true
}

func (in *inbox) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// sameButEndpoints reports whether a and b differ in their endpoints alone,
// so that no route and no cluster can change.
func sameButEndpoints(a, b *catalog.Service) bool {
	if a == nil || b == nil || !a.Synced || !b.Synced {
		return false
	}
	x, y := *a, *b
	x.Endpoints, y.Endpoints = nil, nil
	return reflect.DeepEqual(x, y)
}
