package compile

import (
	"maps"
	"slices"

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
	root       string
	offline    bool   // the documents are all there is to know
	datacenter string // the own, "" unknown

	base      *layer                 // mesh-default
	documents pmap.Map[*document]    // by Key.String
	meshWide  []*document            // those that are a layer of every stack, shadow too
	targeting map[string][]*document // policies by service, shadow and not permitted too
	routes    map[string][]*document // TrafficRoutes by service, likewise
	attached  map[string][]*document // policies by the routeKey that they target
	lastLayer uint64

	services map[string]*entry
	leading  map[string]map[string]bool // by service key: the services whose routes name it
	memo     memo
	model    mesh.Model
	findings pmap.Map[[]note] // by service; services without any are absent
	started  bool
}

// New returns a compiler that has seen nothing.
func New(cfg Config) *Compiler {
	if cfg.RootNamespace == "" {
		cfg = Default()
	}
	c := &Compiler{
		root: cfg.RootNamespace, targeting: map[string][]*document{}, routes: map[string][]*document{}, attached: map[string][]*document{},
		services: map[string]*entry{}, leading: map[string]map[string]bool{}, memo: memo{},
	}
	c.base = c.newLayer(levelDefault, nil, settingsOf(policy.MeshDefault()))
	return c
}

// Full compiles everything anew: what any sequence of Updates that ends in
// snap and rev must come to, unless a last good result is held (MESH0018).
func Full(cfg Config, snap catalog.Snapshot, rev policy.Revision) Result {
	return New(cfg).Update(snap, rev)
}

// Update compiles what snap.Changed and rev.Changed name, and what refers to
// that; the first call compiles everything. Names that are in neither list keep
// what they had, even where snap or rev already hold something newer.
func (c *Compiler) Update(snap catalog.Snapshot, rev policy.Revision) Result {
	stale := map[string]bool{}  // services to compile again
	relink := map[string]bool{} // services whose routes are to be made again
	if c.updateDocuments(rev, stale) {
		for name := range c.services {
			stale[name] = true
		}
	}
	if c.datacenter != snap.Datacenter {
		c.datacenter = snap.Datacenter
		for name := range c.services {
			relink[name] = true
		}
	}
	inputs := c.inputs(snap, stale)
	var changed []string
	c.model.Services = c.model.Services.Edit(func(set func(string, *mesh.Service), del func(string)) {
		// In order, so that a service comes before its likes elsewhere.
		for _, name := range slices.Sorted(maps.Keys(inputs)) {
			if c.compile(name, inputs[name], relink) {
				del(name)
				changed = append(changed, name)
			}
		}
		for name := range relink {
			if s, ok := c.link(name); ok {
				set(name, s)
				changed = append(changed, name)
			}
		}
	})
	slices.Sort(changed)
	return Result{
		Model: c.model, Changed: slices.Compact(changed),
		view: newView(c, snap.Problems, rev.Refused),
	}
}

// inputs are the services to compile with what the catalog says of them; nil
// where it no longer has them.
func (c *Compiler) inputs(snap catalog.Snapshot, stale map[string]bool) map[string]*catalog.Service {
	inputs := map[string]*catalog.Service{}
	if !c.started {
		c.started = true
		maps.Insert(inputs, snap.Services.All())
		return inputs
	}
	for _, name := range snap.Changed {
		now, _ := snap.Services.Get(name)
		inputs[name] = now
		if old := c.services[name]; (old == nil) != (now == nil) || old != nil && old.from.Namespace != now.Namespace {
			stale[name] = true
		}
	}
	for name := range stale {
		if _, ok := inputs[name]; !ok && c.services[name] != nil {
			inputs[name] = c.services[name].from
		}
		for elsewhere := range c.model.Services.Prefix(name + "@") {
			if _, ok := inputs[elsewhere]; !ok {
				inputs[elsewhere] = c.services[elsewhere].from
			}
		}
	}
	return inputs
}

// compile brings what concerns one service alone up to date, adds the services
// whose routes depend on that to relink, and reports whether the service went.
// now is nil when the catalog no longer has it.
func (c *Compiler) compile(name string, now *catalog.Service, relink map[string]bool) (gone bool) {
	old := c.services[name]
	if now == nil && old == nil {
		return false
	}
	var e *entry
	if now != nil {
		e = c.build(now, old)
		c.services[name] = e
		relink[name] = true
	} else {
		c.refer(name, old.refs, nil)
		c.memo.release(old.uses)
		delete(c.services, name)
		delete(relink, name)
		c.findings = c.findings.Delete(name)
	}
	if !sameFacts(old, e) {
		for other := range c.leading[name] {
			relink[other] = true
		}
	}
	return now == nil
}

func (c *Compiler) keepFindings(name string, e *entry) {
	if fs := c.serviceFindings(e); len(fs) > 0 {
		c.findings = c.findings.Set(name, fs)
	} else if c.findings.Has(name) {
		c.findings = c.findings.Delete(name)
	}
}
