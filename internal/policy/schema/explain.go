package schema

import (
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// reasons says in words what a pattern of the schema asks for.
var reasons = map[string]string{
	`^([0-9]{1,5}h|[0-9]{1,7}m|[0-9]{1,9}s|[0-9]{1,10}(ms|us)){1,5}$`: "must be a duration: a whole number and a unit, such as 250ms, 10s or 1h30m; at most 99999h",

	`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`:  "must be a DNS label: a-z, 0-9 and '-', neither first nor last a '-'",
	`^[a-z0-9]([-a-z0-9_]*[a-z0-9])?$`: "must be a datacenter's name in lower case: a-z, 0-9, '-' and '_', with a letter or digit at both ends",
	`^[A-Z][A-Z-]*$`:                   "must be an HTTP method in capitals, such as GET",
	"^[a-z0-9!#$%&'*+.^_`|~-]+$":       "must be a header name in lower case, such as x-user",
	`^[0-9]{1,3}(\.[0-9]{1,3})?$`:      `must be a decimal in quotes, such as "1.9"`,
	`^/[^\s]*$`:                        "must be a path that starts with /, without blanks",
	`^/[^\s?#]*$`:                      "must be a path that starts with /, without query and blanks",
	`^[^\x00-\x08\x0a-\x1f\x7f]*$`:     "must be one line without control characters",
	`^[-A-Za-z0-9_.]+$`:                "must be a host name without port, such as orders.example.com",
	`^[-A-Za-z0-9_.:]+$`:               "must be made of letters, digits, '-', '_', '.' and ':'",
	`^[-A-Za-z0-9_.]+(:[0-9]{1,5})?$`:  "must be a host name, such as orders.internal or orders.internal:8080",

	`^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)%$`:     `must be a percentage: an integer from 0 to 100, or a decimal such as "0.1%"`,
	`^([-A-Za-z0-9_]+|\*|#)(\.([-A-Za-z0-9_]+|\*|#))*$`: "must be words joined by '.', such as order.created or order.*: * and # stand for whole words",
}

var shouldMatch = regexp.MustCompile(`should match '(.*)'`)

// explain turns an API server's error into ours; ok is false for one that says
// again what another says better.
func explain(e *field.Error) (f Fault, ok bool) {
	if e.Field == "<nil>" && e.Type == field.ErrorTypeInvalid && repeats.MatchString(e.Detail) {
		return f, false
	}
	f = Fault{Path: strings.TrimPrefix(e.Field, "<nil>"), Reason: e.Detail}
	switch e.Type {
	case field.ErrorTypeRequired:
		f.Reason = "is missing" + because(e.Detail, "Required value")
	case field.ErrorTypeNotSupported:
		f.Value, f.Reason = shorten(e.BadValue), strings.Replace(e.Detail, "supported values:", "must be one of", 1)
	case field.ErrorTypeTypeInvalid:
		f.Value, f.Reason = typed(e)
	case field.ErrorTypeDuplicate:
		f = duplicate(e)
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
	if at, reason, ok := strings.Cut(f.Reason, ": "); ok && f.Path == "" && at == "metadata.name" {
		f.Path, f.Reason = at, reason // a rule cannot give this as its fieldPath
	}
	return f, true
}

// repeats are messages beside another that has the field's path: those of
// int-or-string, which is a union to the library.
var repeats = regexp.MustCompile(`must validate at least one schema|^Checked value must be of type`)

var bodyOf = regexp.MustCompile(`^\S+ in body (.*)$`)

// tidy drops the library's repetition of the field's name, "x in body should …".
func tidy(reason, path string) string {
	if m := bodyOf.FindStringSubmatch(reason); m != nil {
		reason = m[1]
	}
	reason = strings.TrimPrefix(reason, path+" ")
	reason = strings.Replace(reason, "should be", "must be", 1)
	reason = strings.Replace(reason, "should have", "must have", 1)
	return strings.Replace(reason, "properties", "fields", 1)
}

func because(detail, boring string) string {
	if detail == "" || detail == boring {
		return ""
	}
	return ": " + detail
}

// typeWords are JSON Schema's names of what the library calls by Go's.
var typeWords = strings.NewReplacer("int32", "integer", "int64", "integer", "float64", "number", ",", " or ")

var typeMessage = regexp.MustCompile(`must be of type ([\w,]+): "(\w+)"`)

func typed(e *field.Error) (value, reason string) {
	if m := typeMessage.FindStringSubmatch(e.Detail); m != nil {
		return shorten(e.BadValue), "must be of type " + typeWords.Replace(m[1]) + ", is " + typeWords.Replace(m[2])
	}
	return shorten(e.BadValue), e.Detail
}

// duplicate is an entry of a list by name whose name another has.
func duplicate(e *field.Error) Fault {
	keys, _ := e.BadValue.(map[string]any)
	for name, value := range keys { // every list of ours has one key
		return Fault{Path: e.Field + "." + name, Value: shorten(value), Reason: "is there twice; give each its own"}
	}
	return Fault{Path: e.Field, Value: shorten(e.BadValue), Reason: "is there twice; keep one"}
}

// shorten writes a value as its author did, cut to what fits a line. Lists and
// objects are none to show.
func shorten(v any) string {
	switch v.(type) {
	case nil, map[string]any, []any, field.OmitValueType, *field.OmitValueType:
		return ""
	}
	s := fmt.Sprint(v)
	if len(s) > 80 {
		s = strings.ToValidUTF8(s[:77], "") + "..."
	}
	return s
}
