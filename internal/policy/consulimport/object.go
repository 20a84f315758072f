package consulimport

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// object is one JSON object of an entry while it is read. A field that nobody
// asks for is left over.
type object struct {
	entry  *entry
	path   string         // "" for the entry itself
	values map[string]any // by plain name
	names  map[string]string
	read   map[string]bool
	below  []*object
}

// plain brings a name to one form: files may say path_prefix where Consul's
// answers say PathPrefix.
func plain(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

func (e *entry) object(path string, fields map[string]any) *object {
	o := &object{entry: e, path: path, values: map[string]any{}, names: map[string]string{}, read: map[string]bool{}}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		o.values[plain(name)], o.names[plain(name)] = fields[name], name
	}
	return o
}

// at is the path of a field, as it is written.
func (o *object) at(name string) string {
	if written, ok := o.names[plain(name)]; ok {
		name = written
	}
	if o.path == "" {
		return name
	}
	return o.path + "." + name
}

// value returns a field and marks it as read; nil where it says nothing.
func (o *object) value(name string) any {
	if o == nil {
		return nil
	}
	o.read[plain(name)] = true
	v := o.values[plain(name)]
	if empty(v) {
		return nil
	}
	return v
}

// ignore marks fields as read that say nothing about calls.
func (o *object) ignore(names ...string) {
	for _, n := range names {
		o.read[plain(n)] = true
	}
}

// empty reports whether a value is what Consul writes for a field that was
// never set.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case bool:
		return !v
	case json.Number:
		n, err := v.Float64()
		return err == nil && n == 0
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, below := range v {
			if !empty(below) {
				return false
			}
		}
		return true
	}
	return false
}

// left reports a field that has no counterpart.
func (o *object) left(name, instead string) { o.leftover(name, instead, false) }

// moves reports one without which calls go elsewhere than in Consul.
func (o *object) moves(name, instead string) { o.leftover(name, instead, true) }

func (o *object) leftover(name, instead string, moves bool) {
	o.read[plain(name)] = true
	o.entry.leave(o.at(name), show(o.values[plain(name)]), instead, moves)
}

// wrong reports a field that is not what Consul would write.
func (o *object) wrong(name, want string) { o.moves(name, "is not "+want+"; nothing was made of it") }

func (o *object) text(name string) string {
	v := o.value(name)
	s, ok := v.(string)
	if v != nil && !ok {
		o.wrong(name, "text")
	}
	return s
}

func (o *object) flag(name string) bool {
	v := o.value(name)
	b, ok := v.(bool)
	if v != nil && !ok {
		o.wrong(name, "true or false")
	}
	return b
}

// number returns a number that may be 0; ok is false where there is none.
func (o *object) number(name string) (n float64, ok bool) {
	if o == nil {
		return 0, false
	}
	o.read[plain(name)] = true
	v := o.values[plain(name)]
	if v == nil {
		return 0, false
	}
	if number, isNumber := v.(json.Number); isNumber {
		if n, err := number.Float64(); err == nil {
			return n, true
		}
	}
	o.wrong(name, "a number")
	return 0, false
}

// count returns a whole number from 0 to 2147483647.
func (o *object) count(name string) (n int32, ok bool) {
	f, ok := o.number(name)
	if !ok {
		return 0, false
	}
	if f != math.Trunc(f) || f < 0 || f > math.MaxInt32 {
		o.wrong(name, "a whole number from 0 to 2147483647")
		return 0, false
	}
	return int32(f), true
}

// duration returns a duration that is not 0: Consul writes text, or
// nanoseconds.
func (o *object) duration(name string) (d time.Duration, ok bool) {
	switch v := o.value(name).(type) {
	case nil:
		return 0, false
	case string:
		if d, err := time.ParseDuration(v); err == nil {
			return d, d != 0
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return time.Duration(n), true
		}
	}
	o.wrong(name, "a duration")
	return 0, false
}

// object returns the object of a field, nil where there is none.
func (o *object) object(name string) *object {
	v := o.value(name)
	m, ok := v.(map[string]any)
	if !ok {
		if v != nil {
			o.wrong(name, "an object")
		}
		return nil
	}
	return o.open(o.at(name), m)
}

func (o *object) open(path string, m map[string]any) *object {
	below := o.entry.object(path, m)
	o.below = append(o.below, below)
	return below
}

// list returns the objects of a list.
func (o *object) list(name string) (all []*object) {
	v := o.value(name)
	items, ok := v.([]any)
	if v != nil && !ok {
		o.wrong(name, "a list")
	}
	for i, item := range items {
		m, ok := item.(map[string]any)
		if !ok {
			o.entry.leave(fmt.Sprintf("%s[%d]", o.at(name), i), show(item), "is not an object; nothing was made of it", true)
			continue
		}
		all = append(all, o.open(fmt.Sprintf("%s[%d]", o.at(name), i), m))
	}
	return all
}

// texts returns a list of strings.
func (o *object) texts(name string) (all []string) {
	v := o.value(name)
	items, ok := v.([]any)
	if v != nil && !ok {
		o.wrong(name, "a list")
	}
	for _, item := range items {
		s, ok := item.(string)
		if !ok {
			o.wrong(name, "a list of text")
			return nil
		}
		all = append(all, s)
	}
	return all
}

// table returns the objects of a map by its keys, which stay as written; one
// that is empty is there all the same.
func (o *object) table(name string) map[string]*object {
	o.ignore(name)
	m, ok := o.values[plain(name)].(map[string]any)
	if !ok && o.values[plain(name)] != nil {
		o.wrong(name, "an object")
	}
	all := map[string]*object{}
	for key, v := range m {
		fields, ok := v.(map[string]any)
		if !ok && v != nil {
			o.entry.leave(o.at(name)+"."+key, show(v), "is not an object; nothing was made of it", true)
			continue
		}
		all[key] = o.open(o.at(name)+"."+key, fields)
	}
	return all
}

// words returns a map of strings.
func (o *object) words(name string) map[string]string {
	m, _ := o.value(name).(map[string]any)
	all := map[string]string{}
	for key, v := range m {
		s, ok := v.(string)
		if !ok {
			o.wrong(name, "a map of text")
			return nil
		}
		all[key] = s
	}
	return all
}

// unread reports all fields that nobody asked for, and those below.
func (o *object) unread() {
	for _, name := range slices.Sorted(maps.Keys(o.values)) {
		if !o.read[name] && !empty(o.values[name]) {
			o.left(o.names[name], instead(o.entry.kind, name))
		}
	}
	for _, below := range o.below {
		below.unread()
	}
}

// show is a value for a message: JSON, shortened.
func show(v any) string {
	if v == nil {
		return ""
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	const most = 80
	if r := []rune(string(raw)); len(r) > most {
		return string(r[:most]) + "…"
	}
	return string(raw)
}
