package compile

import (
	"maps"
	"reflect"
	"slices"

	"meshlite.dev/internal/mesh"
)

// link makes a service of what build found out and of what its routes need to
// know of others. ok is false where it is what it was.
func (c *Compiler) link(name string) (s *mesh.Service, ok bool) {
	e := c.services[name]
	if e == nil {
		return nil, false
	}
	before := e.service
	c.refer(name, e.refs, c.refsOf(e))
	e.service = &mesh.Service{Name: name, Namespace: e.namespace, Synced: e.from.Synced, Endpoints: e.from.Endpoints}
	if e.route != nil {
		e.service.Subsets = e.route.route.subsets
	}
	c.destinations(e, before)
	c.keepFindings(name, e)
	if before != nil && same(before, e.service) {
		e.service = before
		return before, false
	}
	return e.service, true
}

// refsOf lists the service keys that the routes of e name, in force or in
// shadow, sorted.
func (c *Compiler) refsOf(e *entry) []string {
	if len(mesh.Hosts(e.from.Name)) == 0 {
		return nil // it has no routes
	}
	keys := map[string]bool{}
	for _, d := range []*document{e.route, e.preview} {
		if d == nil {
			continue
		}
		for i := range d.route.rules {
			for _, p := range d.route.rules[i].pools() {
				keys[c.key(p)] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

// refer replaces the service keys that the routes of name lead to.
func (c *Compiler) refer(name string, old, now []string) {
	for _, key := range old {
		if delete(c.leading[key], name); len(c.leading[key]) == 0 {
			delete(c.leading, key)
		}
	}
	for _, key := range now {
		if c.leading[key] == nil {
			c.leading[key] = map[string]bool{}
		}
		c.leading[key][name] = true
	}
	if e := c.services[name]; e != nil {
		e.refs = now
	}
}

// destinations fills what each caller gets, with the very values of before
// where they are the same.
func (c *Compiler) destinations(e *entry, before *mesh.Service) {
	add := func(d *mesh.Destination) {
		if before != nil {
			if was := before.For(d.Caller); was.Caller == d.Caller {
				if was.Routes != nil && reflect.DeepEqual(was.Routes, d.Routes) {
					d.Routes = was.Routes
				}
				if *was == *d {
					d = was
				}
			}
		}
		if d.Caller == "" {
			e.service.Default = d
			return
		}
		if e.service.ByCaller == nil {
			e.service.ByCaller = map[string]*mesh.Destination{}
		}
		e.service.ByCaller[d.Caller] = d
	}
	for _, u := range e.uses {
		if u.rule == "" && u.role.effective() {
			add(c.destination(e, u.caller, u))
		}
	}
	for _, caller := range c.callersBeyond(e) {
		d := c.destination(e, caller, use{merged: e.base()})
		if !reflect.DeepEqual(d.Routes, e.service.Default.Routes) {
			add(d)
		}
	}
}

// base is what callers get that have nothing of their own.
func (e *entry) base() *merged {
	u, _ := e.effective("", "") // there always is one
	return u.merged
}

func (c *Compiler) destination(e *entry, caller string, u use) *mesh.Destination {
	d := &mesh.Destination{Caller: caller, Protocol: u.protocol, Effective: u.merged.effective}
	if e.route != nil && u.protocol.HTTP() && len(mesh.Hosts(e.from.Name)) > 0 {
		d.Routes = c.routesFor(e, u.caller, d)
	}
	return d
}

// callersBeyond are the callers without a stack of their own for e that meet a
// service behind its routes otherwise than all others do, sorted.
func (c *Compiler) callersBeyond(e *entry) []string {
	if e.route == nil {
		return nil
	}
	callers := map[string]bool{}
	for _, key := range e.refs {
		if f := c.factsOf(key); f != nil {
			for caller := range f.by {
				callers[caller] = true
			}
		}
	}
	maps.DeleteFunc(callers, func(caller string, _ bool) bool {
		_, own := e.effective(caller, "")
		return own
	})
	return slices.Sorted(maps.Keys(callers))
}

// routesFor makes the rules as a caller meets them. stack is the caller whose
// stack counts: d's own, or "".
func (c *Compiler) routesFor(e *entry, stack string, d *mesh.Destination) *mesh.Routes {
	rules := e.route.route.rules
	out := &mesh.Routes{By: e.route.Ref(), Rules: make([]mesh.Rule, 0, len(rules)+1)}
	for i := range rules {
		r := rules[i].Rule
		r.Resilience = d.Effective
		if u, ok := e.effective(stack, r.Name); ok {
			r.Resilience = u.merged.effective
		}
		out.Rules = append(out.Rules, c.resolve(r, d.Caller))
	}
	rest := mesh.Rule{Resilience: d.Effective, Backends: []mesh.Backend{{Pool: mesh.Pool{Service: e.from.Name}, Weight: 1}}}
	out.Rules = append(out.Rules, c.resolve(rest, d.Caller))
	return out
}

// same reports whether a and b say the same; destinations are compared by
// identity, as link keeps them.
func same(a, b *mesh.Service) bool {
	return a.Name == b.Name && a.Namespace == b.Namespace && a.Synced == b.Synced &&
		a.Default == b.Default && maps.Equal(a.ByCaller, b.ByCaller) &&
		slices.EqualFunc(a.Endpoints, b.Endpoints, sameEndpoint) && reflect.DeepEqual(a.Subsets, b.Subsets)
}

func sameEndpoint(a, b mesh.Endpoint) bool {
	return a.ID == b.ID && a.Address == b.Address && a.Port == b.Port && a.Health == b.Health &&
		a.Weight == b.Weight && a.Locality == b.Locality && a.Node == b.Node && a.Datacenter == b.Datacenter &&
		slices.Equal(a.Tags, b.Tags) && maps.Equal(a.Meta, b.Meta)
}
