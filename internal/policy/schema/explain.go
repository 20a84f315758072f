package schema

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// reasons says in words what a pattern of the schema asks for.
var reasons = map[string]string{
	`^([0-9]{1,10}(h|m|s|ms|us)){1,5}$`: "must be a duration: a whole number and a unit, such as 250ms, 10s or 1h30m",
	`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`:   "must be a DNS label: a-z, 0-9 and '-', neither first nor last a '-'",
	`^[A-Z][A-Z-]*$`:                    "must be an HTTP method in capitals, such as GET",
	"^[a-z0-9!#$%&'*+.^_`|~-]+$":        "must be a header name in lower case, such as x-user",
	`^[0-9]{1,3}(\.[0-9]{1,3})?$`:       `must be a decimal in quotes, such as "1.9"`,
	`^/[^\s]*$`:                         "must be a path that starts with /",
}

var shouldMatch = regexp.MustCompile(`should match '(.*)'`)

// explain turns an API server's error into ours.
func explain(e *field.Error) Fault {
	f := Fault{Path: e.Field, Reason: e.Detail}
	switch e.Type {
	case field.ErrorTypeRequired:
		f.Reason = "is missing" + because(e.Detail, "Required value")
	case field.ErrorTypeNotSupported:
		f.Value, f.Reason = shorten(e.BadValue), strings.Replace(e.Detail, "supported values:", "must be one of", 1)
	case field.ErrorTypeTypeInvalid:
		f.Value, f.Reason = typed(e)
	default:
		f.Value = shorten(e.BadValue)
	}
	if m := shouldMatch.FindStringSubmatch(e.Detail); m != nil {
		f.Reason = "must match " + m[1]
		if words, ok := reasons[m[1]]; ok {
			f.Reason = words
		}
	}
	f.Reason = tidy(f.Reason, e.Field)
	return f
}

var bodyOf = regexp.MustCompile(`^\S+ in body (.*)$`)

// tidy drops the library's repetition of the field's name, "x in body should …".
func tidy(reason, path string) string {
	if m := bodyOf.FindStringSubmatch(reason); m != nil {
		reason = m[1]
	}
	reason = strings.TrimPrefix(reason, path+" ")
	return strings.Replace(reason, "should be", "must be", 1)
}

func because(detail, boring string) string {
	if detail == "" || detail == boring {
		return ""
	}
	return ": " + detail
}

var typeMessage = regexp.MustCompile(`must be of type (\w+): "(\w+)"`)

func typed(e *field.Error) (value, reason string) {
	if m := typeMessage.FindStringSubmatch(e.Detail); m != nil {
		return fmt.Sprint(e.BadValue), "must be of type " + m[1] + ", is " + m[2]
	}
	return shorten(e.BadValue), e.Detail
}

// shorten writes a value as its author did, cut to what fits a line.
func shorten(v any) string {
	if v == nil {
		return ""
	}
	s := fmt.Sprint(v)
	if len(s) > 80 {
		s = strings.ToValidUTF8(s[:77], "") + "..."
	}
	return s
}

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
