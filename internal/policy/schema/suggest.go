package schema

import (
	"maps"
	"slices"
	"strings"

	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
)

// suggest says which fields exist where path names one that does not.
func (v *Validator) suggest(path string) string {
	s := v.structural
	steps := strings.Split(path, ".")
	for _, step := range steps[:len(steps)-1] {
		name, _, isList := strings.Cut(step, "[")
		next, ok := s.Properties[name]
		if !ok {
			return "no such field"
		}
		s = &next
		if isList && s.Items != nil {
			s = s.Items
		}
	}
	return "no such field" + nearest(steps[len(steps)-1], s)
}

func nearest(name string, s *structural.Structural) string {
	known := slices.Sorted(maps.Keys(s.Properties))
	best, distance := "", 3 // more edits than this are another word
	for _, k := range known {
		if d := edits(strings.ToLower(name), strings.ToLower(k)); d < distance {
			best, distance = k, d
		}
	}
	if best != "" {
		return "; did you mean " + best + "?"
	}
	if len(known) == 0 {
		return ""
	}
	return "; known are " + strings.Join(known, ", ")
}

// edits is Levenshtein's distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
