package file

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Fault names one mistake in a file so that its author can find it.
type Fault struct { //nolint:errname // the project calls a mistake of an author a fault
	File  string // base name
	Path  string // "services[1].port"; "" for the whole file
	Value string // as written, shortened; "" where there is none
	Cure  string // what would be right
}

// Error writes the fault as one sentence.
func (f Fault) Error() string {
	where := f.File
	if f.Path != "" {
		where += ": " + f.Path
	}
	if f.Value != "" {
		return fmt.Sprintf("%s is %s; %s", where, f.Value, f.Cure)
	}
	return fmt.Sprintf("%s %s", where, f.Cure)
}

// fields reads one object and collects every fault in it.
type fields struct {
	path   string
	values map[string]any // keys as Consul compares them
	names  map[string]string
	faults *[]Fault
}

// plain brings a key to the form in which Consul compares them: it knows
// tagged_addresses, TaggedAddresses and taggedaddresses as one.
func plain(key string) string { return strings.ToLower(strings.ReplaceAll(key, "_", "")) }

// objects returns v as a list of objects: HCL writes blocks as lists, JSON an
// object as itself.
func objects(v any, path string, faults *[]Fault) []fields {
	var items []any
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		items = v
	case []map[string]any:
		for _, m := range v {
			items = append(items, m)
		}
	default:
		items = []any{v}
	}
	var all []fields
	for i, item := range items {
		at := path
		if len(items) > 1 || isList(v) {
			at = fmt.Sprintf("%s[%d]", path, i)
		}
		m, ok := item.(map[string]any)
		if one, isOne := item.([]map[string]any); isOne && len(one) == 1 {
			m, ok = one[0], true
		}
		if !ok {
			*faults = append(*faults, Fault{Path: at, Value: show(item), Cure: "use an object"})
			continue
		}
		all = append(all, newFields(at, m, faults))
	}
	return all
}

func isList(v any) bool {
	_, ok := v.([]any)
	return ok
}

func newFields(path string, m map[string]any, faults *[]Fault) fields {
	f := fields{path: path, values: map[string]any{}, names: map[string]string{}, faults: faults}
	for key, v := range m {
		if other, twice := f.names[plain(key)]; twice {
			f.fault(max(key, other), nil, fmt.Sprintf("is there as %s too; leave one", min(key, other)))
			continue
		}
		f.values[plain(key)], f.names[plain(key)] = v, key
	}
	return f
}

func (f fields) at(key string) string {
	if f.path == "" {
		return key
	}
	return f.path + "." + key
}

func (f fields) fault(key string, v any, cure string) {
	*f.faults = append(*f.faults, Fault{Path: f.at(key), Value: show(v), Cure: cure})
}

// only reports every key that is neither read nor one of Consul's.
func (f fields) only(known []string) {
	for key, name := range f.names {
		if !slices.Contains(known, key) {
			f.fault(name, nil, "is not a field of a service definition; check its spelling, or remove it")
		}
	}
}

func (f fields) has(key string) bool { return f.values[key] != nil }

func (f fields) text(key string) string {
	v, ok := f.values[key]
	if !ok || v == nil {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		f.fault(f.names[key], v, "use a string, in quotes")
	}
	return s
}

func (f fields) number(key string) (int, bool) {
	v, ok := f.values[key]
	if !ok || v == nil {
		return 0, false
	}
	n, err := math.NaN(), error(nil)
	switch v := v.(type) {
	case int:
		n = float64(v)
	case float64:
		n = v
	case json.Number:
		n, err = strconv.ParseFloat(v.String(), 64)
	}
	if err != nil || n != math.Trunc(n) || math.Abs(n) > 1<<31 {
		f.fault(f.names[key], v, "use a whole number, without quotes")
		return 0, false
	}
	return int(n), true
}

// duration reads "10s", and 0 where there is none.
func (f fields) duration(key string) time.Duration {
	s := f.text(key)
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		f.fault(f.names[key], s, "use a duration over 0 with a unit, such as \"10s\"")
	}
	return d
}

func (f fields) strings(key string) []string {
	v, ok := f.values[key]
	if !ok || v == nil {
		return nil
	}
	items, ok := v.([]any)
	if !ok {
		f.fault(f.names[key], v, "use a list of strings")
		return nil
	}
	var all []string
	for i, item := range items {
		s, ok := item.(string)
		if !ok {
			f.fault(fmt.Sprintf("%s[%d]", f.names[key], i), item, "use a string, in quotes")
			continue
		}
		all = append(all, s)
	}
	return all
}

// object reads one object; several blocks of one name are one object.
func (f fields) object(key string) (fields, bool) {
	all := objects(f.values[key], f.at(f.names[key]), f.faults)
	if len(all) == 0 {
		return fields{}, false
	}
	for _, more := range all[1:] {
		for k, v := range more.values {
			all[0].values[k], all[0].names[k] = v, more.names[k]
		}
	}
	all[0].path = f.at(f.names[key])
	return all[0], true
}

// texts reads an object of strings; its keys stay as written.
func (f fields) texts(key string) map[string]string {
	o, ok := f.object(key)
	if !ok {
		return nil
	}
	m := map[string]string{}
	for k, name := range o.names {
		m[name] = o.text(k)
	}
	return m
}

// show shortens a value for a message.
func show(v any) string {
	if v == nil {
		return ""
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("a %T", v)
	}
	const most = 64
	if r := []rune(string(raw)); len(r) > most {
		return string(r[:most]) + "…"
	}
	return string(raw)
}
