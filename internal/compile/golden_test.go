package compile_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden compiles each folder of testdata/golden: catalog.yaml and
// policies.yaml beside what comes of them, want.txt.
func TestGolden(t *testing.T) {
	dirs, err := filepath.Glob("testdata/golden/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no golden folders: %v", err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			w := newWorld(t)
			w.readCatalog(filepath.Join(dir, "catalog.yaml"))
			w.readPolicies(filepath.Join(dir, "policies.yaml"))
			got := report(w.full(), filepath.Base(dir) == "defaults")
			want := filepath.Join(dir, "want.txt")
			if *update {
				if err := os.WriteFile(want, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if is, err := os.ReadFile(want); err != nil || string(is) != got {
				t.Errorf("%s differs (%v); run with -update and look at the diff. Got:\n%s", want, err, got)
			}
		})
	}
}

func (w *world) readCatalog(path string) {
	w.tb.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		w.tb.Fatal(err)
	}
	var services []struct {
		Name, Namespace string
		Protocol        mesh.Protocol
		Instances       int
		HealthCheck     *mesh.HealthCheck
	}
	if err := yaml.UnmarshalStrict(raw, &services); err != nil {
		w.tb.Fatal(err)
	}
	for _, s := range services {
		w.service(s.Name, s.Instances, func(c *catalog.Service) {
			c.Namespace, c.HealthCheck = s.Namespace, s.HealthCheck
			if s.Protocol != "" {
				c.Protocol = s.Protocol
			}
		})
	}
}

func (w *world) readPolicies(path string) {
	w.tb.Helper()
	raw, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		w.tb.Fatal(err)
	}
	for _, part := range bytes.Split(raw, []byte("---\n")) {
		if len(part) == 0 {
			continue
		}
		var doc v1alpha1.ResiliencePolicy
		if err := yaml.UnmarshalStrict(part, &doc); err != nil {
			w.tb.Fatal(err)
		}
		key := policy.Key{Kind: "ResiliencePolicy", Namespace: "default", Name: doc.Name}
		if doc.Namespace != "" {
			key.Namespace = doc.Namespace
		}
		w.docs[key] = &policy.Document{Key: key, Generation: max(doc.Generation, 1), Resilience: &doc.Spec}
		w.keys[key] = true
	}
}

// report writes down all of a result; the fields that have built-in values
// only where all is asked for.
func report(r compile.Result, all bool) string {
	var b strings.Builder
	for name, s := range r.Model.Services.All() {
		destinations := []*mesh.Destination{s.Default}
		for _, caller := range slices.Sorted(maps.Keys(s.ByCaller)) {
			destinations = append(destinations, s.ByCaller[caller])
		}
		for _, d := range destinations {
			fmt.Fprintf(&b, "service %s, namespace %s, caller %q, %s\n", name, s.Namespace, d.Caller, d.Protocol)
			fmt.Fprintf(&b, "  route %s, cluster %s, limits %s, timeouts %s, rate limit %s, all %v\n",
				d.Route, d.Cluster, d.LimitsBy, d.TimeoutsBy, d.RateLimitBy, d.Documents)
			for _, f := range compile.Explain(d) {
				if all || !strings.HasPrefix(f.Origin.Why, "built-in") || f.Value != compile.None && strings.HasPrefix(f.Path, "healthCheck.") {
					fmt.Fprintf(&b, "  %s = %s (%s, %s%s)%s\n", f.Path, f.Value, f.Origin.DocumentRef, f.Origin.Why, at(f.Origin.Path), lost(f.Origin.Lost))
				}
			}
		}
	}
	for _, f := range r.Findings() {
		fmt.Fprintf(&b, "%s %s service %q document %s at %s\n  %s\n  hint: %s\n", f.Code, f.Severity, f.Service, f.Document, f.Path, f.Message, f.Hint)
	}
	for _, s := range r.Documents() {
		fmt.Fprintf(&b, "%s targets %v: %s %s\n", s.Document.Ref(), s.Targets, s.Accepted, s.Message)
	}
	return b.String()
}

func at(path string) string {
	if path == "" {
		return ""
	}
	return ", " + path
}

func lost(ls []mesh.Lost) string {
	var out strings.Builder
	for _, l := range ls {
		fmt.Fprintf(&out, "; lost: %s %s (%s)", l.DocumentRef, l.Value, l.Why)
	}
	return out.String()
}
