package compile

import (
	"maps"
	"slices"
	"sort"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/policy"
)

// Config is what compiling depends on beside the catalog and the policies.
type Config struct {
	// RootNamespace may target everything, and only it the Mesh; services
	// without a namespace belong to it. "" is Default's.
	RootNamespace string
}

// Default returns the configuration of an install that says nothing.
func Default() Config { return Config{RootNamespace: "default"} }

// Compiler holds the compiled mesh and redoes what a change touches. It is
// not safe for concurrent use; the results are immutable and may be shared.
type Compiler struct {
	root string

	base      *layer                 // mesh-default
	documents pmap.Map[*document]    // by Key.String
	meshWide  []*document            // those that are a layer of every stack, shadow too
	targeting map[string][]*document // by service, shadow and not permitted too
	lastLayer uint64

	services map[string]*entry
	memo     memo
	model    mesh.Model
	findings pmap.Map[[]mesh.Finding] // by service; services without any are absent
	started  bool
}

// New returns a compiler that has seen nothing.
func New(cfg Config) *Compiler {
	if cfg.RootNamespace == "" {
		cfg = Default()
	}
	c := &Compiler{
		root: cfg.RootNamespace, targeting: map[string][]*document{},
		services: map[string]*entry{}, memo: memo{},
	}
	c.base = c.newLayer(levelDefault, nil, settingsOf(policy.MeshDefault()))
	return c
}

// Full compiles everything anew: what any sequence of Updates that ends in
// snap and rev must come to, unless a last good result is held (MESH0018).
func Full(cfg Config, snap catalog.Snapshot, rev policy.Revision) Result {
	return New(cfg).Update(snap, rev)
}

// Update compiles what snap.Changed and rev.Changed name; the first call
// compiles everything. Names that are in neither list keep what they had,
// even where snap or rev already hold something newer.
func (c *Compiler) Update(snap catalog.Snapshot, rev policy.Revision) Result {
	stale := map[string]bool{} // services to compile again
	everything := c.updateDocuments(rev, stale)
	if everything {
		for name := range c.services {
			stale[name] = true
		}
	}
	inputs := snap.Changed
	if !c.started {
		inputs = slices.Collect(maps.Keys(maps.Collect(snap.Services.All())))
		c.started = true
	}
	var changed []string
	c.model.Services = c.model.Services.Edit(func(set func(string, *mesh.Service), del func(string)) {
		for _, name := range inputs {
			delete(stale, name)
			now, _ := snap.Services.Get(name)
			if c.compile(name, now, set, del) {
				changed = append(changed, name)
			}
		}
		for name := range stale {
			if e, ok := c.services[name]; ok && c.compile(name, e.from, set, del) {
				changed = append(changed, name)
			}
		}
	})
	sort.Strings(changed)
	return Result{
		Model: c.model, Changed: slices.Compact(changed),
		view: newView(c, snap.Problems, rev.Refused),
	}
}

// compile brings one service up to date and reports whether it changed. now
// is nil when the catalog no longer has it.
func (c *Compiler) compile(name string, now *catalog.Service, set func(string, *mesh.Service), del func(string)) bool {
	old := c.services[name]
	if now == nil {
		if old == nil {
			return false
		}
		c.memo.release(old.uses)
		delete(c.services, name)
		c.findings = c.findings.Delete(name)
		del(name)
		return true
	}
	e := c.build(now, old)
	c.services[name] = e
	c.keepFindings(name, e)
	if old != nil && e.service == old.service {
		return false
	}
	set(name, e.service)
	return true
}

func (c *Compiler) keepFindings(name string, e *entry) {
	if fs := c.serviceFindings(e); len(fs) > 0 {
		c.findings = c.findings.Set(name, fs)
	} else if c.findings.Has(name) {
		c.findings = c.findings.Delete(name)
	}
}
