package cache

import (
	"slices"
	"sync"
)

// Watch is one stream's subscription: which names of which kinds it wants to
// be woken for. It is kept the other way round, as a set of streams per name,
// so that a thousand streams that want the same thousand names cost a bit for
// each, and a publish touches only those it concerns.
type Watch struct {
	// C has room for one and is filled when something of interest changed.
	C      chan struct{}
	caller string
	t      *table
	slot   int
	named  [Kinds]int // names added one by one
}

// table is the inverted index from names to watches.
type table struct {
	mu      sync.RWMutex
	slots   []*Watch // by slot; nil when free
	free    []int
	names   [Kinds]map[string]bitset
	all     [Kinds]bitset     // who wants every name of a kind
	callers map[string]bitset // whose watch it is
	start   int               // whose turn it is to be woken first
	since   uint64            // changes since everybody was woken
	woken   bitset            // scratch of wake
}

func (t *table) init() {
	t.callers = map[string]bitset{}
	for k := range t.names {
		t.names[k] = map[string]bitset{}
	}
}

// Watch registers a stream of that caller. Close must be called.
func (s *Store) Watch(caller string) *Watch {
	t := s.table
	t.mu.Lock()
	defer t.mu.Unlock()
	w := &Watch{C: make(chan struct{}, 1), caller: caller, t: t, slot: len(t.slots)}
	if n := len(t.free); n > 0 {
		w.slot, t.free = t.free[n-1], t.free[:n-1]
		t.slots[w.slot] = w
	} else {
		t.slots = append(t.slots, w)
	}
	same := t.callers[caller]
	same.add(w.slot)
	t.callers[caller] = same
	return w
}

// Slot is a small number that no other open watch has.
func (w *Watch) Slot() int { return w.slot }

// Wake fills C.
func (w *Watch) Wake() {
	select {
	case w.C <- struct{}{}:
	default:
	}
}

// Add subscribes to names of a kind. What is published after Add returns wakes
// the watch, so read the index after it.
func (w *Watch) Add(k Kind, names ...string) {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	for _, n := range names {
		w.add(k, n)
	}
}

func (w *Watch) add(k Kind, name string) (fresh bool) {
	b := w.t.names[k][name]
	if b.has(w.slot) {
		return false
	}
	b.add(w.slot)
	w.t.names[k][name] = b
	w.named[k]++
	return true
}

// Replace makes names the whole subscription of a kind and reports which of
// them are new and which went.
func (w *Watch) Replace(k Kind, names []string) (added, removed []string) {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	for _, n := range names {
		if w.add(k, n) {
			added = append(added, n)
		}
	}
	keep := make(map[string]struct{}, len(names))
	for _, n := range names {
		keep[n] = struct{}{}
	}
	if w.named[k] == len(keep) {
		return added, nil
	}
	for n, b := range w.t.names[k] {
		if _, ok := keep[n]; !ok && b.has(w.slot) {
			removed = append(removed, n)
		}
	}
	for _, n := range removed {
		w.drop(k, n)
	}
	slices.Sort(removed)
	return added, removed
}

// Count returns how many names of a kind were added one by one.
func (w *Watch) Count(k Kind) int {
	w.t.mu.RLock()
	defer w.t.mu.RUnlock()
	return w.named[k]
}

// Remove takes names out of the subscription.
func (w *Watch) Remove(k Kind, names ...string) {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	for _, n := range names {
		w.drop(k, n)
	}
}

func (w *Watch) drop(k Kind, name string) {
	b := w.t.names[k][name]
	if !b.has(w.slot) {
		return
	}
	w.named[k]--
	if b.del(w.slot); b.empty() {
		delete(w.t.names[k], name)
	}
}

// SetAll turns interest in every name of a kind on or off; names added one by
// one stay.
func (w *Watch) SetAll(k Kind, on bool) {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	if on {
		w.t.all[k].add(w.slot)
	} else {
		w.t.all[k].del(w.slot)
	}
}

// Named reports whether the name was added on its own.
func (w *Watch) Named(k Kind, name string) bool {
	w.t.mu.RLock()
	defer w.t.mu.RUnlock()
	return w.t.names[k][name].has(w.slot)
}

// Wants reports whether the name is covered, by itself or by SetAll.
func (w *Watch) Wants(k Kind, name string) bool {
	w.t.mu.RLock()
	defer w.t.mu.RUnlock()
	return w.t.all[k].has(w.slot) || w.t.names[k][name].has(w.slot)
}

// Names returns the names added one by one, sorted.
func (w *Watch) Names(k Kind) []string {
	w.t.mu.RLock()
	defer w.t.mu.RUnlock()
	var out []string
	for n, b := range w.t.names[k] {
		if b.has(w.slot) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// Close forgets the watch.
func (w *Watch) Close() {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	for k := range Kinds {
		w.t.all[k].del(w.slot)
		for n := range w.t.names[k] {
			w.drop(k, n)
		}
	}
	if same := w.t.callers[w.caller]; same.has(w.slot) {
		if same.del(w.slot); same.empty() {
			delete(w.t.callers, w.caller)
		}
	}
	w.t.slots[w.slot] = nil
	w.t.free = append(w.t.free, w.slot)
}

// wake fills C of every watch that one of the changes concerns. Now and then
// it wakes all, so that nobody's index grows older than half the log.
func (t *table) wake(changes []Change, log uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.woken)
	t.since += uint64(len(changes))
	if t.since > log/2 {
		t.since = 0
		for _, w := range t.slots {
			if w != nil {
				t.woken.add(w.slot)
			}
		}
	}
	for _, c := range changes {
		if c.Callers == nil {
			t.woken.or(t.all[c.Kind])
			t.woken.or(t.names[c.Kind][c.Name])
			continue
		}
		for _, b := range []bitset{t.all[c.Kind], t.names[c.Kind][c.Name]} {
			for i := range b.from(0) {
				if c.Concerns(t.slots[i].caller) {
					t.woken.add(i)
				}
			}
		}
	}
	t.start = (t.start + 64) % max(64, len(t.slots))
	for i := range t.woken.from(t.start) {
		t.slots[i].Wake()
	}
}
