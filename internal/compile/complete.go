package compile

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"meshlite.dev/internal/mesh"
)

// fallback is the value of a field in a section that mesh-default leaves out,
// once a document or the catalog asks for the section.
type fallback struct{ path, value string }

// The sections that are absent in mesh-default, with what completes them. A
// value that starts with "=" is that of another field.
var (
	checkFallbacks = []fallback{
		{"healthCheck.type", string(mesh.HealthCheckHTTP)},
		{"healthCheck.path", "/health"},
		{"healthCheck.interval", "10s"},
		{"healthCheck.timeout", "1s"},
		{"healthCheck.unhealthyAfter", "3"},
		{"healthCheck.healthyAfter", "1"},
	}
	rateFallbacks = []fallback{
		{"rateLimit.perCaller.per", "1s"},
		{"rateLimit.perCaller.burst", "=rateLimit.perCaller.requests"},
	}
)

// completeSections fills up the sections that somebody asked for in part.
func completeSections(spec reflect.Value, origins map[string]mesh.Origin) {
	for _, section := range [][]fallback{checkFallbacks, rateFallbacks} {
		top, _, _ := strings.Cut(section[0].path, ".")
		if !anyUnder(origins, top+".") {
			continue
		}
		for _, f := range section {
			if _, ok := origins[f.path]; ok {
				continue
			}
			value := f.value
			if from, ok := strings.CutPrefix(value, "="); ok {
				if value = origins[from].Value; value == "" {
					continue
				}
			}
			if f.path == "healthCheck.path" && origins["healthCheck.type"].Value != string(mesh.HealthCheckHTTP) {
				continue
			}
			at := mustLeaf(f.path)
			schema[at].set(spec, schema[at].parse(value))
			origins[f.path] = mesh.Origin{Value: value, Why: "built-in"}
		}
	}
}

func anyUnder(origins map[string]mesh.Origin, prefix string) bool {
	for i := range schema {
		if _, ok := origins[schema[i].path]; ok && strings.HasPrefix(schema[i].path, prefix) {
			return true
		}
	}
	return false
}

// checkSettings is the catalog's check as a layer's settings.
func checkSettings(c mesh.HealthCheck) []setting {
	var out []setting
	for _, f := range []fallback{
		{"healthCheck.type", string(c.Type)}, {"healthCheck.path", c.Path},
		{"healthCheck.interval", duration(c.Interval)}, {"healthCheck.timeout", duration(c.Timeout)},
		{"healthCheck.unhealthyAfter", bounded(c.UnhealthyAfter)}, {"healthCheck.healthyAfter", bounded(c.HealthyAfter)},
	} {
		if f.value == "" || f.value == "0s" || f.value == "0" {
			continue // the built-in value
		}
		at := mustLeaf(f.path)
		out = append(out, setting{leaf: at, value: schema[at].parse(f.value), text: f.value})
	}
	return out
}

// bounded writes a count that the schema can hold.
func bounded(n uint32) string { return fmt.Sprint(min(n, math.MaxInt32)) }

// replaceCheck leaves out what cannot belong to the check that a document
// describes by naming its type: every part of the catalog's check, and where
// the type has no path, the paths of less specific layers.
func replaceCheck(fields [][]candidate) {
	types := fields[mustLeaf("healthCheck.type")]
	if len(types) == 0 || types[len(types)-1].layer.level <= levelCatalog {
		return
	}
	win := types[len(types)-1]
	for _, f := range checkFallbacks {
		at := mustLeaf(f.path)
		fields[at] = slices.DeleteFunc(fields[at], func(c candidate) bool {
			pathless := f.path == "healthCheck.path" && win.setting.text != string(mesh.HealthCheckHTTP)
			return c.layer.level == levelCatalog && f.path != "healthCheck.type" ||
				pathless && c.layer.level < win.layer.level
		})
	}
}
