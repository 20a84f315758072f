package compile

import (
	"slices"
	"strings"

	"meshlite.dev/internal/policy"
)

// culprit is the layer to blame for a rule that m breaks: of the most specific
// document of which a value named by the rule is in force, else a value of the
// same section, else of the most specific one at all. It is nil where no
// document is left in the stack.
func culprit(m *merged) *layer {
	for _, involved := range []func(*merged, *layer, policy.FieldError) bool{namedByRule, inSectionOfRule, always} {
		for _, l := range slices.Backward(m.stack.layers) {
			if l.doc == nil {
				break // the catalog and mesh-default
			}
			for _, f := range m.faults {
				if involved(m, l, f) {
					return l
				}
			}
		}
	}
	return nil
}

// namedByRule reports whether a value of l is the one at fault, or one that
// the reason compares it with: reasons name the other field by its path.
func namedByRule(m *merged, l *layer, f policy.FieldError) bool {
	return wins(m, l, func(path string) bool { return path == f.Path || strings.Contains(f.Reason, path) })
}

func inSectionOfRule(m *merged, l *layer, f policy.FieldError) bool {
	top, _, _ := strings.Cut(f.Path, ".")
	return wins(m, l, func(path string) bool { return strings.HasPrefix(path, top+".") })
}

func always(*merged, *layer, policy.FieldError) bool { return true }

// wins reports whether a value of l is in force in a field that match names.
func wins(m *merged, l *layer, match func(path string) bool) bool {
	for i, w := range m.winners {
		if w == l && match(schema[i].path) {
			return true
		}
	}
	return false
}
