package schema_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"

	"meshlite.dev/internal/policy/schema"
)

// keywords of draft 7 that the schemas use, each with what it must be.
var keywords = map[string]func(any) bool{
	"$schema": is[string], "title": is[string], "description": is[string], "format": is[string], "pattern": isPattern, "const": is[string],
	"type": isType, "enum": is[[]any], "required": is[[]any], "properties": is[map[string]any], "items": is[map[string]any],
	"additionalProperties": func(v any) bool { return is[bool](v) || is[map[string]any](v) },
	"anyOf":                is[[]any], "default": is[string],
	"minimum": is[float64], "maximum": is[float64], "minLength": is[float64], "maxLength": is[float64],
	"minItems": is[float64], "maxItems": is[float64], "maxProperties": is[float64],
}

func is[T any](v any) bool { _, ok := v.(T); return ok }

func isPattern(v any) bool {
	text, ok := v.(string)
	_, err := regexp.Compile(text)
	return ok && err == nil
}

func isType(v any) bool {
	switch v {
	case "object", "array", "string", "integer", "boolean":
		return true
	}
	return false
}

// TestJSONSchemasAreOfDraft7 and closed: an editor marks a field that is not
// known.
func TestJSONSchemasAreOfDraft7(t *testing.T) {
	for _, kind := range schema.Kinds() {
		var root map[string]any
		if err := json.Unmarshal(jsonSchema(t, kind), &root); err != nil {
			t.Fatal(err)
		}
		if root["$schema"] != "http://json-schema.org/draft-07/schema#" {
			t.Errorf("%s: $schema is %v", kind, root["$schema"])
		}
		walkJSON(t, kind, root)
	}
	if _, ok := schema.JSONSchema("Deployment"); ok {
		t.Error("there is a schema of Deployment")
	}
}

func walkJSON(t *testing.T, path string, s map[string]any) {
	for word, v := range s {
		if check, ok := keywords[word]; !ok || !check(v) {
			t.Errorf("%s: %s is %v", path, word, v)
		}
	}
	if properties, ok := s["properties"].(map[string]any); ok {
		if s["additionalProperties"] != false && !strings.HasSuffix(path, ".metadata") {
			t.Errorf("%s takes fields that are not known", path)
		}
		for name, p := range properties {
			walkJSON(t, path+"."+name, p.(map[string]any))
		}
	}
	for _, below := range []string{"items", "additionalProperties"} {
		if p, ok := s[below].(map[string]any); ok {
			walkJSON(t, path+"."+below, p)
		}
	}
}

func jsonSchema(t *testing.T, kind string) []byte {
	t.Helper()
	raw, ok := schema.JSONSchema(strings.ToLower(kind))
	if !ok {
		t.Fatalf("no JSON Schema of %s", kind)
	}
	return raw
}

// TestJSONSchemasKnowGoodFromBad: the good documents pass. A bad one is
// refused where its shape is at fault; rules across fields are words alone.
func TestJSONSchemasKnowGoodFromBad(t *testing.T) {
	validators := map[string]*validate.SchemaValidator{}
	for _, kind := range schema.Kinds() {
		var s spec.Schema
		if err := json.Unmarshal(jsonSchema(t, kind), &s); err != nil {
			t.Fatal(err)
		}
		validators[kind] = validate.NewSchemaValidator(&s, nil, "", strfmt.Default)
	}
	for _, text := range fullDocuments(t) {
		kind, obj := decode(t, text)
		for _, err := range validators[kind].Validate(obj).Errors {
			t.Errorf("%s: %v", kind, err)
		}
	}
	rules, refused := messages(t), 0
	for _, b := range brokenDocuments() {
		text := b.text("p")
		kind, obj := decode(t, text)
		for _, f := range faultsOf(t, text) {
			shape := !rules[f.Reason] && !strings.Contains(f.Reason, "is there twice") && f.Path != "metadata.name"
			if valid := validators[kind].Validate(obj).IsValid(); valid == shape {
				t.Errorf("%s: valid is %v, and the fault is %+v", b.spec, valid, f)
			}
			refused++
		}
	}
	if refused == 0 {
		t.Error("no document is refused")
	}
}
