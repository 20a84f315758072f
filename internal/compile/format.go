package compile

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// text writes a field's value as users write it: scalars as they are, lists
// and what is in them in YAML's flow style.
func text(v reflect.Value) string {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "null"
		}
		v = v.Elem()
	}
	if v.CanInterface() {
		if m, ok := v.Interface().(json.Marshaler); ok {
			return unquote(m)
		}
	}
	switch v.Kind() {
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range v.Len() {
			parts[i] = text(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Struct:
		var parts []string
		for i := range v.NumField() {
			if f := v.Field(i); !f.IsZero() {
				name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
				parts = append(parts, name+": "+text(f))
			}
		}
		return "{" + strings.Join(parts, ", ") + "}"
	default:
		return fmt.Sprint(v.Interface())
	}
}

func unquote(m json.Marshaler) string {
	raw, err := m.MarshalJSON()
	if err != nil {
		return fmt.Sprint(m)
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// duration writes d as the schema wants it, in whole units and without those
// that are nought: 5m, not 5m0s; 1500ms, not 1.5s.
func duration(d time.Duration) string {
	if d <= 0 {
		return "0s"
	}
	var out strings.Builder
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "us"}} {
		if unit.size == time.Second && d%time.Second != 0 && out.Len() == 0 && d < time.Minute {
			continue // below a minute one unit reads best
		}
		if n := d / unit.size; n > 0 {
			fmt.Fprintf(&out, "%d%s", n, unit.name)
			d %= unit.size
		}
	}
	return out.String()
}
