package schema_test

import (
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// What an API server lets the rules of a CRD cost, as it estimates them
// (k8s.io/apiextensions-apiserver, StaticEstimatedCostLimit and
// StaticEstimatedCRDCostLimit), and half of it, as far as we go.
const (
	maxRuleCost  = 10_000_000 / 2
	maxTotalCost = 100_000_000 / 2
)

// TestAnAPIServerCanAffordTheRules: it refuses a whole CRD whose rules might
// cost too much. The estimate is its own, times how often a rule may run.
func TestAnAPIServerCanAffordTheRules(t *testing.T) {
	for name, crd := range crds(t) {
		var props apiextensions.JSONSchemaProps
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, &props, nil); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s, err := structural.NewStructural(&props)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c := coster{t: t, crd: name}
		c.visit("", s, model.SchemaDeclType(s, true), 1)
		if c.total > maxTotalCost {
			t.Errorf("%s: all rules together are estimated at %d, over %d", name, c.total, maxTotalCost)
		}
		t.Logf("%s: %d", name, c.total)
	}
}

type coster struct {
	t     *testing.T
	crd   string
	total uint64
}

// visit adds the rules of s and of everything below it, which stand up to
// times times in a document.
func (c *coster) visit(path string, s *structural.Structural, decl *apiservercel.DeclType, times uint64) {
	if decl == nil {
		return
	}
	results, err := cel.Compile(s, decl, celconfig.PerCallLimit, environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()), cel.NewExpressionsEnvLoader())
	if err != nil {
		c.t.Fatalf("%s: %s: %v", c.crd, path, err)
	}
	for i, r := range results {
		if r.Error != nil {
			c.t.Errorf("%s: %s: %s: %v", c.crd, path, s.XValidations[i].Rule, r.Error)
		}
		cost := r.MaxCost * times
		if r.MaxCost > maxRuleCost || cost > maxRuleCost {
			c.t.Errorf("%s: %s: %s\n\tis estimated at %d times %d, over %d", c.crd, path, s.XValidations[i].Rule, r.MaxCost, times, maxRuleCost)
		}
		c.total += cost
	}
	for name, p := range s.Properties {
		if escaped, ok := apiservercel.Escape(name); ok && decl.Fields[escaped] != nil {
			c.visit(path+"."+name, &p, decl.Fields[escaped].Type, times)
		}
	}
	if s.Items != nil {
		c.visit(path+"[]", s.Items, decl.ElemType, times*bound(s.ValueValidation.MaxItems))
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil {
		c.visit(path+"{}", s.AdditionalProperties.Structural, decl.ElemType, times*bound(s.ValueValidation.MaxProperties))
	}
}

// bound is how many there may be; the status's lists without one hold no rule.
func bound(n *int64) uint64 {
	if n == nil {
		return 1
	}
	return uint64(*n)
}
