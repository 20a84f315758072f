package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy/v1alpha1"
)

// route is a TrafficRoute taken apart. Immutable.
type route struct {
	service string
	subsets []mesh.Subset  // sorted by name
	places  map[string]int // of the subsets in the document
	rules   []rule
}

// rule is one rule as its document has it: parts of pools that are left out
// are filled in, what the catalog knows of them is not. Where the document has
// neither backends nor an answer, the service itself is the backend.
type rule struct {
	mesh.Rule
	place  int    // in the document
	inline *layer // nil where the rule sets nothing
}

func (c *Compiler) newRoute(d *document, spec *v1alpha1.TrafficRouteSpec) *route {
	out := &route{service: spec.Service, places: map[string]int{}}
	for i, s := range spec.Subsets {
		if _, twice := out.places[s.Name]; !twice {
			out.places[s.Name] = i
			out.subsets = append(out.subsets, subsetOf(s))
		}
	}
	slices.SortFunc(out.subsets, func(a, b mesh.Subset) int { return cmp.Compare(a.Name, b.Name) })
	seen := map[string]bool{}
	for i := range spec.Rules {
		if r := &spec.Rules[i]; r.Name != "" && !seen[r.Name] {
			seen[r.Name] = true
			out.rules = append(out.rules, rule{Rule: ruleOf(spec.Service, r), place: i, inline: c.inline(d, r, i)})
		}
	}
	return out
}

// inline is the layer of what a rule sets itself.
func (c *Compiler) inline(d *document, r *v1alpha1.RouteRule, place int) *layer {
	set := settingsOf(&v1alpha1.ResiliencePolicySpec{Timeouts: r.Timeouts, Retry: r.Retry})
	set = slices.DeleteFunc(set, func(s setting) bool { return !onRules(s.leaf) })
	if len(set) == 0 {
		return nil
	}
	l := c.newLayer(levelInline, d, set)
	l.at, l.rule = rulePath(place)+".", r.Name
	return l
}

// rulePath is where a TrafficRoute has its rule i.
func rulePath(i int) string { return fmt.Sprintf("spec.rules[%d]", i) }

func subsetOf(s v1alpha1.Subset) mesh.Subset {
	out := mesh.Subset{Name: s.Name}
	for _, tag := range s.Tags {
		out.Tags = append(out.Tags, string(tag))
	}
	slices.Sort(out.Tags)
	out.Tags = slices.Compact(out.Tags)
	for k, v := range s.Meta {
		if out.Meta == nil {
			out.Meta = map[string]string{}
		}
		out.Meta[k] = string(v)
	}
	return out
}

func ruleOf(service string, r *v1alpha1.RouteRule) mesh.Rule {
	out := mesh.Rule{Name: r.Name}
	for _, m := range r.Matches {
		out.Matches = append(out.Matches, matchOf(m))
	}
	f := r.Filters
	if f == nil {
		f = &v1alpha1.RouteFilters{}
	}
	out.RequestHeaders, out.ResponseHeaders = editsOf(f.RequestHeaders), editsOf(f.ResponseHeaders)
	switch {
	case f.Redirect != nil:
		out.Redirect = redirectOf(f.Redirect)
		return out
	case f.DirectResponse != nil:
		out.Direct = &mesh.DirectResponse{Status: unsigned(f.DirectResponse.Status), Body: value(f.DirectResponse.Body)}
		return out
	}
	out.Rewrite, out.Fault = rewriteOf(f.Rewrite), faultOf(f.Fault)
	for _, m := range f.Mirrors {
		share := uint32(allMillionths)
		if m.Percent != nil {
			share = orNone(v1alpha1.Millionths(*m.Percent))
		}
		out.Mirrors = append(out.Mirrors, mesh.Mirror{Pool: poolOf(service, m.Destination), Millionths: share})
	}
	for _, b := range r.Backends {
		weight := uint32(1)
		if b.Weight != nil {
			weight = unsigned(*b.Weight)
		}
		out.Backends = append(out.Backends, mesh.Backend{Pool: poolOf(service, b.Destination), Weight: weight})
	}
	if len(out.Backends) == 0 {
		out.Backends = []mesh.Backend{{Pool: mesh.Pool{Service: service}, Weight: 1}}
	}
	for _, t := range r.Failover {
		out.Failover = append(out.Failover, poolOf(service, t.Destination))
	}
	return out
}

// poolOf fills in what a destination leaves out: the route's own service.
func poolOf(service string, d v1alpha1.Destination) mesh.Pool {
	return mesh.Pool{Service: cmp.Or(d.Service, service), Datacenter: d.Datacenter, Subset: d.Subset}
}

func matchOf(m v1alpha1.RouteMatch) mesh.Match {
	out := mesh.Match{Method: string(value(m.Method))}
	if m.Path != nil {
		out.Path = &mesh.ValueMatch{Type: mesh.MatchType(m.Path.Type), Value: m.Path.Value}
	}
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, mesh.ValueMatch{
			Name: strings.ToLower(string(h.Name)), Type: mesh.MatchType(h.Type), Value: value(h.Value), Invert: value(h.Invert),
		})
	}
	for _, q := range m.QueryParams {
		out.Query = append(out.Query, mesh.ValueMatch{Name: q.Name, Type: mesh.MatchType(q.Type), Value: value(q.Value)})
	}
	return out
}
