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
// when there is no such kind. It is the CRD's schema with the status left out,
// fields that are not known forbidden, and without the rules across fields.
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
		properties, _ := root["properties"].(map[string]any)
		delete(properties, "status")
		properties["apiVersion"] = map[string]any{"const": crd.Spec.Group + "/" + crd.Spec.Versions[0].Name}
		properties["kind"] = map[string]any{"const": crd.Spec.Names.Kind}
		properties["metadata"] = map[string]any{"type": "object", "required": []string{"name"}}
		root["required"] = []string{"apiVersion", "kind", "metadata", "spec"}
		root["$schema"] = "http://json-schema.org/draft-07/schema#"
		root["title"] = crd.Spec.Names.Kind
		raw, err = json.Marshal(root)
		return raw, err == nil
	}
	return nil, false
}

// seal forbids unknown fields of every object and drops what is Kubernetes'
// own.
func seal(s map[string]any) {
	for key := range s {
		if strings.HasPrefix(key, "x-kubernetes-") {
			delete(s, key)
		}
	}
	if properties, ok := s["properties"].(map[string]any); ok {
		s["additionalProperties"] = false
		for _, p := range properties {
			if child, ok := p.(map[string]any); ok {
				seal(child)
			}
		}
	}
	if items, ok := s["items"].(map[string]any); ok {
		seal(items)
	}
}
