package compile

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy/v1alpha1"
)

// other are values of which at least one differs from whatever a field holds.
var other = map[string][]string{
	"loadBalancing.hash": {`[{header: x-user}, {cookie: {name: s, ttl: 1h, path: /a}, terminal: true}, {query: q}, {sourceIP: true}]`},
}

var guesses = []string{"7", "7s", "true", "false", "[GET]", "[7]", "Monitor", "Maglev", "Failover", "TCP", "/other", "7.5"}

// TestEveryFieldOfTheSchemaLandsSomewhere changes each field of the schema in
// turn and fails where the effective values do not; together the fields must
// reach every field of mesh.Resilience.
func TestEveryFieldOfTheSchemaLandsSomewhere(t *testing.T) {
	unreached := map[string]bool{}
	for path := range flat(mesh.Resilience{
		HealthCheck: &mesh.HealthCheck{}, RateLimit: &mesh.RateLimit{}, LoadBalancing: mesh.LoadBalancing{Hash: make([]mesh.HashKey, 4)},
	}) {
		unreached[path] = true
	}
	for _, l := range schema {
		if l.path == "connection.protocol" {
			continue // becomes the destination's protocol
		}
		before := flat(convert(reflect.ValueOf(limited()).Elem()))
		landed := false
		for _, text := range append(other[l.path], guesses...) {
			value := reflect.New(l.typ)
			if yaml.Unmarshal([]byte(text), value.Interface()) != nil {
				continue
			}
			spec := reflect.ValueOf(limited()).Elem()
			l.set(spec, value.Elem())
			after := flat(convert(spec))
			for path := range after {
				if after[path] != before[path] {
					landed = true
					delete(unreached, path)
				}
			}
		}
		if !landed {
			t.Errorf("no value of %s changes anything in mesh.Resilience", l.path)
		}
	}
	if len(unreached) > 0 {
		t.Errorf("no field of the schema reaches %v", slices.Sorted(maps.Keys(unreached)))
	}
}

// limited is a spec with the field without which a rate limit is none.
func limited() *v1alpha1.ResiliencePolicySpec {
	one := int32(1)
	return &v1alpha1.ResiliencePolicySpec{RateLimit: &v1alpha1.RateLimit{PerCaller: &v1alpha1.TokenBucket{Requests: &one}}}
}

// flat lists the scalars in a value by path, absent ones left out.
func flat(r mesh.Resilience) map[string]string {
	out := map[string]string{}
	var walk func(prefix string, v reflect.Value)
	walk = func(prefix string, v reflect.Value) {
		switch {
		case v.Kind() == reflect.Pointer && v.IsNil():
		case v.Kind() == reflect.Pointer:
			walk(prefix, v.Elem())
		case v.Kind() == reflect.Struct:
			for i := range v.NumField() {
				walk(prefix+"."+v.Type().Field(i).Name, v.Field(i))
			}
		case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
			for i := range v.Len() {
				walk(prefix+"[]", v.Index(i))
			}
		case v.Kind() == reflect.Slice && v.Len() == 0:
			out[prefix] = ""
		default:
			out[prefix] += fmt.Sprint(v.Interface()) + ";"
		}
	}
	walk("", reflect.ValueOf(r))
	return out
}

func TestEverySetterIsAFieldOfTheSchema(t *testing.T) {
	for path := range setters {
		if _, ok := leafIndex[path]; !ok {
			t.Errorf("the schema has no field %s", path)
		}
	}
}

func TestMeshDefaultIsComplete(t *testing.T) {
	absent := map[string]bool{"connection.protocol": true}
	for _, f := range append(slices.Clone(checkFallbacks), rateFallbacks...) {
		absent[f.path] = true
	}
	absent["rateLimit.perCaller.requests"] = true
	m := merge(stack{layers: []*layer{New(Default()).base}, protocol: mesh.HTTP1})
	if len(m.faults) > 0 || len(m.findings) > 0 {
		t.Errorf("mesh-default has faults %v, findings %v", m.faults, m.findings)
	}
	for i, l := range schema {
		if (m.winners[i] == nil) != absent[l.path] {
			t.Errorf("%s: set by mesh-default: %t, want %t", l.path, m.winners[i] != nil, !absent[l.path])
		}
	}
}

func TestTextIsWhatUsersWrite(t *testing.T) {
	spec := v1alpha1.ResiliencePolicySpec{}
	const doc = `{timeouts: {idle: 60s}, retry: {attempts: 3, methods: [GET, PUT], statusCodes: [], avoidPreviousHosts: true},
		loadBalancing: {hash: [{header: x-user}, {cookie: {name: s, ttl: 1h}, terminal: true}]}}`
	if err := yaml.Unmarshal([]byte(doc), &spec); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range settingsOf(&spec) {
		got = append(got, schema[s.leaf].path+"="+s.text)
	}
	want := []string{
		"timeouts.idle=60s", "retry.attempts=3", "retry.statusCodes=[]", "retry.methods=[GET, PUT]", "retry.avoidPreviousHosts=true",
		"loadBalancing.hash=[{header: x-user}, {cookie: {name: s, ttl: 1h}, terminal: true}]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("settings = %q, want %q", got, want)
	}
}

func TestDurationsHaveWholeUnits(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s": 0, "5m": 5 * time.Minute, "1h": time.Hour, "1h30m": 90 * time.Minute, "1m1s": 61 * time.Second,
		"1500ms": 1500 * time.Millisecond, "25ms": 25 * time.Millisecond, "1ms500us": 1500 * time.Microsecond, "10s": 10 * time.Second,
	} {
		if got := duration(d); got != want {
			t.Errorf("duration(%v) = %s, want %s", d, got, want)
		}
		if parseDuration(want) != d {
			t.Errorf("%s is not %v", want, d)
		}
	}
}

func TestNearestNames(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"orders", "orders", 0}, {"order", "orders", 1}, {"ordres", "orders", 2}, {"kitten", "sitting", 3}, {"a", "abcdefgh", 5},
	} {
		if got := distance(tc.a, tc.b, 5); got != tc.want {
			t.Errorf("distance(%s, %s) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}
