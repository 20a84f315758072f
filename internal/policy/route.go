package policy

import (
	"fmt"
	"slices"
	"strings"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy/v1alpha1"
)

// maxBody is Envoy's limit of a direct response, in bytes; the schema counts
// characters (route.v3.RouteConfiguration.max_direct_response_body_size_bytes).
const maxBody = 4096

// CheckRoute applies the rules of a TrafficRoute that the schema cannot. Paths
// are below spec, such as "rules[2].matches[0].path.value".
func CheckRoute(spec *v1alpha1.TrafficRouteSpec) []FieldError {
	c := checker{}
	for i := range spec.Rules {
		at, rule := fmt.Sprintf("rules[%d]", i), &spec.Rules[i]
		c.matches(at, rule.Matches)
		c.destinations(at, spec, rule)
		c.inline(at, rule)
		if rule.Filters != nil {
			c.rewrite(at+".filters.rewrite", rule.Filters.Rewrite)
			c.answer(at+".filters.directResponse", rule.Filters.DirectResponse)
			c.redirect(at+".filters.redirect", spec.Rules[:i], rule)
		}
	}
	return c.faults
}

func (c *checker) regex(path, pattern string) (groups int, ok bool) {
	groups, fault := checkRegex(pattern)
	if fault != "" {
		c.fault(path, text(pattern), "%s", fault)
	}
	return groups, fault == ""
}

func (c *checker) matches(at string, matches []v1alpha1.RouteMatch) {
	for i, m := range matches {
		at := fmt.Sprintf("%s.matches[%d]", at, i)
		if m.Path != nil && m.Path.Type == v1alpha1.MatchRegex {
			c.regex(at+".path.value", m.Path.Value)
		}
		for j, h := range m.Headers {
			if h.Type == v1alpha1.MatchRegex && h.Value != nil {
				c.regex(fmt.Sprintf("%s.headers[%d].value", at, j), *h.Value)
			}
		}
		for j, q := range m.QueryParams {
			if q.Type == v1alpha1.MatchRegex && q.Value != nil {
				c.regex(fmt.Sprintf("%s.queryParams[%d].value", at, j), *q.Value)
			}
		}
	}
}

// destinations demands that a subset of the service itself is one of the
// document's: its share would be answered 503. Those of other services are
// other documents' to have, and a shadow may be a draft.
func (c *checker) destinations(at string, spec *v1alpha1.TrafficRouteSpec, rule *v1alpha1.RouteRule) {
	if spec.Effect == v1alpha1.Shadow {
		return
	}
	var names []string
	for _, s := range spec.Subsets {
		names = append(names, s.Name)
	}
	check := func(path string, d v1alpha1.Destination) {
		if d.Subset == "" || d.Service != "" && d.Service != spec.Service || slices.Contains(names, d.Subset) {
			return
		}
		known := "the document has no subsets"
		if len(names) > 0 {
			known = "known are " + strings.Join(names, ", ")
		}
		c.fault(at+path+".subset", d.Subset, "is not one of spec.subsets; %s", known)
	}
	for i, b := range rule.Backends {
		check(fmt.Sprintf(".backends[%d]", i), b.Destination)
	}
	for i, f := range rule.Failover {
		check(fmt.Sprintf(".failover[%d]", i), f.Destination)
	}
	if rule.Filters == nil {
		return
	}
	for i, m := range rule.Filters.Mirrors {
		check(fmt.Sprintf(".filters.mirrors[%d]", i), m.Destination)
	}
}

// inline applies the rules of a ResiliencePolicy to what a rule has of it.
func (c *checker) inline(at string, rule *v1alpha1.RouteRule) {
	own := checker{}
	own.timeouts(rule.Timeouts, rule.Retry)
	if rule.Retry != nil {
		own.backoff("retry.backoff", rule.Retry.Backoff)
	}
	for _, f := range own.faults {
		f.Path = at + "." + f.Path
		c.faults = append(c.faults, f)
	}
}

func (c *checker) rewrite(path string, r *v1alpha1.Rewrite) {
	if r == nil || r.Regex == nil {
		return
	}
	groups, ok := c.regex(path+".regex.pattern", r.Regex.Pattern)
	if !ok {
		return
	}
	if fault := checkSubstitution(r.Regex.Substitution, groups); fault != "" {
		c.fault(path+".regex.substitution", text(r.Regex.Substitution), "%s", fault)
	}
}

func (c *checker) answer(path string, r *v1alpha1.DirectResponse) {
	if r == nil || r.Body == nil {
		return
	}
	if len(*r.Body) > maxBody {
		c.fault(path+".body", text(*r.Body), "is %d bytes, may have %d", len(*r.Body), maxBody)
	}
	if (r.Status == 204 || r.Status == 304) && *r.Body != "" {
		c.fault(path+".body", text(*r.Body), "goes with no answer of status %d: HTTP gives it no body", r.Status)
	}
}

// redirect finds a rule that sends a caller back to itself, for certain: what
// an earlier rule may take is let pass.
func (c *checker) redirect(path string, before []v1alpha1.RouteRule, rule *v1alpha1.RouteRule) {
	r := rule.Filters.Redirect
	if r == nil || r.Path == nil || r.Scheme != nil || r.Host != nil || r.Port != nil {
		return
	}
	place := *r.Path
	if end := strings.IndexAny(place, "?#"); end >= 0 {
		place = place[:end]
	}
	for i := range before {
		if len(before[i].Matches) == 0 || slices.ContainsFunc(before[i].Matches, func(m v1alpha1.RouteMatch) bool { return meets(m.Path, place) }) {
			return
		}
	}
	again := len(rule.Matches) == 0 || slices.ContainsFunc(rule.Matches, func(m v1alpha1.RouteMatch) bool {
		return len(m.Headers)+len(m.QueryParams) == 0 && (m.Method == nil || *m.Method == "GET") && meets(m.Path, place)
	})
	if again {
		c.fault(path+".path", *r.Path, "is matched by the same rule: the caller would go round in circles")
	}
}

// meets reports whether a path is what m asks for.
func meets(m *v1alpha1.PathMatch, path string) bool {
	return m == nil || mesh.ValueMatch{Type: mesh.MatchType(m.Type), Value: m.Value}.Meets(path)
}
