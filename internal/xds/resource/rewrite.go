package resource

import (
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"meshlite.dev/internal/mesh"
)

// rewrite changes path and host on the way; Envoy keeps the query in every
// case. path is what the request's own path matched.
func rewrite(a *routev3.RouteAction, r *mesh.Rewrite, path *mesh.ValueMatch) {
	if r == nil {
		return
	}
	if r.Host != "" {
		a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: r.Host}
	}
	switch {
	case r.Path != "":
		a.RegexRewrite = substitute("^.+$", literal(r.Path))
	case r.Regex != "":
		a.RegexRewrite = substitute(r.Regex, r.Substitution)
	case r.Prefix != "":
		rewritePrefix(a, r.Prefix, path)
	}
}

// rewritePrefix puts prefix in the place of the one that was matched. One slash
// stands where it meets the rest, whichever of them brings it.
func rewritePrefix(a *routev3.RouteAction, prefix string, path *mesh.ValueMatch) {
	matched := "/"
	if path != nil {
		matched = path.Value
	}
	switch was, is := strings.HasSuffix(matched, "/"), strings.HasSuffix(prefix, "/"); {
	case was == is:
		a.PrefixRewrite = prefix
	case was:
		a.PrefixRewrite = prefix + "/"
	default:
		a.RegexRewrite = substitute("^"+regexp.QuoteMeta(matched)+"/?", literal(prefix))
	}
}

func substitute(pattern, substitution string) *matcherv3.RegexMatchAndSubstitute {
	return &matcherv3.RegexMatchAndSubstitute{Pattern: regex(pattern), Substitution: substitution}
}

// literal keeps a text from being read as a substitution with groups.
func literal(s string) string { return strings.ReplaceAll(s, `\`, `\\`) }

// toAdd is what a rule sets and adds; Envoy removes first. Values are literal.
func toAdd(e mesh.HeaderEdits) []*corev3.HeaderValueOption {
	var out []*corev3.HeaderValueOption
	for _, h := range e.Set {
		out = append(out, edit(h, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD))
	}
	for _, h := range e.Add {
		out = append(out, edit(h, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD))
	}
	return out
}

func edit(h mesh.Header, how corev3.HeaderValueOption_HeaderAppendAction) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header: &corev3.HeaderValue{Key: h.Name, Value: escape(h.Value)}, AppendAction: how,
		KeepEmptyValue: h.Value == "",
	}
}
