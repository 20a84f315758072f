package cache

import (
	"maps"
	"slices"
	"time"

	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/xds/resource"
)

// edit collects what one publish touches. Work is proportional to that.
type edit struct {
	old     *Index
	at      time.Time
	touched map[Key]*entry // next content; entries are copies
	changes []Change
}

func newEdit(old *Index, at time.Time) *edit {
	return &edit{old: old, at: at, touched: map[Key]*entry{}}
}

// open returns the entry of a key for writing.
func (e *edit) open(key Key) *entry {
	if n, ok := e.touched[key]; ok {
		return n
	}
	n := &entry{}
	if was, ok := e.old.trees[key.Kind].Get(key.Name); ok {
		n.all, n.byCaller = was.all, maps.Clone(was.byCaller)
	}
	e.touched[key] = n
	return n
}

// put stages r, unless it is what is in force already.
func (e *edit) put(k Kind, r *resource.Resource) {
	key := Key{k, r.Name}
	was := e.current(key, r.Caller)
	if was != nil && (was.Resource == r || equal(was.Resource, r)) {
		return
	}
	item, _ := NewItem(r, e.at)
	item.succeed(was)
	if was != nil && was.Version == r.Version && was.State == r.State {
		item.At = was.At // other labels, same content
	}
	n := e.open(key)
	if r.Caller == "" {
		n.all = item
		return
	}
	if n.byCaller == nil {
		n.byCaller = map[string]*Item{}
	}
	n.byCaller[r.Caller] = item
}

// current returns the variant that is staged, else the one in force.
func (e *edit) current(key Key, caller string) *Item {
	n, ok := e.touched[key]
	if !ok {
		n, _ = e.old.trees[key.Kind].Get(key.Name)
	}
	return n.variant(caller)
}

// drop stages the removal of a resource, if service is still its owner.
func (e *edit) drop(o owned, service string) {
	was := e.current(o.Key, o.caller)
	if was == nil || was.Service != service {
		return
	}
	n := e.open(o.Key)
	if o.caller == "" {
		n.all = nil
	} else {
		delete(n.byCaller, o.caller)
	}
}

// finish builds the next index.
func (e *edit) finish(keep int) *Index {
	next := &Index{seq: e.old.seq + 1, trees: e.old.trees, refs: e.old.refs}
	keys := slices.SortedFunc(maps.Keys(e.touched), Key.Compare)
	for k := range Kinds {
		part := slices.DeleteFunc(slices.Clone(keys), func(key Key) bool { return key.Kind != k })
		if len(part) == 0 {
			continue
		}
		next.trees[k] = next.trees[k].Edit(func(set func(string, *entry), del func(string)) {
			for _, key := range part {
				if n := e.touched[key]; n.empty() {
					del(key.Name)
				} else {
					set(key.Name, n)
				}
			}
		})
	}
	for _, key := range keys {
		was, _ := e.old.trees[key.Kind].Get(key.Name)
		next.refs = relink(next.refs, key, was, e.touched[key])
		if c, ok := compare(was, e.touched[key]); ok {
			c.Seq, c.Key = next.seq, key
			e.changes = append(e.changes, c)
		}
	}
	next.log, next.cut = extend(e.old.log, e.old.cut, e.changes, keep)
	return next
}

// compare reports whether streams have to look at a name again.
func compare(was, now *entry) (c Change, changed bool) {
	if was == nil {
		was = &entry{}
	}
	if !same(was.all, now.all) {
		return Change{}, true
	}
	for caller, i := range now.byCaller {
		if !same(was.byCaller[caller], i) {
			c.Callers = append(c.Callers, caller)
		}
	}
	for caller := range was.byCaller {
		if _, ok := now.byCaller[caller]; !ok {
			c.Callers = append(c.Callers, caller)
		}
	}
	return c, c.Callers != nil
}

// equal reports whether two resources are one, labels included.
func equal(a, b *resource.Resource) bool {
	return a.Version == b.Version && a.State == b.State && a.Service == b.Service &&
		slices.Equal(a.Policies, b.Policies) && slices.Equal(a.Refs, b.Refs)
}

func same(a, b *Item) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Version == b.Version && a.State == b.State
}

// relink brings the index of referrers from an entry's old to its new refs.
func relink(refs pmap.Map[[]Key], from Key, was, now *entry) pmap.Map[[]Key] {
	before, after := refsOf(was), refsOf(now)
	for to := range before {
		if _, still := after[to]; !still {
			rs, _ := refs.Get(refKey(to))
			rs = slices.DeleteFunc(slices.Clone(rs), func(k Key) bool { return k == from })
			if len(rs) == 0 {
				refs = refs.Delete(refKey(to))
			} else {
				refs = refs.Set(refKey(to), rs)
			}
		}
	}
	for to := range after {
		if _, had := before[to]; !had {
			rs, _ := refs.Get(refKey(to))
			refs = refs.Set(refKey(to), append(slices.Clone(rs), from))
		}
	}
	return refs
}

func refsOf(e *entry) map[Key]struct{} {
	if e == nil {
		return nil
	}
	out := map[Key]struct{}{}
	add := func(i *Item) {
		if i == nil {
			return
		}
		for _, r := range i.Refs {
			if k, ok := KindOf(r.Type); ok {
				out[Key{k, r.Name}] = struct{}{}
			}
		}
	}
	add(e.all)
	for _, i := range e.byCaller {
		add(i)
	}
	return out
}

// extend appends changes to a log whose array older indexes go on reading,
// and moves the newest keep of them to a new array once it is twice as long.
func extend(log []Change, cut uint64, changes []Change, keep int) ([]Change, uint64) {
	log = append(log, changes...)
	if len(log) <= 2*keep {
		return log, cut
	}
	first := len(log) - keep
	for first < len(log) && log[first-1].Seq == log[first].Seq {
		first++ // never half a publish
	}
	return slices.Clone(log[first:]), log[first-1].Seq
}
