package compile

import (
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
)

// spot is where something of a document counts: for a service, or for a rule of
// its TrafficRoute.
type spot struct{ service, rule string }

// places are the spots of one document with the generation that counts there.
type places map[spot]int64

// counting finds where each document counts.
func (v *view) counting() map[policy.Key]places {
	out := map[policy.Key]places{}
	seen := map[*mesh.Effective]spot{} // most services of one spot share their result
	count := func(at spot, refs ...mesh.DocumentRef) {
		for _, r := range refs {
			key := policy.Key{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
			if out[key] == nil {
				out[key] = places{}
			}
			out[key][at] = max(out[key][at], r.Generation)
		}
	}
	for name, s := range v.model.Services.All() {
		plain, _ := mesh.SplitServiceKey(name)
		destinations := []*mesh.Destination{s.Default}
		for _, d := range s.ByCaller {
			destinations = append(destinations, d)
		}
		for _, d := range destinations {
			if at := (spot{service: plain}); seen[d.Effective] != at {
				seen[d.Effective] = at
				count(at, d.Documents...)
			}
			if d.Routes == nil {
				continue
			}
			count(spot{service: plain}, d.Routes.By)
			for i := range d.Routes.Rules {
				if r := &d.Routes.Rules[i]; r.Name != "" {
					count(spot{plain, r.Name}, r.Resilience.Documents...)
				}
			}
		}
	}
	return out
}

// at is the generation that counts for a target, 0: none.
func (p places) at(t target, service string, d *document) (generation int64) {
	switch {
	case t.kind == v1alpha1.TargetService:
		return p[spot{service: service}]
	case t.section != "":
		return p[spot{service, t.section}]
	}
	for at, g := range p {
		switch {
		case t.kind == v1alpha1.TargetMesh && at.rule == "" && !d.targetsService(at.service),
			t.kind == v1alpha1.TargetTrafficRoute && at.service == service && at.rule != "":
			generation = max(generation, g)
		}
	}
	return generation
}
