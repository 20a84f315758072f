package schema_test

import (
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/policy/schema"
	"meshlite.dev/manifests"
)

// crds reads every definition that is applied to Kubernetes.
func crds(t *testing.T) map[string]*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	out := map[string]*apiextensionsv1.CustomResourceDefinition{}
	entries, err := manifests.CRDs.ReadDir("crds")
	if err != nil || len(entries) == 0 {
		t.Fatalf("no CRDs: %v", err)
	}
	for _, e := range entries {
		raw, err := manifests.CRDs.ReadFile("crds/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(raw, crd); err != nil {
			t.Fatalf("%s: %v", e.Name(), err)
		}
		out[e.Name()] = crd
	}
	return out
}

// walk visits every schema below s.
func walk(path string, s *apiextensionsv1.JSONSchemaProps, visit func(string, *apiextensionsv1.JSONSchemaProps)) {
	visit(path, s)
	for name, p := range s.Properties {
		walk(path+"."+name, &p, visit)
	}
	if s.Items != nil {
		walk(path+"[]", s.Items.Schema, visit)
	}
	if s.AdditionalProperties != nil {
		walk(path+"{}", s.AdditionalProperties.Schema, visit)
	}
}

// yaml11 are what older YAML readers take for a boolean.
var yaml11 = []string{"y", "n", "yes", "no", "on", "off", "true", "false"}

// TestSchemasInheritAndAreBounded: a default would turn a field left out into
// an override; what has no bound makes the API server refuse the rules for
// their cost.
func TestSchemasInheritAndAreBounded(t *testing.T) {
	for name, crd := range crds(t) {
		root := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
		spec := root.Properties["spec"]
		walk("spec", &spec, func(path string, s *apiextensionsv1.JSONSchemaProps) {
			if s.Default != nil && path != "spec.effect" {
				t.Errorf("%s: %s has the default %s", name, path, s.Default.Raw)
			}
			switch {
			case s.Type == "array" && s.MaxItems == nil:
				t.Errorf("%s: %s has no maxItems", name, path)
			case s.Type == "string" && s.MaxLength == nil && len(s.Enum) == 0:
				t.Errorf("%s: %s has no maxLength", name, path)
			case s.Type == "integer" && (s.Minimum == nil || s.Maximum == nil):
				t.Errorf("%s: %s has no bounds", name, path)
			case s.AdditionalProperties != nil && s.MaxProperties == nil:
				t.Errorf("%s: %s has no maxProperties", name, path)
			}
			for _, e := range s.Enum {
				for _, word := range yaml11 {
					if strings.EqualFold(strings.Trim(string(e.Raw), `"`), word) {
						t.Errorf("%s: %s has the value %s, a boolean to older YAML readers", name, path, e.Raw)
					}
				}
			}
		})
	}
}

const head = "apiVersion: meshlite.dev/v1alpha1\nkind: ResiliencePolicy\nmetadata: {name: p}\nspec:\n  "

// broken has a document for each rule of the schema and what it is told.
var broken = []struct{ spec, path, cure string }{
	{"targetRefs: [{kind: Mesh}]\n  from: [{service: a}]", "spec", "target a Service"},
	{"targetRefs: [{kind: Mesh, name: a}]", "spec.targetRefs[0]", "Mesh has none"},
	{"targetRefs: [{kind: Service}]", "spec.targetRefs[0]", "need a name"},
	{"targetRefs: [{kind: Service, name: a, sectionName: b}]", "spec.targetRefs[0]", "remove it"},
	{"targetRefs: [{kind: Mesh}]\n  healthCheck: {type: TCP, path: /x}", "spec.healthCheck", "type HTTP only"},
	{"targetRefs: [{kind: Mesh}]\n  healthCheck: {type: TCP, interval: 0s}", "spec.healthCheck.interval", "1ms or more"},
	{"targetRefs: [{kind: Mesh}]\n  healthCheck: {type: TCP, timeout: 0s}", "spec.healthCheck.timeout", "1ms or more"},
	{"targetRefs: [{kind: Mesh}]\n  loadBalancing: {type: Maglev}", "spec.loadBalancing", "add hash"},
	{"targetRefs: [{kind: Mesh}]\n  loadBalancing: {hash: [{header: a, query: b}]}", "spec.loadBalancing.hash[0]", "exactly one"},
	{"targetRefs: [{kind: Mesh}]\n  outlierDetection: {interval: 0s}", "spec.outlierDetection.interval", "1ms or more"},
	{"targetRefs: [{kind: Mesh}]\n  outlierDetection: {baseEjectionTime: 0s}", "spec.outlierDetection.baseEjectionTime", "1ms or more"},
	{"targetRefs: [{kind: Mesh}]\n  outlierDetection: {maxEjectionTime: 0s}", "spec.outlierDetection.maxEjectionTime", "1ms or more"},
	{"targetRefs: [{kind: Mesh}]\n  rateLimit: {perCaller: {requests: 1, per: 10ms, burst: 1}}", "spec.rateLimit.perCaller.per", "50ms or more"},
	{"targetRefs: [{kind: Mesh}]\n  retry: {backoff: {base: 0s}}", "spec.retry.backoff.base", "1ms or more"},
	{"targetRefs: [{kind: Mesh}]\n  retry: {backoff: {max: 0s}}", "spec.retry.backoff.max", "1ms or more"},
	{"targetRefs: [{kind: Mesh}]\n  timeouts: {connect: 0s}", "spec.timeouts.connect", "over 0s"},
	{"targetRefs: []", "spec.targetRefs", "at least 1"},
	{"targetRefs: [{kind: Gateway, name: a}]", "spec.targetRefs[0].kind", "must be one of"},
	{"targetRefs: [{kind: Mesh}]\n  retry: {attempts: 11}", "spec.retry.attempts", "10"},
	{"targetRefs: [{kind: Mesh}]\n  retry: {retryOn: [sometimes]}", "spec.retry.retryOn[0]", "must be one of"},
	{"targetRefs: [{kind: Mesh}]\n  timeouts: {request: 1d}", "spec.timeouts.request", "250ms"},
	{"targetRefs: [{kind: Mesh}]\n  timeouts: {reqest: 1s}", "spec.timeouts.reqest", "did you mean request"},
}

func validate(t *testing.T, text string) []schema.Fault {
	t.Helper()
	var obj map[string]any
	if err := yaml.Unmarshal([]byte(text), &obj); err != nil {
		t.Fatal(err)
	}
	return schema.For("ResiliencePolicy").Validate(obj)
}

func TestEveryRuleNamesItsCure(t *testing.T) {
	hit := map[string]bool{}
	for _, tc := range broken {
		faults := validate(t, head+tc.spec)
		if len(faults) != 1 {
			t.Errorf("%s: %d faults: %v", tc.spec, len(faults), faults)
			continue
		}
		f := faults[0]
		hit[strings.TrimSuffix(f.Path, "[0]")+f.Reason] = true
		if !strings.HasPrefix(f.Path, tc.path) || !strings.Contains(f.Reason, tc.cure) {
			t.Errorf("%s: %+v, want %s and %q", tc.spec, f, tc.path, tc.cure)
		}
	}
	for name, crd := range crds(t) {
		spec := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
		walk("spec", &spec, func(path string, s *apiextensionsv1.JSONSchemaProps) {
			for _, r := range s.XValidations {
				found := false
				for _, tc := range broken {
					found = found || strings.HasPrefix(strings.ReplaceAll(tc.path, "[0]", "[]"), path) && strings.Contains(r.Message, tc.cure)
				}
				if !found {
					t.Errorf("%s: no document breaks the rule of %s: %s", name, path, r.Message)
				}
			}
		})
	}
}

// TestAllFaultsAreToldTogether, those of the shape at least: rules run on what
// has the right shape.
func TestAllFaultsAreToldTogether(t *testing.T) {
	faults := validate(t, head+"targetRefs: [{kind: Gateway}]\n  retry: {attempts: many, budget: {percent: 900}}\n  timeouts: {request: soon}\n  nonsense: 1")
	if len(faults) != 5 {
		t.Errorf("%d faults: %+v", len(faults), faults)
	}
}
