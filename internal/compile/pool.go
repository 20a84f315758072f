package compile

import (
	"slices"

	"meshlite.dev/internal/mesh"
)

// pools are all that a rule names.
func (r *rule) pools() []mesh.Pool {
	var out []mesh.Pool
	for _, b := range r.Backends {
		out = append(out, b.Pool)
	}
	out = append(out, r.Failover...)
	for _, m := range r.Mirrors {
		out = append(out, m.Pool)
	}
	return out
}

// key is the service key of a pool: the own datacenter goes without a name.
func (c *Compiler) key(p mesh.Pool) string { return mesh.ServiceKey(p.Service, c.abroad(p)) }

// abroad is the datacenter of a pool, "" for the own.
func (c *Compiler) abroad(p mesh.Pool) string {
	if p.Datacenter == c.datacenter {
		return ""
	}
	return p.Datacenter
}

// resolve completes a rule with what is known of its pools: their states, and
// the hashes of its backends as caller meets them, without repetitions.
func (c *Compiler) resolve(r mesh.Rule, caller string) mesh.Rule {
	r.Backends, r.Failover, r.Mirrors = slices.Clone(r.Backends), slices.Clone(r.Failover), slices.Clone(r.Mirrors)
	for i := range r.Backends {
		p := &r.Backends[i].Pool
		c.place(p, caller)
		if f := c.factsOf(c.key(*p)); f != nil && p.State != mesh.Missing {
			for _, k := range f.of(caller).hash {
				if !slices.Contains(r.Hash, k) {
					r.Hash = append(r.Hash, k)
				}
			}
		}
	}
	for i := range r.Failover {
		c.place(&r.Failover[i], caller)
	}
	for i := range r.Mirrors {
		c.place(&r.Mirrors[i].Pool, caller)
	}
	return r
}

// place fills in the state of a pool as caller meets it.
func (c *Compiler) place(p *mesh.Pool, caller string) {
	p.Datacenter = c.abroad(*p)
	p.State = c.stateOf(*p, caller)
}

func (c *Compiler) stateOf(p mesh.Pool, caller string) mesh.PoolState {
	f := c.factsOf(c.key(p))
	switch {
	case f == nil:
		return mesh.Missing
	case !f.synced:
		return mesh.NotSynced // what it speaks, and whose it is, is not known either
	case f.of(caller).tcp || p.Subset != "" && !c.hasSubset(f, p.Subset):
		return mesh.Missing
	}
	return mesh.Known
}

// hasSubset reports whether routes may name the subset. Offline, a service
// without a TrafficRoute may have one elsewhere.
func (c *Compiler) hasSubset(f *facts, name string) bool {
	return slices.Contains(f.subsets, name) || c.offline && !f.routed
}
