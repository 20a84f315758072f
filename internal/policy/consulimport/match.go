package consulimport

import (
	"regexp"
	"strings"

	"meshlite.dev/internal/policy/v1alpha1"
)

// pathMatch is the path that a route matches, for its rewrite.
type pathMatch struct {
	exact   bool
	value   string
	anyCase bool
}

// readMatch makes matches of a route's: one for each method, or one.
func (r *route) readMatch(o *object) {
	r.whole = true
	if o == nil {
		return
	}
	m := v1alpha1.RouteMatch{Path: r.readPath(o)}
	for _, h := range o.list("Header") {
		if match, ok := r.readHeader(h); ok {
			m.Headers = append(m.Headers, match)
		}
	}
	for _, q := range o.list("QueryParam") {
		if match, ok := r.readQuery(q); ok {
			m.QueryParams = append(m.QueryParams, match)
		}
	}
	methods := o.texts("Methods")
	for _, text := range methods {
		method := v1alpha1.Method(strings.ToUpper(text))
		one := m
		one.Method = &method
		r.matches = append(r.matches, one)
	}
	if len(methods) == 0 && (m.Path != nil || len(m.Headers)+len(m.QueryParams) > 0) {
		r.matches = []v1alpha1.RouteMatch{m}
	}
}

func (r *route) readPath(o *object) *v1alpha1.PathMatch {
	exact, prefix, regex, anyCase := o.text("PathExact"), o.text("PathPrefix"), o.text("PathRegex"), o.flag("CaseInsensitive")
	switch {
	case exact != "":
		r.prefix = &pathMatch{true, exact, anyCase}
		if anyCase {
			return &v1alpha1.PathMatch{Type: v1alpha1.MatchRegex, Value: "(?i)" + regexp.QuoteMeta(exact)}
		}
		return &v1alpha1.PathMatch{Type: v1alpha1.MatchExact, Value: exact}
	case prefix != "":
		r.prefix = &pathMatch{false, prefix, anyCase}
		if anyCase {
			return &v1alpha1.PathMatch{Type: v1alpha1.MatchRegex, Value: "(?i)" + regexp.QuoteMeta(prefix) + ".*"}
		}
		return &v1alpha1.PathMatch{Type: v1alpha1.MatchPrefix, Value: prefix}
	case regex != "":
		if anyCase {
			o.left("CaseInsensitive", "has no effect on PathRegex, in Consul's Envoy neither; begin the regex with (?i)")
		}
		return &v1alpha1.PathMatch{Type: v1alpha1.MatchRegex, Value: regex}
	}
	return nil
}

func (r *route) readHeader(o *object) (v1alpha1.HeaderMatch, bool) {
	m := v1alpha1.HeaderMatch{Name: v1alpha1.HeaderName(strings.ToLower(o.text("Name")))}
	m.Type, m.Value = readValue(o, "Present", "Exact", "Regex", "Prefix", "Suffix")
	if o.flag("Invert") {
		m.Invert = new(true)
	}
	if strings.HasPrefix(string(m.Name), ":") {
		o.moves("Name", "rules do not match pseudo headers; use path, or methods, or rewrite the Host at the caller")
		r.whole = false
	}
	return m, r.matched(o, m.Type)
}

func (r *route) readQuery(o *object) (v1alpha1.QueryParamMatch, bool) {
	m := v1alpha1.QueryParamMatch{Name: o.text("Name")}
	m.Type, m.Value = readValue(o, "Present", "Exact", "Regex")
	return m, r.matched(o, m.Type)
}

// matched reports whether o says what to match at all: a newer Consul may do
// so in a field that is not known here.
func (r *route) matched(o *object, kind string) bool {
	if kind == "" {
		r.whole = false
		o.entry.leave(o.path, "", "says nothing that is known here to match", true)
	}
	return kind != ""
}

// readValue returns the first comparison that is set.
func readValue(o *object, kinds ...string) (kind string, value *string) {
	for _, k := range kinds {
		if k == v1alpha1.MatchPresent {
			if o.flag(k) && kind == "" {
				kind = k
			}
			continue
		}
		if v := o.text(k); v != "" && kind == "" {
			kind, value = k, &v
		}
	}
	return kind, value
}

// rewriteOf makes Consul's prefix rewrite one of the three that a rule has.
func (r *route) rewriteOf() *v1alpha1.Rewrite {
	to := r.destination.rewrite
	switch p := r.prefix; {
	case to == "":
		return nil
	case p == nil:
		r.to.moves("PrefixRewrite", "goes with PathExact and PathPrefix alone")
		return nil
	case p.exact:
		return &v1alpha1.Rewrite{Path: &to}
	case p.anyCase:
		return &v1alpha1.Rewrite{Regex: &v1alpha1.RegexRewrite{
			Pattern: "(?i)^" + regexp.QuoteMeta(p.value), Substitution: strings.ReplaceAll(to, `\`, `\\`),
		}}
	default:
		return &v1alpha1.Rewrite{Prefix: &to}
	}
}
