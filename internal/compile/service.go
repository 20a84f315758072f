package compile

import (
	"maps"
	"slices"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
)

// entry is one compiled service with what it was made of.
type entry struct {
	from    *catalog.Service
	service *mesh.Service
	uses    []use
}

// use is a merged result that an entry needs: its own, or one that was only
// looked at.
type use struct {
	caller string // "" for the default
	role   role
	*merged
}

// role says what a use is for.
type role uint8

const (
	inForce  role = iota // the whole stack, in force
	heldBack             // an earlier whole stack, in force while a newer one breaks a rule
	cutDown              // the stack less what breaks a rule, in force
	broken               // the stack that breaks a rule, not in force
	shadowed             // the stack with shadow documents, never in force
)

// effective reports whether the use decides what a caller gets.
func (r role) effective() bool { return r <= cutDown }

// build compiles one service. old is what it was before, nil when new.
func (c *Compiler) build(from *catalog.Service, old *entry) *entry {
	e := &entry{from: from}
	ns := c.namespace(from)
	docs := c.documentsFor(from.Name, ns)
	e.uses = c.decide(e.uses, c.stackOf(from, "", docs, false), old)
	callers := callersIn(docs, false)
	for _, caller := range callers {
		e.uses = c.decide(e.uses, c.stackOf(from, caller, docs, false), old)
	}
	if slices.ContainsFunc(docs, func(d *document) bool { return d.shadow }) {
		for _, caller := range append([]string{""}, callersIn(docs, true)...) {
			e.uses = append(e.uses, use{caller, shadowed, c.memo.acquire(c.stackOf(from, caller, docs, true))})
		}
	}
	e.service = &mesh.Service{
		Name: from.Name, Namespace: ns, Synced: from.Synced, Endpoints: from.Endpoints,
	}
	e.destinations(old)
	if old != nil {
		c.memo.release(old.uses)
		if same(old.service, e.service) {
			e.service = old.service
		}
	}
	return e
}

func (c *Compiler) namespace(s *catalog.Service) string {
	if s.Namespace == "" {
		return c.root
	}
	return s.Namespace
}

// documentsFor lists the documents that may say something about a service,
// those in force and those in shadow.
func (c *Compiler) documentsFor(service, namespace string) []*document {
	docs := slices.Clone(c.meshWide)
	for _, d := range c.targeting[service] {
		if !d.reserved() && d.permitted(c.root, namespace) && !slices.Contains(docs, d) {
			docs = append(docs, d)
		}
	}
	return docs
}

// callersIn lists the callers that have a stack of their own, sorted.
func callersIn(docs []*document, shadow bool) []string {
	callers := map[string]bool{}
	for _, d := range docs {
		if shadow || !d.shadow {
			for _, caller := range d.from {
				callers[caller] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(callers))
}

// stackOf builds the stack of one destination.
func (c *Compiler) stackOf(s *catalog.Service, caller string, docs []*document, shadow bool) stack {
	layers := []*layer{c.base}
	if s.HealthCheck != nil {
		layers = append(layers, &layer{level: levelCatalog, settings: checkSettings(*s.HealthCheck), check: s.HealthCheck})
	}
	for _, d := range docs {
		if d.shadow && !shadow {
			continue
		}
		if d.forMesh(c.root) {
			layers = append(layers, d.mesh)
		}
		if d.service != nil && d.targetsService(s.Name) && (len(d.from) == 0 || slices.Contains(d.from, caller)) {
			layers = append(layers, d.service)
		}
	}
	sortLayers(layers)
	return stack{layers: layers, caller: caller, protocol: s.Protocol}
}

// decide appends what is in force for s to uses. A stack that breaks a rule
// is not used: what was in force before stays, and where nothing complete was,
// the stack without the documents that break it.
func (c *Compiler) decide(uses []use, s stack, old *entry) []use {
	m := c.memo.acquire(s)
	if len(m.faults) == 0 {
		return append(uses, use{s.caller, inForce, m})
	}
	uses = append(uses, use{s.caller, broken, m})
	cut := m
	for len(cut.faults) > 0 {
		guilty := culprit(cut)
		if guilty == nil {
			break // mesh-default and the catalog alone; a test keeps them sound
		}
		s = s.without(guilty)
		next := c.memo.acquire(s)
		if cut != m {
			c.memo.drop(cut)
		}
		cut = next
	}
	if before, ok := old.whole(s.caller); ok && before.stack.under(s).key() != s.key() {
		kept := c.memo.acquire(before.stack.under(s))
		if len(kept.faults) == 0 {
			c.memo.drop(cut)
			return append(uses, use{s.caller, heldBack, kept})
		}
		c.memo.drop(kept)
	}
	return append(uses, use{s.caller, cutDown, cut})
}

// whole returns what was in force for caller, if it was a complete stack.
func (e *entry) whole(caller string) (use, bool) {
	if e == nil {
		return use{}, false
	}
	for _, u := range e.uses {
		if u.caller == caller && (u.role == inForce || u.role == heldBack) {
			return u, true
		}
	}
	return use{}, false
}

// destinations fills what each caller gets, with the very values of old where
// they are the same.
func (e *entry) destinations(old *entry) {
	for _, u := range e.uses {
		if !u.role.effective() {
			continue
		}
		d := &mesh.Destination{Caller: u.caller, Protocol: u.protocol, Effective: u.merged.effective}
		if old != nil {
			if before := old.service.For(u.caller); *before == *d {
				d = before
			}
		}
		if u.caller == "" {
			e.service.Default = d
			continue
		}
		if e.service.ByCaller == nil {
			e.service.ByCaller = map[string]*mesh.Destination{}
		}
		e.service.ByCaller[u.caller] = d
	}
}

// same reports whether a and b say the same; destinations are compared by
// identity, as destinations keeps them.
func same(a, b *mesh.Service) bool {
	return a.Name == b.Name && a.Namespace == b.Namespace && a.Synced == b.Synced &&
		a.Default == b.Default && maps.Equal(a.ByCaller, b.ByCaller) &&
		slices.EqualFunc(a.Endpoints, b.Endpoints, sameEndpoint)
}

func sameEndpoint(a, b mesh.Endpoint) bool {
	return a.ID == b.ID && a.Address == b.Address && a.Port == b.Port && a.Health == b.Health &&
		a.Weight == b.Weight && a.Locality == b.Locality && a.Node == b.Node && a.Datacenter == b.Datacenter &&
		slices.Equal(a.Tags, b.Tags) && maps.Equal(a.Meta, b.Meta)
}
