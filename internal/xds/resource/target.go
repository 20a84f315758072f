package resource

import (
	"math"
	"slices"

	"meshlite.dev/internal/mesh"
)

// target is where a backend's share of a rule goes: to a cluster, or nowhere.
type target struct {
	weight uint32
	// pools are the backend and what takes over from it, in order, as far as
	// they are known. None: the share is answered.
	pools []mesh.Pool
	// waits are the same with those that the catalog has not told of yet; nil
	// when there are none of them.
	waits []mesh.Pool
	// why is the backend when pools is empty.
	why mesh.Pool
}

// cluster returns the name of the target's cluster.
func (t target) cluster(owner string) string { return clusterOf(owner, t.pools) }

// clusterOf names the cluster of pools that owner's routes lead to: their own
// where there is one of them, that of the list where there are more.
func clusterOf(owner string, pools []mesh.Pool) string {
	switch len(pools) {
	case 0:
		return mesh.NothingCluster(owner)
	case 1:
		return pools[0].Cluster()
	}
	return mesh.FailoverCluster(owner, pools)
}

// targets are the backends of a rule that get requests. One that is missing has
// no healthy instance: what fails over from it takes its share.
func targets(r *mesh.Rule) []target {
	var out []target
	for _, b := range r.Backends {
		if b.Weight == 0 {
			continue
		}
		t := target{weight: b.Weight, why: b.Pool}
		unknown := false
		for _, p := range append([]mesh.Pool{b.Pool}, r.Failover...) {
			if p.State == mesh.Missing || has(t.waits, p) {
				continue
			}
			t.waits = append(t.waits, p)
			if p.State == mesh.NotSynced {
				unknown = true
				continue
			}
			t.pools = append(t.pools, p)
		}
		if !unknown {
			t.waits = nil
		}
		out = append(out, t)
	}
	return scaled(out)
}

func has(pools []mesh.Pool, p mesh.Pool) bool {
	return slices.ContainsFunc(pools, func(q mesh.Pool) bool { return q.Cluster() == p.Cluster() })
}

// scaled keeps the sum of weights within Envoy's 32 bits.
func scaled(ts []target) []target {
	for by := 0; ; by++ {
		var sum uint64
		for _, t := range ts {
			sum += uint64(max(t.weight>>by, 1))
		}
		if sum > math.MaxUint32 {
			continue
		}
		for i := range ts {
			ts[i].weight = max(ts[i].weight>>by, 1)
		}
		return ts
	}
}

// nowhere reports whether all of a rule's requests are answered here.
func nowhere(ts []target) bool {
	return !slices.ContainsFunc(ts, func(t target) bool { return len(t.pools) > 0 })
}

// rules are those of a destination; none without a TrafficRoute.
func rules(d *mesh.Destination) []mesh.Rule {
	if d.Routes == nil {
		return nil
	}
	return d.Routes.Rules
}

// leadsTo returns the clusters behind the routes of a destination, those that a
// failover list leads to among them, so that routes stand only where everything
// behind them does. Routes to a pool that the catalog has not told of yet take
// nothing from a proxy that has routes already.
func leadsTo(service string, d *mesh.Destination) ([]Ref, State) {
	state, names := Normal, []string{}
	add := func(pools []mesh.Pool) {
		for _, p := range pools {
			names = append(names, p.Cluster())
		}
	}
	if d.Routes == nil {
		names = append(names, service)
	}
	for i := range rules(d) {
		r := &rules(d)[i]
		ts := targets(r)
		for _, t := range ts {
			if t.waits != nil {
				state = IfAbsent
			}
			if !nowhere(ts) {
				names = append(names, t.cluster(service))
				add(t.pools)
			}
		}
		for _, m := range r.Mirrors {
			switch {
			case m.State == mesh.NotSynced:
				state = IfAbsent
			case copied(m) && !nowhere(ts):
				names = append(names, m.Cluster())
			}
		}
	}
	slices.Sort(names)
	refs := make([]Ref, 0, len(names))
	for _, name := range slices.Compact(names) {
		refs = append(refs, Ref{ClusterType, name})
	}
	return refs, state
}

// targetClusters makes the clusters that the rules of a destination need beside
// those of services and subsets: of failover lists, and the one of nothing.
func (b *maker) targetClusters(service string, d *mesh.Destination) {
	made := map[string]bool{}
	for i := range rules(d) {
		ts := targets(&rules(d)[i])
		for _, t := range ts {
			name := t.cluster(service)
			if len(t.pools) == 1 || made[name] || nowhere(ts) {
				continue
			}
			made[name] = true
			r := Resource{Type: ClusterType, Name: name, Caller: d.Caller, Policies: labels(d.ClusterDocuments...)}
			if len(t.pools) == 0 {
				b.add(r, nothingCluster(service))
				continue
			}
			b.add(r, failoverCluster(service, t.pools, d))
		}
	}
	b.withholdTargets(service, d, true)
}

// withholdTargets leaves the failover lists alone that a proxy may have and that
// cannot be made while the catalog has not told of all their pools. synced says
// that it has told of the service itself.
func (b *maker) withholdTargets(service string, d *mesh.Destination, synced bool) {
	for i := range rules(d) {
		for _, t := range targets(&rules(d)[i]) {
			pools := t.waits
			if pools == nil && !synced {
				pools = t.pools
			}
			if len(pools) > 1 {
				b.withhold(ClusterType, mesh.FailoverCluster(service, pools))
			}
		}
	}
}

// decidedBy are the documents that the routes of a destination come from: of the
// rules, then the TrafficRoute, then of the service as a whole.
func decidedBy(d *mesh.Destination) []string {
	if d.Routes == nil {
		return labels(d.RouteDocuments...)
	}
	var refs []mesh.DocumentRef
	for _, r := range d.Routes.Rules {
		for _, by := range r.Resilience.RouteDocuments {
			if !slices.Contains(d.RouteDocuments, by) {
				refs = append(refs, by)
			}
		}
	}
	return labels(append(append(refs, d.Routes.By), d.RouteDocuments...)...)
}
