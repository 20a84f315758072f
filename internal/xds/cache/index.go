package cache

import (
	"iter"
	"slices"

	"meshlite.dev/internal/pmap"
)

// Index is everything that is in force after one publish. Immutable, apart
// from what items learn.
type Index struct {
	seq   uint64
	trees [Kinds]pmap.Map[*entry]
	refs  pmap.Map[[]Key] // who refers to a resource, by refKey
	log   []Change        // the newest changes, oldest first
	cut   uint64          // changes up to this sequence number are not in log
}

// entry is one name: what everybody gets, and what single callers get instead.
type entry struct {
	all      *Item
	byCaller map[string]*Item
}

func (e *entry) pick(caller string) *Item {
	if e == nil {
		return nil
	}
	if i, ok := e.byCaller[caller]; ok {
		return i
	}
	return e.all
}

// variant is what is meant for a caller alone, with "" for everybody.
func (e *entry) variant(caller string) *Item {
	switch {
	case e == nil:
		return nil
	case caller == "":
		return e.all
	}
	return e.byCaller[caller]
}

// variants yields them all.
func (e *entry) variants() iter.Seq2[string, *Item] {
	return func(yield func(string, *Item) bool) {
		if e == nil || e.all != nil && !yield("", e.all) {
			return
		}
		for caller, i := range e.byCaller {
			if i != nil && !yield(caller, i) {
				return
			}
		}
	}
}

func (e *entry) empty() bool { return e.all == nil && len(e.byCaller) == 0 }

// Change says that a name has other content since publish Seq.
type Change struct {
	Seq uint64
	Key
	// Callers are those whose variant changed; nil when what everybody gets
	// did.
	Callers []string
}

// Concerns reports whether a proxy of that caller may get something else.
func (c Change) Concerns(caller string) bool {
	return c.Callers == nil || slices.Contains(c.Callers, caller)
}

// Seq is the number of the publish that made the index; 0 before the first.
func (ix *Index) Seq() uint64 { return ix.seq }

// Get returns what a proxy of that caller gets under a name; nil when nothing.
func (ix *Index) Get(k Kind, name, caller string) *Item {
	e, _ := ix.trees[k].Get(name)
	return e.pick(caller)
}

// All yields, by name, what a proxy of that caller gets.
func (ix *Index) All(k Kind, caller string) iter.Seq[*Item] {
	return func(yield func(*Item) bool) {
		for _, e := range ix.trees[k].All() {
			if i := e.pick(caller); i != nil && !yield(i) {
				return
			}
		}
	}
}

// Len returns the number of names of a kind.
func (ix *Index) Len(k Kind) int { return ix.trees[k].Len() }

// Referrers returns the names whose content, for some caller, refers to key.
func (ix *Index) Referrers(key Key) []Key {
	rs, _ := ix.refs.Get(refKey(key))
	return rs
}

// Since returns the changes after publish seq, oldest first; ok is false when
// they are no longer known and old and new index have to be compared.
func (ix *Index) Since(seq uint64) (changes []Change, ok bool) {
	if seq < ix.cut {
		return nil, false
	}
	i, _ := slices.BinarySearchFunc(ix.log, seq, func(c Change, seq uint64) int {
		if c.Seq <= seq {
			return -1
		}
		return 1
	})
	return ix.log[i:], true
}

// Diff yields the names of a kind under which a proxy of that caller gets
// something else than it got in old, by comparing all of both.
func (ix *Index) Diff(old *Index, k Kind, caller string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for name, e := range ix.trees[k].All() {
			if was, _ := old.trees[k].Get(name); was != e && was.pick(caller) != e.pick(caller) && !yield(name) {
				return
			}
		}
		for name, e := range old.trees[k].All() {
			if !ix.trees[k].Has(name) && e.pick(caller) != nil && !yield(name) {
				return
			}
		}
	}
}

func refKey(k Key) string { return string(rune('0'+k.Kind)) + k.Name }
