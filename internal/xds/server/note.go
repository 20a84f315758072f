package server

import (
	"slices"
	"time"

	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
)

// version is what a proxy has under a name. Its zero value is nothing.
type version struct {
	id   string
	item *cache.Item // nil when the proxy brought the version along
	// maybe is what the proxy may have instead: a response that it refused
	// carried it beside other content, and an Envoy applies some of that.
	maybe []*cache.Item
}

func versionOf(i *cache.Item) version { return version{id: i.Version, item: i} }

// without returns v for a proxy that refuses i wherever it stands.
func (v version) without(i *cache.Item) version {
	v.maybe = slices.DeleteFunc(slices.Clone(v.maybe), func(m *cache.Item) bool { return m.Version == i.Version })
	if len(v.maybe) == 0 {
		v.maybe = nil
	}
	return v
}

// leads reports whether what the proxy has, or may have, refers to a name.
func (v version) leads(k cache.Kind, name string) bool {
	return v.item != nil && refers(v.item, k, name) ||
		slices.ContainsFunc(v.maybe, func(i *cache.Item) bool { return refers(i, k, name) })
}

// note is what sets a name apart on a stream. A name without one is at the
// content of stream.seen, and nothing is to be done for it.
type note struct {
	have  version
	due   bool // the next flush looks at it
	force bool // send although the proxy has it: it asked, or its owner was sent
	alone bool // a suspect: next send in a response of its own

	// follow: a scope that is held back waits for these routes. They wake the
	// stream, but the proxy has not asked for them and is not told of them.
	follow bool

	waits string // what holds it back; "" when nothing does
	since time.Time
	told  bool // the deadline passed and was reported

	lingers time.Time // a cluster to be removed: since when nothing leads to it
	turn    time.Time // a cluster that changes: its place in the wave
}

// current is what the proxy should get under a name by index ix; nil when
// nothing.
func (st *stream) current(ix *cache.Index, k cache.Kind, name string) *cache.Item {
	if k == cache.LDS {
		if i := st.listeners[name]; i != nil {
			return i
		}
	}
	return ix.Get(k, name, st.node.Service)
}

// covers reports whether the proxy subscribed to a name.
func (st *stream) covers(k cache.Kind, name string) bool {
	return st.kinds[k].all || st.watch.Named(k, name)
}

// has is what the proxy has under a name, with all that is under way.
func (st *stream) has(k cache.Kind, name string) version {
	if n := st.kinds[k].notes[name]; n != nil {
		return n.have
	}
	if !st.covers(k, name) {
		return version{}
	}
	i := st.current(st.seen, k, name)
	if i == nil || i.State == resource.Withheld {
		return version{}
	}
	return versionOf(i)
}

// note returns the note of a name, made if need be.
func (st *stream) note(k cache.Kind, name string) *note {
	ks := &st.kinds[k]
	n := ks.notes[name]
	if n == nil {
		n = &note{have: st.has(k, name)}
		st.keep(k, name, n)
	}
	return n
}

// keep enters the note of a name.
func (st *stream) keep(k cache.Kind, name string, n *note) {
	ks := &st.kinds[k]
	if ks.notes == nil {
		ks.notes = map[string]*note{}
	}
	ks.notes[name] = n
}

// assume changes what the proxy has.
func (st *stream) assume(k cache.Kind, n *note, v version) {
	switch {
	case n.have.id == "" && v.id != "":
		st.kinds[k].count++
	case n.have.id != "" && v.id == "":
		st.kinds[k].count--
	}
	n.have = v
}

// mark makes a name due.
func (st *stream) mark(k cache.Kind, name string, force bool) {
	n := st.note(k, name)
	n.due = true
	n.force = n.force || force
}

// settle takes a note back if the proxy is where the index is.
func (st *stream) settle(k cache.Kind, name string, n *note) {
	n.due, n.force, n.waits, n.told, n.lingers, n.turn = false, false, "", false, time.Time{}, time.Time{}
	cur := st.current(st.seen, k, name)
	want := ""
	if cur != nil && cur.State != resource.Withheld && st.covers(k, name) {
		want = cur.Version
	}
	if n.have.id != want || n.have.maybe != nil || n.alone {
		return
	}
	st.forget(k, name)
}

// forget deletes a note.
func (st *stream) forget(k cache.Kind, name string) {
	ks := &st.kinds[k]
	delete(ks.notes, name)
	if len(ks.notes) == 0 {
		ks.notes = nil
	}
}

// advance brings the stream's index up to date: what changed since and
// concerns it becomes due.
func (st *stream) advance() {
	from := st.source()
	old, next := st.seen, from.Index()
	if old == next {
		return
	}
	changes, ok := next.Since(old.Seq())
	if from != st.from {
		st.from, ok = from, false // another line of indexes: their numbers say nothing
	}
	if ok {
		for _, c := range changes {
			if c.Concerns(st.node.Service) && (st.covers(c.Kind, c.Name) || st.kinds[c.Kind].notes[c.Name] != nil) {
				st.mark(c.Kind, c.Name, false)
			}
		}
	} else {
		for k := range cache.Kinds {
			for name := range next.Diff(old, k, st.node.Service) {
				if st.covers(k, name) || st.kinds[k].notes[name] != nil {
					st.mark(k, name, false)
				}
			}
		}
	}
	st.seen = next
}
