package schema

import (
	"encoding/json"
	"io/fs"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"meshlite.dev/manifests"
)

// JSONSchema returns the JSON Schema (draft 7) of a kind, for editors; false
// when there is no such kind, whose capitals do not count. It is the CRD's
// schema with the status left out, fields that are not known forbidden, and
// the rules across fields as words in the descriptions.
func JSONSchema(kind string) (raw []byte, ok bool) {
	names, err := fs.Glob(manifests.CRDs, "crds/*.yaml")
	if err != nil {
		return nil, false
	}
	for _, name := range names {
		text, err := manifests.CRDs.ReadFile(name)
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err != nil || yaml.Unmarshal(text, crd) != nil || !strings.EqualFold(crd.Spec.Names.Kind, kind) {
			continue
		}
		raw, err := json.Marshal(crd.Spec.Versions[0].Schema.OpenAPIV3Schema)
		var root map[string]any
		if err != nil || json.Unmarshal(raw, &root) != nil {
			return nil, false
		}
		seal(root)
		head(root, crd.Spec.Names.Kind, crd.Spec.Group+"/"+crd.Spec.Versions[0].Name)
		raw, err = json.Marshal(root)
		return raw, err == nil
	}
	return nil, false
}

// head says what stands around the spec.
func head(root map[string]any, kind, version string) {
	properties, _ := root["properties"].(map[string]any)
	delete(properties, "status")
	words := map[string]any{"type": "object", "additionalProperties": map[string]any{"type": "string"}}
	properties["apiVersion"] = map[string]any{"const": version}
	properties["kind"] = map[string]any{"const": kind}
	properties["metadata"] = map[string]any{
		"type": "object", "required": []string{"name"},
		"properties": map[string]any{
			"name":      map[string]any{"type": "string", "minLength": 1, "maxLength": 253},
			"namespace": map[string]any{"type": "string", "maxLength": 63, "description": "Absent: default."},
			"labels":    words, "annotations": words,
		},
	}
	root["required"] = []string{"apiVersion", "kind", "metadata", "spec"}
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = kind
}

// seal forbids unknown fields of every object, turns rules into words and
// drops what is Kubernetes' own.
func seal(s map[string]any) {
	describe(s)
	for key := range s {
		if strings.HasPrefix(key, "x-kubernetes-") {
			delete(s, key)
		}
	}
	if properties, ok := s["properties"].(map[string]any); ok {
		s["additionalProperties"] = false
		for _, p := range properties {
			sealBelow(p)
		}
	}
	sealBelow(s["items"])
	sealBelow(s["additionalProperties"])
}

func sealBelow(child any) {
	if s, ok := child.(map[string]any); ok {
		seal(s)
	}
}

// describe adds the rules to the description, as editors show it.
func describe(s map[string]any) {
	rules, _ := s["x-kubernetes-validations"].([]any)
	words, _ := s["description"].(string)
	for _, r := range rules {
		rule, _ := r.(map[string]any)
		message, _ := rule["message"].(string)
		if at, _ := rule["fieldPath"].(string); at != "" {
			message = strings.TrimPrefix(at, ".") + ": " + message
		}
		words = strings.TrimSpace(words + "\n" + message)
	}
	if words != "" {
		s["description"] = words
	}
}
