package compile

import (
	"fmt"
	"slices"
	"strings"

	"meshlite.dev/internal/mesh"
)

// shadowedRule finds that rule i never gets a request, as earlier rules take
// all that it matches.
func shadowedRule(rules []rule, i int) (mesh.Finding, bool) {
	matches := rules[i].Matches
	if len(matches) == 0 {
		matches = []mesh.Match{{}}
	}
	var by []string
	for _, m := range matches {
		k := slices.IndexFunc(rules[:i], func(r rule) bool { return takes(&r.Rule, m) })
		if k < 0 {
			return mesh.Finding{}, false
		}
		if !slices.Contains(by, rules[k].Name) {
			by = append(by, rules[k].Name)
		}
	}
	return mesh.Finding{
		Code: mesh.CodeShadowedRule, Severity: mesh.Warning, Path: rulePath(rules[i].place),
		Message: fmt.Sprintf("rule %s never gets a request: all that it matches is taken before by %s", rules[i].Name, strings.Join(by, " and ")),
		Hint:    "the first rule that matches wins: move it further up, or narrow what stands before it",
	}, true
}

// takes reports whether r matches every request that m matches.
func takes(r *mesh.Rule, m mesh.Match) bool {
	return len(r.Matches) == 0 || slices.ContainsFunc(r.Matches, func(wide mesh.Match) bool { return contains(wide, m) })
}

// contains reports whether every request that narrow matches is matched by
// wide. It knows no more of regular expressions than that they are the same.
func contains(wide, narrow mesh.Match) bool {
	if wide.Method != "" && wide.Method != narrow.Method || !containsPath(wide.Path, narrow.Path) {
		return false
	}
	return containsValues(wide.Headers, narrow.Headers) && containsValues(wide.Query, narrow.Query)
}

func containsPath(wide, narrow *mesh.ValueMatch) bool {
	switch {
	case wide == nil || wide.Type == mesh.MatchPrefix && wide.Value == "/":
		return true
	case narrow == nil:
		return false
	default:
		return containsValue(*wide, *narrow)
	}
}

// containsValues reports whether each condition of wide is one of narrow, or
// follows from one.
func containsValues(wide, narrow []mesh.ValueMatch) bool {
	for _, w := range wide {
		if !slices.ContainsFunc(narrow, func(n mesh.ValueMatch) bool { return containsValue(w, n) }) {
			return false
		}
	}
	return true
}

func containsValue(wide, narrow mesh.ValueMatch) bool {
	if wide.Name != narrow.Name {
		return false
	}
	if wide == narrow {
		return true
	}
	if wide.Invert || narrow.Invert {
		return false
	}
	switch wide.Type {
	case mesh.MatchPresent:
		return true
	case mesh.MatchPrefix:
		return (narrow.Type == mesh.MatchExact || narrow.Type == mesh.MatchPrefix) && strings.HasPrefix(narrow.Value, wide.Value)
	case mesh.MatchSuffix:
		return (narrow.Type == mesh.MatchExact || narrow.Type == mesh.MatchSuffix) && strings.HasSuffix(narrow.Value, wide.Value)
	default:
		return false
	}
}
