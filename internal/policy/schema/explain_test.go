package schema

import (
	"testing"

	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
)

// TestEveryPatternIsExplained: nobody should have to read an expression to
// learn what is wrong.
func TestEveryPatternIsExplained(t *testing.T) {
	used := map[string]bool{}
	var visit func(string, *structural.Structural)
	visit = func(path string, s *structural.Structural) {
		if s.ValueValidation != nil && s.ValueValidation.Pattern != "" {
			used[s.ValueValidation.Pattern] = true
			if reasons[s.ValueValidation.Pattern] == "" {
				t.Errorf("%s must match %s, and nothing says so in words", path, s.ValueValidation.Pattern)
			}
		}
		for name, p := range s.Properties {
			visit(path+"."+name, &p)
		}
		if s.Items != nil {
			visit(path+"[]", s.Items)
		}
		if s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil {
			visit(path+"{}", s.AdditionalProperties.Structural)
		}
	}
	for kind, v := range all() {
		spec := v.structural.Properties["spec"]
		visit(kind+".spec", &spec)
	}
	for pattern := range reasons {
		if !used[pattern] {
			t.Errorf("no field has the pattern %s any more", pattern)
		}
	}
}
