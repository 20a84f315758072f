package ctl

import (
	"io/fs"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/policy"
	"meshlite.dev/manifests"
)

// TestKindsAreNamedAsInKubectl reads the names of the CRDs of users' kinds.
func TestKindsAreNamedAsInKubectl(t *testing.T) {
	files, err := fs.Glob(manifests.CRDs, "crds/*.yaml")
	if err != nil || len(files) < len(policy.Kinds()) {
		t.Fatalf("CRDs %v: %v", files, err)
	}
	seen := map[string]bool{}
	for _, name := range files {
		raw, err := manifests.CRDs.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var crd struct {
			Spec struct {
				Group string
				Names struct {
					Kind, Plural, Singular string
					ShortNames             []string
				}
			}
		}
		if err := yaml.Unmarshal(raw, &crd); err != nil {
			t.Fatal(err)
		}
		n := crd.Spec.Names
		for _, k := range policy.Kinds() {
			if k != n.Kind {
				continue
			}
			seen[k] = true
			words := append([]string{n.Kind, n.Plural, n.Singular, n.Plural + "." + crd.Spec.Group, strings.ToUpper(n.Plural)}, n.ShortNames...)
			for _, w := range words {
				if got, ok := kindNamed(w); !ok || got != k {
					t.Errorf("kindNamed(%q) = %q, %v, want %s", w, got, ok, k)
				}
			}
			if got := policy.Plural(k); got != n.Plural {
				t.Errorf("Plural(%s) = %s, want %s", k, got, n.Plural)
			}
		}
	}
	if len(seen) != len(policy.Kinds()) {
		t.Errorf("CRDs of %v only", seen)
	}
	for _, w := range []string{"", "frob", "r", "rp.example.com", "rps"} {
		if got, ok := kindNamed(w); ok {
			t.Errorf("kindNamed(%q) = %s", w, got)
		}
	}
}
