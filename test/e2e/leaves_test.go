//go:build e2e

package e2e

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// leaves returns the JSON paths of all scalar and list fields of a struct
// type, except those under the named top-level fields.
func leaves(t *testing.T, v any, except ...string) []string {
	t.Helper()
	var out []string
	var walk func(typ reflect.Type, prefix string)
	walk = func(typ reflect.Type, prefix string) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Struct {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ.NumField() == 0 || typ.PkgPath() == "k8s.io/apimachinery/pkg/util/intstr" {
			out = append(out, prefix)
			return
		}
		for i := range typ.NumField() {
			name, how, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if how == "inline" {
				walk(typ.Field(i).Type, prefix)
				continue
			}
			path := strings.TrimPrefix(prefix+"."+name, ".")
			if name == "" || slices.Contains(except, path) {
				continue
			}
			walk(typ.Field(i).Type, path)
		}
	}
	walk(reflect.TypeOf(v), "")
	if len(out) < 50 {
		t.Fatalf("only %d fields found: %v", len(out), out)
	}
	return out
}
