package app

import (
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
	hasCatalog  bool
	hasRevision bool
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
	if news {
		in.signal()
	}
}

// putRevision takes a new revision.
func (in *inbox) putRevision(r policy.Revision, now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, key := range r.Changed {
		in.changedKeys[key] = true
	}
	in.revision, in.hasRevision = r, true
	in.windows.note(revisionKey, true, now)
	in.signal()
}

// take returns what is due, if anything is; next is when to ask again (zero:
// after the next wake).
func (in *inbox) take(now time.Time) (w work, next time.Time, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.hasCatalog || !in.hasRevision {
		return work{}, time.Time{}, false
	}
	due, next := in.windows.take(now)
	if len(due) == 0 {
		return work{}, next, false
	}
	w.snapshot = catalog.Snapshot{Services: in.services, Datacenter: in.datacenter, Problems: in.problems}
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
