package app

import (
	"cmp"
	"maps"
	"slices"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
)

// remotes lists the services of named datacenters that the routes of a
// revision lead to, as mesh.ServiceKey, sorted. Routes in shadow count: what
// they would do is to be seen.
func remotes(rev policy.Revision) []string {
	keys := map[string]bool{}
	for _, d := range rev.Documents {
		if d.Route == nil {
			continue
		}
		for _, to := range destinations(d.Route) {
			if to.Datacenter != "" {
				keys[mesh.ServiceKey(cmp.Or(to.Service, d.Route.Service), to.Datacenter)] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

// destinations lists all that the rules of a route name.
func destinations(spec *v1alpha1.TrafficRouteSpec) (all []v1alpha1.Destination) {
	for _, rule := range spec.Rules {
		for _, b := range rule.Backends {
			all = append(all, b.Destination)
		}
		for _, f := range rule.Failover {
			all = append(all, f.Destination)
		}
		if rule.Filters == nil {
			continue
		}
		for _, m := range rule.Filters.Mirrors {
			all = append(all, m.Destination)
		}
	}
	return all
}
