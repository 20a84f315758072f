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

// tooNew reports the fields in use that a connected Envoy does not know.
func (v *view) tooNew(builds []string, table []mesh.Capability) []mesh.Finding {
	if len(table) == 0 || len(builds) == 0 {
		return nil
	}
	var out []mesh.Finding
	for _, d := range v.documents.All() {
		set := fieldsOf(d)
		for _, c := range table {
			places := set[c.Path]
			old := lacking(builds, c)
			if c.Kind != d.Kind || len(places) == 0 || len(old) == 0 {
				continue
			}
			out = append(out, mesh.Finding{
				Code: mesh.CodeFieldTooNew, Severity: mesh.Warning, Document: d.Ref().String(), Path: "spec." + places[0],
				Message: fmt.Sprintf("needs Envoy %s; connected proxies run %s and do not get it", c.Since, strings.Join(old, ", ")),
				Hint:    "upgrade these proxies (`meshctl proxy status` names them), or leave the field out until then",
			})
		}
	}
	return out
}

// lacking lists the builds that are too old for a field, each once, oldest
// first.
func lacking(builds []string, c mesh.Capability) []string {
	var out []string
	for _, b := range builds {
		if c.Lacks(b) && !slices.Contains(out, b) {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b string) int {
		x, _ := mesh.VersionOf(a)
		y, _ := mesh.VersionOf(b)
		return cmp.Or(slices.Compare(x, y), cmp.Compare(a, b))
	})
	return out
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
