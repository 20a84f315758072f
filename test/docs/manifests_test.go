package docs

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"

	"meshlite.dev/test/lab"
)

// TestEveryCRDIsInstalled: what is generated into crds is what `kubectl apply
// -k` takes.
func TestEveryCRDIsInstalled(t *testing.T) {
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "manifests", "crds")
	raw, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var k struct {
		Resources []string `json:"resources"`
	}
	if err := yaml.Unmarshal(raw, &k); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "meshlite.dev_*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no CRD in %s: %v", dir, err)
	}
	var names []string
	for _, f := range files {
		names = append(names, filepath.Base(f))
	}
	slices.Sort(k.Resources)
	if !slices.Equal(names, k.Resources) {
		t.Errorf("manifests/crds has %v, its kustomization.yaml lists %v", names, k.Resources)
	}
}
