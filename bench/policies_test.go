package bench

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
)

const (
	manyPolicies = 5_000
	manyServices = 1_000
)

// policyText is the i-th document: five for each service, each of another
// caller, so that none conflicts.
func policyText(i, requests int) []byte {
	return fmt.Appendf(nil, "apiVersion: meshlite.dev/v1alpha1\nkind: ResiliencePolicy\nmetadata: {name: p%05d}\nspec:\n"+
		"  targetRefs: [{kind: Service, name: service-%05d}]\n  from: [{service: caller-%d}]\n"+
		"  timeouts: {request: 3s}\n  limits: {requests: %d}\n", i, i%manyServices, i/manyServices, requests)
}

func policyDocuments(b *testing.B, n int) policy.Proposal {
	b.Helper()
	var parts []policy.Proposal
	for i := range n {
		parts = append(parts, policy.Decode(fmt.Sprintf("p%d.yaml", i), policyText(i, 100)))
	}
	p := policy.Join(parts...)
	if len(p.Refused) > 0 {
		b.Fatalf("refused: %v", p.Refused[0].Faults)
	}
	return p
}

func policyMesh(b *testing.B) (catalog.Snapshot, policy.Revision) {
	b.Helper()
	snap := catalog.Snapshot{}
	for i := range manyServices {
		s := compileService(i, compileEndpoints)
		snap.Services = snap.Services.Set(s.Name, s)
	}
	return snap, revision.Decide(policy.Revision{}, policyDocuments(b, manyPolicies))
}

// BenchmarkPolicies5000Full compiles 5,000 documents over 1,000 services.
func BenchmarkPolicies5000Full(b *testing.B) {
	snap, rev := policyMesh(b)
	for b.Loop() {
		compile.Full(compile.Default(), snap, rev)
	}
}

// BenchmarkPolicies5000OneChanged changes one of them, from the decision on.
func BenchmarkPolicies5000OneChanged(b *testing.B) {
	snap, rev := policyMesh(b)
	c := compile.New(compile.Default())
	c.Update(snap, rev)
	snap.Changed = nil
	at := manyPolicies / 2
	key := rev.Documents[at].Key
	for i := 0; b.Loop(); i++ {
		next := *policy.Decode("p.yaml", policyText(at, 200+i%2)).Documents[0]
		next.Generation = int64(2 + i)
		rev.Documents = slices.Clone(rev.Documents)
		rev.Documents[at], rev.Changed = &next, []policy.Key{key}
		if r := c.Update(snap, rev); len(r.Changed) != 1 {
			b.Fatalf("changed %v", r.Changed)
		}
	}
}

// BenchmarkValidate1000 decodes and checks a thousand files of one document.
func BenchmarkValidate1000(b *testing.B) {
	for b.Loop() {
		policyDocuments(b, 1_000)
	}
}

// BenchmarkPolicyMemory is what 1,000 documents in force take.
func BenchmarkPolicyMemory(b *testing.B) {
	for b.Loop() {
		before := memory()
		rev := revision.Decide(policy.Revision{}, policyDocuments(b, 1_000))
		b.ReportMetric(float64(memory()-before)/(1<<20), "MiB/1000-policies")
		if !strings.HasPrefix(rev.Documents[0].Name, "p") {
			b.Fatal("no documents")
		}
		runtime.KeepAlive(rev)
	}
}
