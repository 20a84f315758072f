// Package schema checks policy documents against the CRD that Kubernetes
// serves: its structural schema and its CEL rules, evaluated by the API
// server's own packages. What passes here, kubectl accepts.
package schema

import (
	"context"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"meshlite.dev/manifests"
)

// Fault is one breach of the schema.
type Fault struct {
	Path   string // "spec.retry.attempts"
	Value  string // as written, shortened; "" where there is none
	Reason string // what would be right
}

// Validator checks documents of one kind and version. It is immutable.
type Validator struct {
	structural *structural.Structural
	openapi    validation.SchemaValidator
	rules      *cel.Validator
}

// For returns the validator of a kind in version v1alpha1, or nil when there is
// no such kind.
func For(kind string) *Validator { return all()[kind] }

// Kinds returns the names of all kinds that users write.
func Kinds() []string {
	var out []string
	for k := range all() {
		out = append(out, k)
	}
	return out
}

// all compiles the embedded CRDs once; they are part of the program, so a
// fault in them is a bug.
var all = sync.OnceValue(func() map[string]*Validator {
	out := map[string]*Validator{}
	names, err := fs.Glob(manifests.CRDs, "crds/*.yaml")
	if err != nil {
		panic("schema: " + err.Error())
	}
	for _, name := range names {
		raw, err := manifests.CRDs.ReadFile(name)
		if err != nil {
			panic("schema: " + err.Error())
		}
		kind, v, err := compile(raw)
		if err != nil {
			panic(fmt.Sprintf("schema: %s: %v", name, err))
		}
		if v != nil {
			out[kind] = v
		}
	}
	return out
})

// compile returns no validator for a kind without a status: xds-server alone
// writes it.

func compile(raw []byte) (kind string, v *Validator, err error) {
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(raw, &crd); err != nil {
		return "", nil, err
	}
	if len(crd.Spec.Versions) != 1 {
		return "", nil, fmt.Errorf("has %d versions, this package knows one", len(crd.Spec.Versions))
	}
	if sub := crd.Spec.Versions[0].Subresources; sub == nil || sub.Status == nil {
		return crd.Spec.Names.Kind, nil, nil
	}
	var props apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, &props, nil); err != nil {
		return "", nil, err
	}
	v = &Validator{}
	if v.structural, err = structural.NewStructural(&props); err != nil {
		return "", nil, err
	}
	if v.openapi, _, err = validation.NewSchemaValidator(&props); err != nil {
		return "", nil, err
	}
	v.rules = cel.NewValidator(v.structural, true, celconfig.PerCallLimit)
	return crd.Spec.Names.Kind, v, nil
}

// Validate returns every fault of obj, a document as an API server decodes it
// (whole numbers as int64, others as float64). The rules run only on what has the right shape.
func (v *Validator) Validate(obj map[string]any) []Fault {
	errs := validation.ValidateCustomResource(nil, obj, v.openapi)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, v.structural, obj)...)
	faults := collect(v.unknown(obj), obj, errs)
	if len(faults) > 0 {
		return faults
	}
	errs, _ = v.rules.Validate(context.Background(), nil, v.structural, obj, nil, celconfig.RuntimeCELCostBudget)
	return collect(nil, obj, errs)
}

// collect adds errors to faults, one of a kind for each field.
func collect(faults []Fault, obj map[string]any, errs field.ErrorList) []Fault {
	typed := map[string]bool{}
	for _, e := range errs {
		f, ok := explain(e)
		if !ok {
			continue
		}
		if e.Type == field.ErrorTypeTypeInvalid { // the error names the type that was found
			if typed[f.Path] {
				continue
			}
			typed[f.Path], f.Value = true, shorten(at(obj, f.Path))
		}
		if f.Value == "" {
			f.Value = shorten(at(obj, f.Path)) // a rule's error has the object around the field
		}
		faults = append(faults, f)
	}
	return faults
}

func (v *Validator) unknown(obj map[string]any) []Fault {
	spec, _ := obj["spec"].(map[string]any)
	schema, ok := v.structural.Properties["spec"]
	if spec == nil || !ok {
		return nil
	}
	// Pruning edits what it is given.
	paths := pruning.PruneWithOptions(clone(spec), &schema, false, structural.UnknownFieldPathOptions{
		TrackUnknownFieldPaths: true, ParentPath: []string{"spec"},
	})
	var faults []Fault
	for _, p := range paths {
		faults = append(faults, Fault{Path: p, Reason: v.suggest(p)})
	}
	return faults
}

// at returns the value on a path such as "spec.targetRefs[0].kind", nil where
// there is none.
func at(v any, path string) any {
	for _, step := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func clone(x any) any {
	switch x := x.(type) {
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[k] = clone(e)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = clone(e)
		}
		return out
	default:
		return x
	}
}
