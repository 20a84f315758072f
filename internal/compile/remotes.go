package compile

import (
	"slices"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
)

// Remotes lists the service keys with a datacenter that the TrafficRoutes of a
// revision name, sorted: what a catalog is asked for beside its own services.
// Those in shadow count too, or they could not be checked. The own datacenter
// is among them where a document names it.
func Remotes(rev policy.Revision) []string {
	var keys []string
	for _, d := range rev.Documents {
		if d.Route == nil {
			continue
		}
		for _, p := range poolsIn(d.Route) {
			if p.Datacenter != "" {
				keys = append(keys, mesh.ServiceKey(p.Service, p.Datacenter))
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// poolsIn are all pools that the rules of a TrafficRoute name.
func poolsIn(spec *v1alpha1.TrafficRouteSpec) []mesh.Pool {
	var out []mesh.Pool
	for i := range spec.Rules {
		r := rule{Rule: ruleOf(spec.Service, &spec.Rules[i])}
		out = append(out, r.pools()...)
	}
	return out
}
