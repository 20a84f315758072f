package compile

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"meshlite.dev/internal/policy/v1alpha1"
)

// leaf is one field of ResiliencePolicySpec that a document sets or leaves
// out: a scalar or a whole list.
type leaf struct {
	path  string // "retry.budget.percent", as users write it below spec
	steps []int  // field indexes from the spec down to it
	typ   reflect.Type
}

// schema holds every inheritable field in the order of the Go types, which is
// the order of the documentation and of `policy explain`.
var schema = leavesOf(reflect.TypeFor[v1alpha1.ResiliencePolicySpec](), "", nil)

// leafIndex finds a field of schema by its path.
var leafIndex = indexOf(schema)

func indexOf(leaves []leaf) map[string]int {
	index := make(map[string]int, len(leaves))
	for i, l := range leaves {
		index[l.path] = i
	}
	return index
}

var marshaler = reflect.TypeFor[json.Marshaler]()

func leavesOf(t reflect.Type, prefix string, steps []int) []leaf {
	var out []leaf
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if prefix == "" && (name == "targetRefs" || name == "from" || name == "effect") {
			continue // where the document applies, not what it sets
		}
		below := slices.Concat(steps, []int{i})
		ft := f.Type
		if ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		path := join(prefix, name)
		if ft.Kind() == reflect.Struct && !reflect.PointerTo(ft).Implements(marshaler) {
			out = append(out, leavesOf(ft, path, below)...)
			continue
		}
		out = append(out, leaf{path: path, steps: below, typ: f.Type})
	}
	return out
}

func join(prefix, name string) string {
	if prefix == "" || name == "" { // an embedded struct adds no name
		return prefix + name
	}
	return prefix + "." + name
}

// get returns the field of spec, or false where the document leaves it out.
func (l leaf) get(spec reflect.Value) (reflect.Value, bool) {
	v := spec
	for _, s := range l.steps {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return reflect.Value{}, false
			}
			v = v.Elem()
		}
		v = v.Field(s)
	}
	return v, !v.IsZero()
}

// set puts value, which may be shared with the document it came from, into
// spec.
func (l leaf) set(spec, value reflect.Value) {
	v := spec
	for _, s := range l.steps {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(s)
	}
	v.Set(value)
}

// parse makes a value of the field out of what a user would write; it panics
// on what the field cannot hold, as its callers write constants and counts
// within bounds.
func (l leaf) parse(s string) reflect.Value {
	p, raw := reflect.New(l.typ), []byte(s)
	if l.typ.Elem().Kind() == reflect.String {
		raw, _ = json.Marshal(s) // a string always has a JSON form
	}
	if err := json.Unmarshal(raw, p.Interface()); err != nil {
		panic("compile: " + l.path + " cannot be " + s + ": " + err.Error())
	}
	return p.Elem()
}
