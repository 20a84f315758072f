package mesh_test

import (
	"fmt"
	"strings"
	"testing"

	"meshlite.dev/internal/mesh"
)

func TestLabelsOfAProxy(t *testing.T) {
	many := map[string]string{}
	for i := range mesh.MaxLabels + 1 {
		many[fmt.Sprint("k", i)] = "v"
	}
	for _, tc := range []struct {
		labels map[string]string
		faults int
	}{
		{nil, 0}, {map[string]string{"canary": "yes", "example.com/tier": "front-1"}, 0},
		{map[string]string{"zone": "a"}, 1}, {map[string]string{"": "a", "-a": "b", "a b": "c", "ok": ""}, 4},
		{map[string]string{"a": "b=c", "b": "c d", "c": strings.Repeat("x", 129), strings.Repeat("k", 64): "v"}, 4}, {many, 1},
	} {
		if got := mesh.CheckLabels(tc.labels); len(got) != tc.faults {
			t.Errorf("%v: %v, want %d faults", tc.labels, got, tc.faults)
		}
	}
}
