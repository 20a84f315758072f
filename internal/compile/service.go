package compile

import (
	"cmp"
	"maps"
	"slices"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
)

// entry is one compiled service with what it was made of.
type entry struct {
	from      *catalog.Service
	namespace string
	// route is the TrafficRoute in force, preview the one that would be if
	// nothing were in shadow; nil: none. tcp says that the service can have none.
	route, preview *document
	tcp            bool
	uses           []use
	facts          *facts
	// What routes and facts of other services had a say in, made by link.
	service *mesh.Service
	refs    []string // the service keys that its routes name, sorted
}

// use is a merged result that an entry needs: its own, or one that was only
// looked at.
type use struct {
	caller string // "" for the default
	rule   string // of the TrafficRoute; "" for the service itself
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

// build compiles what does not depend on other services. old is what the
// service was before, nil when new.
func (c *Compiler) build(from *catalog.Service, old *entry) *entry {
	plain, datacenter := mesh.SplitServiceKey(from.Name)
	e := &entry{from: from, namespace: c.namespace(from, plain)}
	docs := c.documentsFor(plain, e.namespace)
	for _, caller := range append([]string{""}, callersIn(docs, false)...) {
		e.uses = c.decide(e.uses, c.stackOf(from, caller, docs, false), "", old)
	}
	base, _ := e.effective("", "")
	e.tcp = !base.protocol.HTTP()
	if !e.tcp {
		e.route, e.preview = c.routeOf(plain, e.namespace, false), c.routeOf(plain, e.namespace, true)
	}
	if datacenter == "" {
		c.decideRules(e, old)
	}
	c.lookAhead(e, docs, datacenter == "")
	e.facts = e.newFacts()
	if old != nil {
		e.service, e.refs = old.service, old.refs
		if e.facts.equal(old.facts) {
			e.facts = old.facts
		}
		c.memo.release(old.uses)
	}
	return e
}

// lookAhead adds what the stacks would come to if nothing were in shadow.
func (c *Compiler) lookAhead(e *entry, docs []*document, withRules bool) {
	var rules []rule
	ahead := slices.ContainsFunc(docs, func(d *document) bool { return d.shadow })
	if withRules && e.preview != nil {
		rules = e.preview.route.rules
		ahead = ahead || e.preview.shadow || slices.ContainsFunc(c.attached[e.preview.Key.String()], func(d *document) bool { return d.shadow })
	}
	if !ahead {
		return
	}
	for _, caller := range append([]string{""}, callersIn(docs, true)...) {
		s := c.stackOf(e.from, caller, docs, true)
		e.uses = append(e.uses, use{caller, "", shadowed, c.memo.acquire(s)})
		for i := range rules {
			if more := c.layersOn(e.preview, &rules[i], true); len(more) > 0 {
				e.uses = append(e.uses, use{caller, rules[i].Name, shadowed, c.memo.acquire(s.with(more))})
			}
		}
	}
}

// namespace is the owner of a service's policies. A service of another
// datacenter has that of its like here, whose documents are meant for both.
func (c *Compiler) namespace(s *catalog.Service, plain string) string {
	if e := c.services[plain]; e != nil && plain != s.Name {
		return e.namespace
	}
	return cmp.Or(s.Namespace, c.root)
}

// documentsFor lists the policies that may say something about a service,
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
	plain, _ := mesh.SplitServiceKey(s.Name)
	for _, d := range docs {
		if d.shadow && !shadow {
			continue
		}
		if d.forMesh(c.root) {
			layers = append(layers, d.mesh)
		}
		if d.service != nil && d.targetsService(plain) && (len(d.from) == 0 || slices.Contains(d.from, caller)) {
			layers = append(layers, d.service)
		}
	}
	sortLayers(layers)
	return stack{layers: layers, caller: caller, protocol: s.Protocol}
}

// decide appends what is in force for s to uses. A stack that breaks a rule
// is not used: what was in force before stays, and where nothing complete was,
// the stack without the documents that break it.
func (c *Compiler) decide(uses []use, s stack, rule string, old *entry) []use {
	m := c.memo.acquire(s)
	if len(m.faults) == 0 {
		return append(uses, use{s.caller, rule, inForce, m})
	}
	uses = append(uses, use{s.caller, rule, broken, m})
	cut := m
	for len(cut.faults) > 0 {
		guilty := culprit(cut)
		if guilty == nil {
			break // mesh-default and the catalog alone; a test keeps them sound
		}
		s = s.without(guilty.doc)
		next := c.memo.acquire(s)
		if cut != m {
			c.memo.drop(cut)
		}
		cut = next
	}
	if before, ok := old.whole(s.caller, rule); ok && before.stack.under(s).key() != s.key() {
		kept := c.memo.acquire(before.stack.under(s))
		if len(kept.faults) == 0 {
			c.memo.drop(cut)
			return append(uses, use{s.caller, rule, heldBack, kept})
		}
		c.memo.drop(kept)
	}
	return append(uses, use{s.caller, rule, cutDown, cut})
}

// whole returns what was in force for caller, if it was a complete stack.
func (e *entry) whole(caller, rule string) (use, bool) {
	if e == nil {
		return use{}, false
	}
	u, ok := e.effective(caller, rule)
	return u, ok && u.role != cutDown
}

// effective returns what is in force for caller, of a rule or of the service
// itself; false where it has nothing of its own.
func (e *entry) effective(caller, rule string) (use, bool) {
	for _, u := range e.uses {
		if u.caller == caller && u.rule == rule && u.role.effective() {
			return u, true
		}
	}
	return use{}, false
}
