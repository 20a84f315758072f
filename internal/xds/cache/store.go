package cache

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"meshlite.dev/internal/xds/resource"
)

// Config tunes a Store.
type Config struct {
	// Log is how many changes are remembered, so that a stream that fell
	// behind finds them without comparing whole indexes; default 4096.
	Log int
}

// Default returns the settings in use when a field is zero.
func Default() Config { return Config{Log: 4096} }

// Store publishes indexes. Its methods may be called by any goroutine; Apply
// waits for its turn, nothing else waits for Apply.
type Store struct {
	cfg    Config
	index  atomic.Pointer[Index]
	table  *table // shared with forks
	labels labels

	mu       sync.Mutex
	services map[string]map[owned]struct{} // what each service published
}

// owned is one resource of a service.
type owned struct {
	Key
	caller string
}

// New returns an empty store, with which nothing was published yet.
func New(cfg Config) *Store {
	if cfg.Log <= 0 {
		cfg.Log = Default().Log
	}
	s := &Store{cfg: cfg, services: map[string]map[owned]struct{}{}, table: &table{}}
	s.table.init()
	s.index.Store(&Index{})
	return s
}

// Fork returns a store that begins with what is in force here and goes its own way:
// what is applied to one is not in the other. It costs little, as both share what
// they have in common. Watches are woken by either; the labels of a fork are not
// kept.
func (s *Store) Fork() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &Store{cfg: s.cfg, table: s.table, services: maps.Clone(s.services)} // replace puts new sets, and changes none
	ix := *s.Index()
	ix.log = slices.Clip(ix.log) // both append
	f.index.Store(&ix)
	return f
}

// Index returns what is in force.
func (s *Store) Index() *Index { return s.index.Load() }

// Ready reports whether anything was published, be it nothing at all.
func (s *Store) Ready() bool { return s.Index().Seq() > 0 }

// Lookup returns the resource that a proxy of that caller gets; nil when none.
func (s *Store) Lookup(typeURL, name, caller string) *resource.Resource {
	k, ok := KindOf(typeURL)
	if !ok {
		return nil
	}
	if i := s.Index().Get(k, name, caller); i != nil {
		return i.Resource
	}
	return nil
}

// Apply publishes sets in one step: each replaces all that its service
// published before. A fault keeps the last good resource of its name; a set
// without resources and faults removes the service. Resources of a type that
// Meshlite does not serve are left out. The first call, even without sets,
// makes the store ready.
func (s *Store) Apply(sets []resource.Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := newEdit(s.Index(), time.Now())
	for _, set := range sets {
		s.replace(e, set)
	}
	next := e.finish(s.cfg.Log)
	s.labels.follow(e)
	s.index.Store(next)
	s.table.wake(e.changes, uint64(s.cfg.Log))
}

// replace stages one set.
func (s *Store) replace(e *edit, set resource.Set) {
	mine := make(map[owned]struct{}, len(set.Resources))
	for _, r := range set.Resources {
		if k, ok := KindOf(r.Type); ok {
			mine[owned{Key{k, r.Name}, r.Caller}] = struct{}{}
			e.put(k, r)
		}
	}
	for _, f := range set.Faults {
		k, ok := KindOf(f.Type)
		o := owned{Key{k, f.Name}, f.Caller}
		if _, had := s.services[set.Service][o]; ok && had {
			mine[o] = struct{}{}
		}
	}
	for o := range s.services[set.Service] {
		if _, still := mine[o]; !still {
			e.drop(o, set.Service)
		}
	}
	if len(mine) == 0 {
		delete(s.services, set.Service)
		return
	}
	s.services[set.Service] = mine
}
