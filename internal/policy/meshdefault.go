package policy

import (
	_ "embed"

	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/policy/v1alpha1"
)

//go:embed meshdefault.yaml
var meshDefaultYAML []byte

// MeshDefaultYAML is the built-in mesh-default as `meshctl policy get` prints
// it.
func MeshDefaultYAML() []byte { return meshDefaultYAML }

// MeshDefault is the built-in policy under all documents. It sets every field
// but those that have no default: healthCheck, rateLimit, connection.protocol.
func MeshDefault() *v1alpha1.ResiliencePolicySpec {
	var doc v1alpha1.ResiliencePolicy
	if err := yaml.UnmarshalStrict(meshDefaultYAML, &doc); err != nil {
		panic("policy: the built-in mesh-default does not decode: " + err.Error()) // a bug: a test decodes it
	}
	return &doc.Spec
}
