package consulimport

import (
	"math"
	"slices"

	"meshlite.dev/internal/policy/v1alpha1"
)

// pool is where a chain ends: Consul's target.
type pool struct{ service, subset, datacenter string }

// target is what redirect and failover change of a pool; what is empty stays.
type target struct {
	pool
	foreign bool // in another namespace or partition, behind a peer, in a sameness group
}

// to applies a target. Another service has none of the subsets of the one
// before.
func (p pool) to(t target) pool {
	if t.service != "" && t.service != p.service {
		p.service, p.subset = t.service, ""
	}
	if t.subset != "" {
		p.subset = t.subset
	}
	if t.datacenter != "" {
		p.datacenter = t.datacenter
	}
	return p
}

// destination lets a document name the pool.
func (p pool) destination() v1alpha1.Destination {
	return v1alpha1.Destination{Service: p.service, Subset: p.subset, Datacenter: p.datacenter}
}

// share is a pool with its weight in hundredths of a percent.
type share struct {
	pool
	weight int
	by     *split // nil where nothing is split
}

// chains walks the entries as Consul does.
type chains struct {
	routers   map[string]*router
	splitters map[string]*splitter
	resolvers map[string]*resolver
}

// trail collects the entries that a walk met, and whether it came to an end.
type trail struct {
	from   map[string]bool
	lost   bool // some target is beyond Meshlite
	splits int  // met so far
}

// mostSplits is far beyond what a rule can hold; splitters of splitters can
// multiply without end.
const mostSplits = 1000

func (t *trail) met(e *entry) {
	if t.from == nil {
		t.from = map[string]bool{}
	}
	t.from[e.String()] = true
}

// resolve follows redirects and default subsets to where calls end.
func (c chains) resolve(p pool, on *trail) pool {
	for seen := map[pool]bool{}; !seen[p]; {
		seen[p] = true
		r := c.resolvers[p.service]
		if r == nil {
			return p
		}
		if r.redirect != nil {
			on.met(r.entry)
			on.lost = on.lost || r.redirect.foreign
			if next := p.to(*r.redirect); next != p {
				p = next
				continue
			}
		}
		if p.subset == "" && r.defaultSubset != "" {
			on.met(r.entry)
			p.subset = r.defaultSubset
			continue
		}
		return p
	}
	on.lost = true
	if r := c.resolvers[p.service]; r != nil {
		r.entry.leave("Redirect", "", "leads in a circle, which Consul refuses", true)
	}
	return p
}

// failover lists who takes over from a resolved pool, in order, without those
// that Meshlite does not see.
func (c chains) failover(p pool, on *trail) (all []pool) {
	r := c.resolvers[p.service]
	if r == nil {
		return nil
	}
	targets, ok := r.failover[p.subset]
	if !ok {
		targets = r.failover["*"]
	}
	for _, t := range targets {
		on.met(r.entry)
		next := p.to(t)
		if next == p || t.foreign {
			continue
		}
		way := trail{from: on.from}
		if end := c.resolve(next, &way); !way.lost {
			all = append(all, end)
		}
	}
	return all
}

// shares expands a destination: the splits of its splitter, and of theirs, or
// the one pool that resolvers lead to.
func (c chains) shares(service, subset string, on *trail) []share {
	if subset == "" && c.splitters[service] != nil {
		return c.split(service, 100, nil, on)
	}
	return []share{{pool: c.resolve(pool{service: service, subset: subset}, on), weight: 100 * 100}}
}

// split expands a splitter whose part of all is given in percent.
func (c chains) split(service string, part float32, above []string, on *trail) (all []share) {
	s := c.splitters[service]
	on.met(s.entry)
	for _, sp := range s.splits {
		if on.splits++; on.splits > mostSplits {
			on.lost = true
			s.entry.leave("Splits", "", "leads on to splitters that multiply beyond what a rule can hold", true)
			return all
		}
		on.lost = on.lost || sp.foreign
		to := sp.service
		if to == "" {
			to = service
		}
		weight := normal(part * sp.weight / 100)
		if to != service && sp.subset == "" && c.splitters[to] != nil {
			if slices.Contains(above, to) {
				on.lost = true
				s.entry.leave("Splits", "", "leads in a circle, which Consul refuses", true)
				continue
			}
			sp.ownHeaders()
			all = append(all, c.split(to, weight, append(above, service), on)...)
			continue
		}
		all = append(all, share{c.resolve(pool{service: to, subset: sp.subset}, on), hundredths(weight), sp})
	}
	return all
}

func hundredths(percent float32) int { return int(math.Round(float64(percent * 100))) }

// normal rounds a weight as Consul does: to a hundredth.
func normal(percent float32) float32 { return float32(hundredths(percent)) / 100 }
