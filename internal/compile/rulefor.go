package compile

import (
	"slices"
	"strings"

	"meshlite.dev/internal/mesh"
)

// RuleFor returns the rule of d that a request of this path falls to by its
// path alone, and the rules before it that take the request where it meets
// further conditions: a method, headers, query parameters. What follows a '?'
// in path is not looked at. Without a TrafficRoute it returns nothing.
func RuleFor(d *mesh.Destination, path string) (rule *mesh.Rule, sooner []*mesh.Rule) {
	if d.Routes == nil {
		return nil, nil
	}
	path, _, _ = strings.Cut(path, "?")
	for i := range d.Routes.Rules {
		r := &d.Routes.Rules[i]
		takes, may := takesPath(r, path)
		switch {
		case takes:
			return r, sooner
		case may:
			sooner = append(sooner, r)
		}
	}
	return nil, sooner
}

// takesPath reports whether r matches every request of the path, or some.
func takesPath(r *mesh.Rule, path string) (every, some bool) {
	for _, m := range r.Matches {
		if m.Path != nil && !m.Path.Meets(path) {
			continue
		}
		if m.Method == "" && len(m.Headers)+len(m.Query) == 0 {
			return true, true
		}
		some = true
	}
	return len(r.Matches) == 0, some
}

// ExplainRule lists every field as the requests of r, a rule of service as d
// has it, get them. What lives in clusters is in force for the service's own
// instances; other backends have their own.
func ExplainRule(service string, d *mesh.Destination, r *mesh.Rule) []Field {
	fields := Explain(&mesh.Destination{Caller: d.Caller, Protocol: d.Protocol, Effective: r.Resilience})
	var others []string
	for _, b := range r.Backends {
		if key := mesh.ServiceKey(b.Service, b.Datacenter); key != service && b.Weight > 0 && !slices.Contains(others, key) {
			others = append(others, key)
		}
	}
	for i := range fields {
		switch {
		case len(r.Backends) == 0:
			fields[i].Origin.Why += "; no effect: the rule calls no backend"
		case len(others) > 0 && sections[i]&inRoute == 0:
			fields[i].Origin.Why += "; instances of " + strings.Join(others, " and ") + " have their own"
		}
	}
	return fields
}
