package compile

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"meshlite.dev/internal/mesh"
)

// capability is a field of a document that an Envoy older than since ignores
// silently, as it does every field that it does not know.
type capability struct {
	kind  string // of the document
	path  string // below spec, "[]" for each element of a list
	since string // first minor release: "1.38"
}

// capabilities lists the fields that not all supported Envoys have. There are
// none: whatever xds/resource sends stands in the API of Envoy 1.36, before the
// oldest supported one, and the newest of the retry tokens (reset-before-request)
// came with 1.31. A field whose message is younger than the oldest supported
// Envoy belongs here, with the release note that says so.
var capabilities []capability

// tooNew reports the fields in use that a connected Envoy does not know.
func (v *view) tooNew(builds []string, table []capability) []mesh.Finding {
	if len(table) == 0 || len(builds) == 0 {
		return nil
	}
	var out []mesh.Finding
	for _, d := range v.documents.All() {
		set := fieldsOf(d)
		for _, c := range table {
			places := set[c.path]
			old := olderThan(builds, c.since)
			if c.kind != d.Kind || len(places) == 0 || len(old) == 0 {
				continue
			}
			out = append(out, mesh.Finding{
				Code: mesh.CodeFieldTooNew, Severity: mesh.Warning, Document: d.Ref().String(), Path: "spec." + places[0],
				Message: fmt.Sprintf("needs Envoy %s; connected proxies run %s and ignore it without a word", c.since, strings.Join(old, ", ")),
				Hint:    "upgrade these proxies (`meshctl proxy status` names them), or leave the field out until then",
			})
		}
	}
	return out
}

// olderThan lists the builds before a release, each once, oldest first. What
// cannot be read as a version is left out.
func olderThan(builds []string, since string) []string {
	var out []string
	want, _ := version(since)
	for _, b := range builds {
		if have, ok := version(b); ok && slices.Compare(have, want) < 0 && !slices.Contains(out, b) {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b string) int {
		x, _ := version(a)
		y, _ := version(b)
		return cmp.Or(slices.Compare(x, y), cmp.Compare(a, b))
	})
	return out
}

// version reads "1.38.2" and "1.38.2-dev" as numbers.
func version(s string) (numbers []int, ok bool) {
	s, _, _ = strings.Cut(s, "-")
	for part := range strings.SplitSeq(s, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, false
		}
		numbers = append(numbers, n)
	}
	return numbers, true
}

// fieldsOf lists the fields that a document sets: by path with "[]", all places
// with their indexes.
func fieldsOf(d *document) map[string][]string {
	out := map[string][]string{}
	switch {
	case d.Resilience != nil:
		walk(reflect.ValueOf(d.Resilience), "", "", out)
	case d.Route != nil:
		walk(reflect.ValueOf(d.Route), "", "", out)
	}
	return out
}

func walk(v reflect.Value, path, place string, out map[string][]string) {
	if path != "" && !v.IsZero() {
		out[path] = append(out[path], place)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() && v.Elem().Kind() == reflect.Struct {
			walkFields(v.Elem(), path, place, out)
		}
	case reflect.Struct:
		walkFields(v, path, place, out)
	case reflect.Slice:
		for i := range v.Len() {
			walk(v.Index(i), path+"[]", place+"["+strconv.Itoa(i)+"]", out)
		}
	default: // a value, or a map whose keys are the user's
	}
}

func walkFields(v reflect.Value, path, place string, out map[string][]string) {
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		walk(v.Field(i), join(path, name), join(place, name), out)
	}
}
