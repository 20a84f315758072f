package compile

import (
	"fmt"
	"slices"

	"meshlite.dev/internal/mesh"
)

// routeFindings says what is wrong with the TrafficRoutes of a service: those
// that are not in force, and what the one that is, or would be, names in vain.
func (c *Compiler) routeFindings(l *lines, e *entry) {
	for _, d := range c.routes[e.from.Name] {
		if d.reserved() || !d.permitted(c.root, e.namespace) {
			continue
		}
		n := note{Finding: mesh.Finding{Document: d.Ref().String(), Path: "spec.service"}}
		switch {
		case e.tcp:
			n.Code, n.Severity = mesh.CodeNotAttachable, mesh.Error
			n.Message = fmt.Sprintf("%s speaks tcp and has no requests to route; the document is not applied", e.from.Name)
			n.Hint = "remove it, or correct the service's protocol in the catalog"
		case d == e.route || d == e.preview:
			continue
		case d.shadow:
			n = n.conflicted(e.preview)
		case e.route != nil:
			n = n.conflicted(e.route)
		}
		if d.shadow {
			n = n.inShadow(mesh.Info)
		}
		l.add(n)
	}
	if e.route != nil {
		c.checkRoute(l, e, e.route)
	}
	if e.preview != nil && e.preview != e.route {
		if e.route != nil {
			n := note{Finding: mesh.Finding{Document: e.route.Ref().String(), Path: "spec.service"}}
			l.add(n.conflicted(e.preview).inShadow(mesh.Info))
		}
		c.checkRoute(l, e, e.preview)
	}
}

// conflicted is what another TrafficRoute of the service, winner, makes of one.
func (n note) conflicted(winner *document) note {
	n.Code, n.Severity = mesh.CodeConflicted, mesh.Warning
	n.Message = fmt.Sprintf("%s routes this service and wins: its namespace/name is lower; nothing of the document is in force", winner.Ref())
	n.Hint = "move the rules into one document: a service has one TrafficRoute"
	return n
}

// checkRoute says what the rules and subsets of d name and do in vain.
func (c *Compiler) checkRoute(l *lines, e *entry, d *document) {
	add := func(n note) {
		n.Document = d.Ref().String()
		if d.shadow {
			n = n.inShadow(mesh.Warning)
		}
		l.add(n)
	}
	for i := range d.route.rules {
		r := &d.route.rules[i]
		for k, b := range r.Backends {
			share := fmt.Sprintf("its share of %d is answered 503", b.Weight)
			c.checkPool(add, e, d, fmt.Sprintf("%s.backends[%d]", rulePath(r.place), k), b.Pool, share)
		}
		for k, p := range r.Failover {
			c.checkPool(add, e, d, fmt.Sprintf("%s.failover[%d]", rulePath(r.place), k), p, "it takes nothing over")
		}
		for k, m := range r.Mirrors {
			c.checkPool(add, e, d, fmt.Sprintf("%s.filters.mirrors[%d]", rulePath(r.place), k), m.Pool, "it gets no copies")
		}
		if f, ok := shadowedRule(d.route.rules, i); ok {
			add(note{Finding: f})
		}
		if u, ok := e.effective("", r.Name); ok || d == e.route {
			if !ok {
				u.merged = e.base()
			}
			if f, ok := longLived(u.merged, r); ok {
				add(note{Finding: f})
			}
		}
	}
	if !e.from.Synced {
		return
	}
	for _, s := range d.route.subsets {
		if !slices.ContainsFunc(e.from.Endpoints, s.Has) {
			add(note{Finding: emptySubset(fmt.Sprintf("spec.subsets[%d]", d.route.places[s.Name]), e.from.Name, s.Name)})
		}
	}
}

func emptySubset(path, service, subset string) mesh.Finding {
	return mesh.Finding{
		Code: mesh.CodeEmptySubset, Severity: mesh.Warning, Path: path,
		Message: fmt.Sprintf("no instance of %s is in subset %s: a rule that names it has nobody to call there", service, subset),
		Hint:    fmt.Sprintf("compare its tags and meta with `meshctl service endpoints %s`", service),
	}
}

// checkPool reports a pool that cannot be sent requests; then says what that
// means for the rule.
func (c *Compiler) checkPool(add func(note), e *entry, d *document, path string, p mesh.Pool, then string) {
	n := note{Finding: mesh.Finding{Code: mesh.CodeUnresolvedRef, Severity: mesh.Warning, Path: path}}
	key := c.key(p)
	f := c.factsOf(key)
	if key == e.from.Name && d != e.route { // in shadow: its own subsets, not those in force
		f = e.factsUnder(d)
	}
	where := ""
	if c.abroad(p) != "" {
		where = " in datacenter " + p.Datacenter
	}
	switch {
	case f == nil:
		n.Message, n.near = fmt.Sprintf("the catalog has no service %s%s", p.Service, where), p.Service
		n.Path += ".service"
		if where != "" {
			n.Path, n.near = path+".datacenter", ""
			n.Hint = "check both names; a datacenter is asked for once a route names it"
		}
	case !f.synced:
		return // not known yet
	case f.of("").tcp:
		n.Message, n.Hint = fmt.Sprintf("%s%s speaks tcp: it takes no requests", p.Service, where), "name a service that speaks http1, http2 or grpc"
		n.Path += ".service"
	case p.Subset == "":
		return
	case !c.hasSubset(f, p.Subset):
		n.Path += ".subset"
		n.Message, n.Hint = unknownSubset(p, f)
	case where != "" && slices.Contains(f.empty, p.Subset):
		add(note{Finding: emptySubset(path+".subset", key, p.Subset)})
		return
	default:
		return
	}
	n.Message += "; " + then
	add(n)
}

func unknownSubset(p mesh.Pool, f *facts) (message, hint string) {
	if !f.routed {
		return fmt.Sprintf("no TrafficRoute of service %s is in force, so it has no subset %s", p.Service, p.Subset),
			"subsets are named by the TrafficRoute of their own service: write one for " + p.Service
	}
	hint = fmt.Sprintf("subsets of %s: %s", p.Service, listed(f.subsets))
	if best := alike(p.Subset, f.subsets); best != "" {
		hint = fmt.Sprintf("did you mean %s?", best)
	}
	return fmt.Sprintf("the TrafficRoute of service %s names no subset %s", p.Service, p.Subset), hint
}

// factsUnder are the service's facts if d were its TrafficRoute.
func (e *entry) factsUnder(d *document) *facts {
	under := *e
	under.route = d
	return under.newFacts()
}
