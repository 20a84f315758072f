package pmap_test

import (
	"maps"
	"testing"

	"pgregory.net/rapid"

	"meshlite.dev/internal/pmap"
)

func TestMapBehavesLikeAGoMapAndOldVersionsStay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := map[string]int{}
		var m pmap.Map[int]
		for i := range rapid.IntRange(0, 40).Draw(t, "steps") {
			key := rapid.StringMatching(`[a-c]{0,3}`).Draw(t, "key")
			before, copied := m, maps.Clone(want)
			if rapid.Bool().Draw(t, "delete") {
				m = m.Delete(key)
				delete(want, key)
			} else {
				m = m.Set(key, i)
				want[key] = i
			}
			if got := maps.Collect(before.All()); !maps.Equal(got, copied) {
				t.Fatalf("an older version changed: %v, want %v", got, copied)
			}
		}
		if got := maps.Collect(m.All()); !maps.Equal(got, want) || m.Len() != len(want) {
			t.Fatalf("map = %v, want %v", got, want)
		}
	})
}

func TestAllIsSorted(t *testing.T) {
	m := pmap.From(map[string]int{"b": 1, "a": 2, "ab": 3, "": 4})
	var keys []string
	for k := range m.All() {
		keys = append(keys, k)
	}
	if got := len(keys); got != 4 || keys[0] != "" || keys[1] != "a" || keys[2] != "ab" || keys[3] != "b" {
		t.Fatalf("keys = %q", keys)
	}
}
