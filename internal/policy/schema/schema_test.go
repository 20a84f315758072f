package schema_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/json"
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
			case s.Type == "integer" && (s.Minimum == nil || s.Maximum == nil) && len(s.Enum) == 0:
				t.Errorf("%s: %s has no bounds", name, path)
			case s.XIntOrString && (s.MaxLength == nil || s.Pattern == "" || len(s.XValidations) == 0):
				t.Errorf("%s: %s has no maxLength, pattern or rule", name, path)
			case s.AdditionalProperties != nil && s.MaxProperties == nil:
				t.Errorf("%s: %s has no maxProperties", name, path)
			}
			for field := range s.Properties {
				if slices.Contains(yaml11, strings.ToLower(field)) {
					t.Errorf("%s: %s.%s has the name of a boolean to older YAML readers", name, path, field)
				}
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

func decode(t *testing.T, text string) (kind string, obj map[string]any) {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = json.Unmarshal(raw, &obj) // whole numbers are int64, as in an API server
	}
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	kind, _ = obj["kind"].(string)
	return kind, obj
}

func faultsOf(t *testing.T, text string) []schema.Fault {
	t.Helper()
	kind, obj := decode(t, text)
	v := schema.For(kind)
	if v == nil {
		t.Fatalf("no schema for %q", kind)
	}
	return v.Validate(obj)
}

var index = regexp.MustCompile(`\[\d+\]`)

// TestEveryRuleNamesItsCure: each fault names its field and what would be
// right, and there is a document for each rule.
func TestEveryRuleNamesItsCure(t *testing.T) {
	times, told := map[string]int{}, map[string]bool{}
	documents := brokenDocuments()
	for _, b := range documents {
		times[b.kind+b.spec]++
	}
	for _, b := range documents {
		text := b.text("p")
		kind, _ := decode(t, text)
		faults := faultsOf(t, text)
		if len(faults) != times[b.kind+b.spec] {
			t.Errorf("%s: %d faults: %+v", b.spec, len(faults), faults)
		}
		found := false
		for _, f := range faults {
			told[kind+" "+index.ReplaceAllString(f.Path, "[]")+" "+f.Reason] = true
			found = found || f.Path == b.path && strings.Contains(f.Reason, b.cure)
		}
		if !found {
			t.Errorf("%s: %+v, want %s and %q", b.spec, faults, b.path, b.cure)
		}
	}
	for _, crd := range crds(t) {
		kind := crd.Spec.Names.Kind
		root := *crd.Spec.Versions[0].Schema.OpenAPIV3Schema
		delete(root.Properties, "status")
		walk("", &root, func(path string, s *apiextensionsv1.JSONSchemaProps) {
			for _, r := range s.XValidations {
				at := strings.TrimPrefix(path+r.FieldPath, ".")
				want := strings.TrimSpace(at + " " + r.Message)
				if at == "" { // the message names the field
					want = strings.Replace(r.Message, ": ", " ", 1)
				}
				if !told[kind+" "+want] && !told[kind+"  "+want] {
					t.Errorf("no document breaks the rule of %s, %s: %s", kind, at, r.Message)
				}
			}
		})
	}
}

// TestAllFaultsAreToldTogether, those of the shape at least: rules run on what
// has the right shape.
func TestAllFaultsAreToldTogether(t *testing.T) {
	bad := broken{kind: "ResiliencePolicy", spec: "targetRefs: [{kind: Gateway}], retry: {attempts: many, budget: {percent: 900}}, timeouts: {request: soon}, nonsense: 1"}
	if faults := faultsOf(t, bad.text("p")); len(faults) != 5 {
		t.Errorf("%d faults: %+v", len(faults), faults)
	}
}

// notOnRules are fields of the sections that a rule shares with
// ResiliencePolicy; there they are refused.
var notOnRules = []string{
	"TrafficRoute.spec.rules[].timeouts.connect", "TrafficRoute.spec.rules[].timeouts.idle",
	"TrafficRoute.spec.rules[].retry.budget", "TrafficRoute.spec.rules[].retry.tcpConnectAttempts",
}

// TestGoodDocumentsSetEveryField, and none of them is refused.
func TestGoodDocumentsSetEveryField(t *testing.T) {
	set := map[string]bool{}
	for _, text := range fullDocuments(t) {
		for _, f := range faultsOf(t, text) {
			t.Errorf("%+v in\n%s", f, text)
		}
		kind, obj := decode(t, text)
		mark(set, kind+".spec", obj["spec"])
	}
	for _, crd := range crds(t) {
		if schema.For(crd.Spec.Names.Kind) == nil {
			continue // xds-server alone writes it
		}
		spec := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
		walk(crd.Spec.Names.Kind+".spec", &spec, func(path string, s *apiextensionsv1.JSONSchemaProps) {
			if !strings.HasSuffix(path, "{}") && !set[path] && !slices.ContainsFunc(notOnRules, func(p string) bool { return strings.HasPrefix(path, p) }) {
				t.Errorf("no document sets %s", path)
			}
		})
	}
}

// mark notes the paths that v sets.
func mark(set map[string]bool, path string, v any) {
	set[path] = true
	switch v := v.(type) {
	case map[string]any:
		for name, e := range v {
			mark(set, path+"."+name, e)
		}
	case []any:
		for _, e := range v {
			mark(set, path+"[]", e)
		}
	}
}

// TestKindsAreThoseThatUsersWrite: what xds-server writes for itself is no
// document.
func TestKindsAreThoseThatUsersWrite(t *testing.T) {
	got := schema.Kinds()
	slices.Sort(got)
	if want := []string{"EventSubscription", "ResiliencePolicy", "TrafficRoute"}; !slices.Equal(got, want) {
		t.Errorf("kinds are %v, want %v", got, want)
	}
}

// messages are those of all rules.
func messages(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, crd := range crds(t) {
		walk("", crd.Spec.Versions[0].Schema.OpenAPIV3Schema, func(_ string, s *apiextensionsv1.JSONSchemaProps) {
			for _, r := range s.XValidations {
				out[r.Message] = true
			}
		})
	}
	return out
}
