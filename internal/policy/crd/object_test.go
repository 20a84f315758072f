package crd

import (
	"strings"
	"testing"

	"meshlite.dev/internal/policy"
)

// TestDecode: what the API server holds becomes the document that a file with
// the same text holds, with Kubernetes' own generation.
func TestDecode(t *testing.T) {
	for _, tc := range []struct {
		name, place, spec string
		canonical         string // "": refused
		path, reason      string
	}{
		{
			name:  "the effect that the API server fills in is no part of it",
			place: "ResiliencePolicy/shop/a", spec: `{"targetRefs":[{"kind":"Service","name":"a"}],"effect":"enforce"}`,
			canonical: `{"apiVersion":"meshlite.dev/v1alpha1","kind":"ResiliencePolicy","metadata":{"name":"a","namespace":"shop"},"spec":{"targetRefs":[{"kind":"Service","name":"a"}]}}`,
		},
		{
			name:  "shadow is one",
			place: "ResiliencePolicy/shop/a", spec: `{"effect":"shadow","targetRefs":[{"kind":"Service","name":"a"}]}`,
			canonical: `{"apiVersion":"meshlite.dev/v1alpha1","kind":"ResiliencePolicy","metadata":{"name":"a","namespace":"shop"},"spec":{"effect":"shadow","targetRefs":[{"kind":"Service","name":"a"}]}}`,
		},
		{
			name:  "a field that we do not know is one of a newer version",
			place: "ResiliencePolicy/shop/a", spec: `{"targetRefs":[{"kind":"Service","name":"a"}],"retry":{"patience":7}}`,
			path: "spec.retry.patience", reason: "CRDs are newer than this xds-server",
		},
		{name: "no spec", place: "ResiliencePolicy/shop/a", path: "spec", reason: "is missing"},
		{name: "a spec that is no JSON", place: "ResiliencePolicy/shop/a", spec: `{`, path: "spec", reason: "is not JSON"},
		{name: "a name of its own", place: "ResiliencePolicy/shop/mesh-default", spec: `{"targetRefs":[{"kind":"Mesh"}]}`, path: "metadata.name", reason: "reserved"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := decode(tc.place, item{uid: "u", generation: 7, spec: tc.spec, labels: `{"team":"shop"}`})
			if tc.canonical != "" {
				if len(p.Documents) != 1 || string(p.Documents[0].Canonical) != tc.canonical || p.Documents[0].Generation != 7 || p.Documents[0].Source != "kube:"+tc.place || p.Documents[0].Labels["team"] != "shop" {
					t.Fatalf("decoded %+v, refused %+v", p.Documents, p.Refused)
				}
				return
			}
			if len(p.Documents) != 0 || len(p.Refused) != 1 {
				t.Fatalf("decoded %+v, refused %+v", p.Documents, p.Refused)
			}
			r := p.Refused[0]
			if r.Key.String() != tc.place || r.Faults[0].Path != tc.path || !strings.Contains(r.Faults[0].Reason, tc.reason) || r.Faults[0].Line != 0 {
				t.Errorf("refused %+v", r)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(`{"targetRefs":[{"kind":"Service","name":"a"}]}`)
	f.Add(`{"effect":"enforce"}`)
	f.Add("---\n")
	f.Fuzz(func(t *testing.T, spec string) {
		p := decode("ResiliencePolicy/default/a", item{spec: spec, generation: 1})
		if len(p.Documents)+len(p.Refused) != 1 {
			t.Fatalf("%d documents and %d refusals", len(p.Documents), len(p.Refused))
		}
		for _, d := range p.Documents {
			if d.Key != (policy.Key{Kind: "ResiliencePolicy", Namespace: "default", Name: "a"}) {
				t.Fatalf("the document is %s", d.Key)
			}
		}
	})
}
