package compile

import (
	"slices"

	"meshlite.dev/internal/policy/v1alpha1"
)

// routeOf is the TrafficRoute of a service: of those that may be, the one with
// the lowest namespace/name. shadow counts those in shadow as well.
func (c *Compiler) routeOf(service, namespace string, shadow bool) *document {
	var best *document
	for _, d := range c.routes[service] {
		if d.reserved() || !d.permitted(c.root, namespace) || d.shadow && !shadow {
			continue
		}
		if best == nil || compareNames(d, best) < 0 {
			best = d
		}
	}
	return best
}

// layersOn are the layers that a rule has beside those of the service.
func (c *Compiler) layersOn(d *document, r *rule, shadow bool) []*layer {
	var layers []*layer
	for _, p := range c.attached[d.Key.String()] {
		if p.reserved() || len(p.from) > 0 || p.shadow && !shadow {
			continue
		}
		if p.whole != nil && p.has(v1alpha1.TargetTrafficRoute, d.Name, "") {
			layers = append(layers, p.whole)
		}
		if l := p.rules[r.Name]; l != nil && p.has(v1alpha1.TargetTrafficRoute, d.Name, r.Name) {
			layers = append(layers, l)
		}
	}
	if r.inline != nil {
		layers = append(layers, r.inline)
	}
	return layers
}

// decideRules adds what is in force for the rules that have more layers than
// the service, for each caller with a stack of its own. They stand on what is
// in force for the service, so that a fault is the rule's.
func (c *Compiler) decideRules(e, old *entry) {
	if e.route == nil {
		return
	}
	if old != nil && (old.route == nil || old.route.Key != e.route.Key) {
		old = nil // what another TrafficRoute had under that name is over
	}
	for _, base := range slices.Clone(e.uses) {
		if !base.role.effective() || !base.protocol.HTTP() {
			continue
		}
		for i := range e.route.route.rules {
			r := &e.route.route.rules[i]
			if more := c.layersOn(e.route, r, false); len(more) > 0 {
				e.uses = c.decide(e.uses, base.stack.with(more), r.Name, old)
			}
		}
	}
}
