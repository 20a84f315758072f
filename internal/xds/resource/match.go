package resource

import (
	"regexp"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"meshlite.dev/internal/mesh"
)

func everything() *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
}

// match is one match of a rule. Envoy compares the path without its query, and
// has no suffix for it.
func match(m mesh.Match) *routev3.RouteMatch {
	out := everything()
	if p := m.Path; p != nil {
		switch p.Type {
		case mesh.MatchExact:
			out.PathSpecifier = &routev3.RouteMatch_Path{Path: p.Value}
		case mesh.MatchPrefix:
			out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: p.Value}
		case mesh.MatchSuffix:
			out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: regex(".*" + regexp.QuoteMeta(p.Value))}
		case mesh.MatchRegex:
			out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: regex(p.Value)}
		case mesh.MatchPresent: // every request has a path
		}
	}
	if m.Method != "" {
		out.Headers = append(out.Headers, headerMatcher(mesh.ValueMatch{Name: ":method", Type: mesh.MatchExact, Value: m.Method}))
	}
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, headerMatcher(h))
	}
	for _, q := range m.Query {
		out.QueryParameters = append(out.QueryParameters, queryMatcher(q))
	}
	return out
}

// headerMatcher: what is inverted matches every other request, also one without
// the header, which then counts as empty.
func headerMatcher(v mesh.ValueMatch) *routev3.HeaderMatcher {
	h := &routev3.HeaderMatcher{Name: v.Name, InvertMatch: v.Invert}
	if s := stringMatcher(v); s != nil {
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: s}
		h.TreatMissingHeaderAsEmpty = v.Invert
	} else {
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}
	}
	return h
}

func queryMatcher(v mesh.ValueMatch) *routev3.QueryParameterMatcher {
	q := &routev3.QueryParameterMatcher{Name: v.Name}
	if s := stringMatcher(v); s != nil {
		q.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{StringMatch: s}
	} else {
		q.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true}
	}
	return q
}

// stringMatcher is nil for what any value matches.
func stringMatcher(v mesh.ValueMatch) *matcherv3.StringMatcher {
	switch {
	case v.Type == mesh.MatchExact:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: v.Value}}
	case v.Type == mesh.MatchRegex:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex(v.Value)}}
	case v.Type == mesh.MatchPrefix && v.Value != "":
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: v.Value}}
	case v.Type == mesh.MatchSuffix && v.Value != "":
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: v.Value}}
	}
	return nil
}

// methodMatcher is for the methods that may be repeated.
func methodMatcher(methods []string) *routev3.HeaderMatcher {
	sorted := slices.Clone(methods)
	slices.Sort(sorted)
	return headerMatcher(mesh.ValueMatch{Name: ":method", Type: mesh.MatchRegex, Value: strings.Join(sorted, "|")})
}

func regex(pattern string) *matcherv3.RegexMatcher { return &matcherv3.RegexMatcher{Regex: pattern} }
