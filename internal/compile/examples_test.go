package compile_test

import (
	"os"
	"path/filepath"
	"testing"

	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
)

// TestExamplesAreWise: what we show others draws no warning, all of it together.
func TestExamplesAreWise(t *testing.T) {
	files, err := filepath.Glob("../../manifests/examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	var parts []policy.Proposal
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, policy.Decode(filepath.Base(f), raw))
	}
	for _, f := range compile.Analyze(compile.Default(), policy.Join(parts...).Documents) {
		if f.Severity != mesh.Info {
			t.Errorf("%s %s: %s", f.Code, f.Document, f.Message)
		}
	}
}
