package consulimport_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/consulimport"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden imports each folder of testdata: entries.json, as a Consul gives
// them, beside the documents, want.yaml, and what was left over, want.txt.
func TestGolden(t *testing.T) {
	dirs, err := filepath.Glob("testdata/*/entries.json")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no golden folders: %v", err)
	}
	for _, file := range dirs {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			r := consulimport.Import(readEntries(t, file), nil)
			docs, err := r.YAML()
			if err != nil {
				t.Fatal(err)
			}
			var left strings.Builder
			for _, l := range r.Leftovers {
				fmt.Fprintln(&left, l)
			}
			golden(t, filepath.Join(dir, "want.yaml"), string(docs))
			golden(t, filepath.Join(dir, "want.txt"), left.String())
			p := policy.Decode("want.yaml", docs)
			for _, refused := range p.Refused {
				t.Errorf("refused: %v", refused.Faults)
			}
			if len(p.Documents) != len(r.Documents) {
				t.Errorf("%d documents were written, %d are read", len(r.Documents), len(p.Documents))
			}
		})
	}
}

func readEntries(t testing.TB, file string) []json.RawMessage {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := consulimport.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(file); err != nil || string(want) != got {
		t.Errorf("%s differs (%v); run with -update and look at the diff. Got:\n%s", file, err, got)
	}
}
