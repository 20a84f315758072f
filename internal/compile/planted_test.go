package compile_test

import (
	"slices"
	"strings"
	"testing"

	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
)

// planted are mistakes that a file alone shows, each in a document named for
// what it is.
const planted = `
kind: ResiliencePolicy
metadata: {name: tries-exceed}
spec: {targetRefs: [{kind: Service, name: a}], timeouts: {request: 2s}, retry: {attempts: 3, perTryTimeout: 1s}}
---
kind: ResiliencePolicy
metadata: {name: unsafe-retry}
spec: {targetRefs: [{kind: Service, name: b}], retry: {methods: [GET, POST], retryOn: [gateway-error], perTryTimeout: 1s, budget: {percent: 20, minConcurrency: 3}}}
---
kind: ResiliencePolicy
metadata: {name: long-lived}
spec: {targetRefs: [{kind: Service, name: c}], timeouts: {maxStreamDuration: 1h}}
---
kind: ResiliencePolicy
metadata: {name: timed-out-try}
spec: {targetRefs: [{kind: Service, name: d}], retry: {retryOn: [gateway-error], methods: [GET], budget: {percent: 20, minConcurrency: 3}}}
---
kind: ResiliencePolicy
metadata: {name: wide-budget}
spec: {targetRefs: [{kind: Service, name: e}], retry: {statusCodes: [503], methods: [GET], perTryTimeout: 1s, budget: {percent: 80}}}
---
kind: ResiliencePolicy
metadata: {name: first}
spec: {targetRefs: [{kind: Service, name: f}], limits: {requests: 10}}
---
kind: ResiliencePolicy
metadata: {name: second}
spec: {targetRefs: [{kind: Service, name: f}], limits: {requests: 20}}
---
kind: ResiliencePolicy
metadata: {name: broken-together}
spec: {targetRefs: [{kind: Service, name: g}], retry: {perTryTimeout: 30s}}
---
kind: ResiliencePolicy
metadata: {name: foreign, namespace: shop}
spec: {targetRefs: [{kind: Mesh}], limits: {requests: 20}}
---
kind: TrafficRoute
metadata: {name: h}
spec:
  service: h
  rules:
  - {name: all, backends: [{service: j, subset: nobody}]}
  - {name: never, matches: [{path: {type: Prefix, value: /x}}], filters: {directResponse: {status: 410}}}
---
kind: TrafficRoute
metadata: {name: j}
spec: {service: j, subsets: [{name: v1, tags: [v1]}]}
---
kind: TrafficRoute
metadata: {name: h-again}
spec: {service: h}
`

// TestAnalyzeFindsEachPlantedMistake and blames the document that holds it.
func TestAnalyzeFindsEachPlantedMistake(t *testing.T) {
	p := policy.Decode("planted.yaml", []byte(strings.ReplaceAll(planted, "\nkind:", "\napiVersion: meshlite.dev/v1alpha1\nkind:")))
	if len(p.Refused) > 0 {
		t.Fatalf("refused: %v", p.Refused[0].Faults)
	}
	found := map[string][]string{}
	for _, f := range compile.Analyze(compile.Default(), p.Documents) {
		found[f.Code] = append(found[f.Code], f.Document)
	}
	for code, document := range map[string]string{
		mesh.CodeTriesExceedTimeout: "rp/default/tries-exceed", mesh.CodeUnsafeRetry: "rp/default/unsafe-retry",
		mesh.CodeTimeoutOnLongLived: "rp/default/long-lived", mesh.CodeTimedOutTryRetried: "rp/default/timed-out-try",
		mesh.CodeAnswersWideBudget: "rp/default/wide-budget", mesh.CodeInvalidMerge: "rp/default/broken-together",
		mesh.CodeNotPermitted: "rp/shop/foreign", mesh.CodeShadowedRule: "tr/default/h", mesh.CodeUnresolvedRef: "tr/default/h",
	} {
		if !slices.ContainsFunc(found[code], func(d string) bool { return strings.HasPrefix(d, document) }) {
			t.Errorf("%s is not found in %s, but in %v", code, document, found[code])
		}
	}
	for _, document := range []string{"rp/default/second", "tr/default/h-again"} {
		if !slices.ContainsFunc(found[mesh.CodeConflicted], func(d string) bool { return strings.HasPrefix(d, document) }) {
			t.Errorf("%s is not told to conflict: %v", document, found[mesh.CodeConflicted])
		}
	}
}
