package bench

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
)

// compileSizes show whether a cost grows with the mesh.
var compileSizes = []int{1_000, 10_000}

const compileEndpoints = 10 // of each service

func compileService(i, endpoints int) *catalog.Service {
	s := &catalog.Service{Name: fmt.Sprintf("service-%05d", i), Protocol: mesh.HTTP1, Synced: true}
	for e := range endpoints {
		s.Endpoints = append(s.Endpoints, mesh.Endpoint{
			ID: fmt.Sprint(e), Address: fmt.Sprintf("10.%d.%d.%d", i/250, i%250, e+1), Port: 8080, Weight: 1,
		})
	}
	return s
}

func compileDocument(b *testing.B, name, spec string, generation int64) *policy.Document {
	b.Helper()
	s := &v1alpha1.ResiliencePolicySpec{}
	if err := yaml.UnmarshalStrict([]byte(spec), s); err != nil {
		b.Fatal(err)
	}
	key := policy.Key{Kind: "ResiliencePolicy", Namespace: "default", Name: name}
	return &policy.Document{Key: key, Generation: generation, Resilience: s}
}

// compileInputs is a mesh of n services, a document of the Mesh and one for
// each tenth service.
func compileInputs(b *testing.B, n int) (catalog.Snapshot, policy.Revision) {
	b.Helper()
	services := map[string]*catalog.Service{}
	rev := policy.Revision{Hash: "one", Number: 1}
	rev.Documents = append(rev.Documents, compileDocument(b, "all", `{targetRefs: [{kind: Mesh}], retry: {attempts: 3}}`, 1))
	for i := range n {
		s := compileService(i, compileEndpoints)
		services[s.Name] = s
		if i%10 == 0 {
			spec := fmt.Sprintf(`{targetRefs: [{kind: Service, name: %s}], limits: {connections: %d}}`, s.Name, i+1)
			rev.Documents = append(rev.Documents, compileDocument(b, s.Name, spec, 1))
		}
	}
	slices.SortFunc(rev.Documents, func(x, y *policy.Document) int { return strings.Compare(x.Key.String(), y.Key.String()) })
	return catalog.Snapshot{Services: pmap.From(services)}, rev
}

func forCompileSizes(b *testing.B, run func(b *testing.B, n int)) {
	for _, n := range compileSizes {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			run(b, n)
			b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "cores")
		})
	}
}

func BenchmarkCompileFull(b *testing.B) {
	forCompileSizes(b, func(b *testing.B, n int) {
		snap, rev := compileInputs(b, n)
		for b.Loop() {
			compile.Full(compile.Default(), snap, rev)
		}
	})
}

func BenchmarkCompileOneEndpoint(b *testing.B) {
	forCompileSizes(b, func(b *testing.B, n int) {
		snap, rev := compileInputs(b, n)
		c := compile.New(compile.Default())
		c.Update(snap, rev)
		rev.Changed = nil
		for i := 0; b.Loop(); i++ {
			s := compileService(n/2, compileEndpoints+i%2)
			snap.Services = snap.Services.Set(s.Name, s)
			snap.Changed = []string{s.Name}
			if r := c.Update(snap, rev); len(r.Changed) != 1 && i > 0 {
				b.Fatalf("changed %v", r.Changed)
			}
		}
	})
}

func BenchmarkCompileOnePolicy(b *testing.B) {
	forCompileSizes(b, func(b *testing.B, n int) {
		snap, rev := compileInputs(b, n)
		c := compile.New(compile.Default())
		c.Update(snap, rev)
		snap.Changed = nil
		at := len(rev.Documents) / 2
		old := rev.Documents[at]
		versions := make([]*policy.Document, 2)
		for i := range versions {
			spec := fmt.Sprintf(`{targetRefs: [{kind: Service, name: %s}], limits: {connections: %d}}`, old.Name, 5_000_000+i)
			versions[i] = compileDocument(b, old.Name, spec, int64(2+i))
		}
		rev.Changed = []policy.Key{old.Key}
		for i := 0; b.Loop(); i++ {
			rev.Documents[at] = versions[i%2]
			if r := c.Update(snap, rev); len(r.Changed) != 1 {
				b.Fatalf("changed %v", r.Changed)
			}
		}
	})
}

func BenchmarkCompileMeshPolicy(b *testing.B) {
	forCompileSizes(b, func(b *testing.B, n int) {
		snap, rev := compileInputs(b, n)
		c := compile.New(compile.Default())
		c.Update(snap, rev)
		snap.Changed = nil
		versions := []*policy.Document{
			compileDocument(b, "all", `{targetRefs: [{kind: Mesh}], retry: {attempts: 4}}`, 2),
			compileDocument(b, "all", `{targetRefs: [{kind: Mesh}], retry: {attempts: 5}}`, 3),
		}
		rev.Changed = []policy.Key{versions[0].Key}
		at := slices.IndexFunc(rev.Documents, func(d *policy.Document) bool { return d.Key == versions[0].Key })
		for i := 0; b.Loop(); i++ {
			rev.Documents[at] = versions[i%2]
			if r := c.Update(snap, rev); len(r.Changed) != n {
				b.Fatalf("changed %d services", len(r.Changed))
			}
		}
	})
}
