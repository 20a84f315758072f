package mesh_test

import (
	"testing"

	"meshlite.dev/internal/mesh"
)

func TestAnEnvoyLacksWhatIsYounger(t *testing.T) {
	for _, tc := range []struct {
		since, build string
		want         bool
	}{
		{"1.38", "1.37.9", true}, {"1.38", "1.38.0", false}, {"1.38", "1.38.0-dev", false}, {"1.38", "1.37.0-dev", true}, {"1.38", "2.0.0", false},
		{"1.38.1", "1.38.0", true}, {"1.38.1", "1.38.1", false}, {"2.0", "1.99.0", true}, {"1.9", "1.10.0", false}, {"1.38", "", false}, {"1.38", "main", false},
	} {
		if got := (mesh.Capability{Since: tc.since}).Lacks(tc.build); got != tc.want {
			t.Errorf("since %s, Envoy %q: %v", tc.since, tc.build, got)
		}
	}
}
