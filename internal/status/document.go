package status

import (
	"fmt"
	"slices"
	"strings"

	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
)

// Document is what compiling made of one policy document.
type Document struct {
	policy.Key
	Generation int64    // of the version in the revision; 0: no version ever was in one
	Label      string   // of that version, "rp/default/orders@3"; "" with generation 0
	Refused    *Refused // a newer version that was not taken; nil: none
	Shadow     bool     // effect shadow
	Role       string   // the role of xds-server that carries the kind out; "" is xds
	Accepted   compile.Reason
	Message    string // "" where Accepted says it all
	Unresolved string // what it names and is not there; "": all is
	Targets    []Target
}

// Refused is a version that has faults.
type Refused struct {
	Generation int64 // 0: its carrier does not count
	Message    string
}

// Target is one thing that a document is for.
type Target struct {
	Ref      v1alpha1.TargetRef
	Service  string // whose messages the document is in; "" is all of the mesh
	Accepted compile.Reason
	Message  string
	InForce  int64 // generation that proxies are sent for it; 0: nothing of the document
}

// Name is the target as `policy get` lists it.
func (t Target) Name() string {
	name := t.Ref.Kind
	for _, part := range []string{t.Ref.Name, t.Ref.SectionName} {
		if part != "" {
			name += "/" + part
		}
	}
	return name
}

// Documents lists what became of every document in force or refused, sorted by
// Key.String. It costs about what compile.Result.Documents does.
func Documents(r compile.Result, rev policy.Revision) []Document {
	byLabel := map[string][]mesh.Finding{}
	for _, f := range r.Findings() {
		byLabel[f.Document] = append(byLabel[f.Document], f)
	}
	routes := map[policy.Key]string{} // the services of TrafficRoutes
	refused := map[policy.Key]policy.Refusal{}
	for _, d := range rev.Documents {
		if d.Route != nil {
			routes[d.Key] = d.Route.Service
		}
	}
	for _, f := range rev.Refused {
		refused[f.Key] = f
	}
	var out []Document
	for _, s := range r.Documents() {
		d := Document{Key: s.Key, Shadow: s.Shadow, Accepted: s.Accepted, Message: s.Message}
		if f, ok := refused[s.Key]; ok {
			d.Refused = &Refused{Generation: f.Generation, Message: s.Message}
		}
		if s.Document != nil {
			d.describe(s.Document, byLabel[s.Document.Ref().String()], routes, r.Model)
		}
		out = append(out, d)
	}
	return out
}

// describe fills in what concerns the version in the revision.
func (d *Document) describe(doc *policy.Document, findings []mesh.Finding, routes map[policy.Key]string, model mesh.Model) {
	d.Generation, d.Label = doc.Generation, doc.Ref().String()
	d.Unresolved = unresolved(findings)
	switch {
	case doc.Resilience != nil:
		for i, ref := range doc.Resilience.TargetRefs {
			d.addTarget(ref, i, findings, routes)
		}
	case doc.Route != nil:
		d.addTarget(v1alpha1.TargetRef{Kind: v1alpha1.TargetService, Name: doc.Route.Service}, 0, findings, routes)
	case doc.Subscription != nil:
		d.Role = "events"
		if handler := doc.Subscription.Handler.Service; !model.Services.Has(handler) {
			d.Unresolved = "spec.handler.service: the catalog has no service " + handler
		}
		d.addTarget(v1alpha1.TargetRef{Kind: v1alpha1.TargetService, Name: doc.Subscription.Handler.Service}, 0, findings, routes)
	}
	for i := range d.Targets {
		d.Targets[i].InForce = d.Targets[i].inForce(model, d.Key)
	}
}

func (d *Document) addTarget(ref v1alpha1.TargetRef, index int, findings []mesh.Finding, routes map[policy.Key]string) {
	t := Target{Ref: ref, Service: ref.Name, Accepted: compile.Accepted}
	if ref.Kind == v1alpha1.TargetTrafficRoute {
		t.Service = routes[policy.Key{Kind: policy.KindTrafficRoute, Namespace: d.Namespace, Name: ref.Name}]
	}
	if slices.ContainsFunc(d.Targets, func(o Target) bool { return o.Name() == t.Name() }) {
		return
	}
	for _, f := range findings {
		if !t.concerns(f, index) || f.Severity == mesh.Info {
			continue
		}
		if reason := compile.ReasonOf(f.Code); reason.Graver(t.Accepted) {
			t.Accepted, t.Message = reason, compile.MessageOf(f)
		}
	}
	d.Targets = append(d.Targets, t)
}

// concerns reports whether f is about the target, the index-th of its
// document.
func (t Target) concerns(f mesh.Finding, index int) bool {
	const refs = "spec.targetRefs["
	switch {
	case strings.HasPrefix(f.Path, refs):
		return strings.HasPrefix(f.Path, fmt.Sprint(refs, index, "]"))
	case f.Service == "":
		return true
	}
	return t.Ref.Kind == v1alpha1.TargetMesh || t.Service == f.Service
}

// unresolved joins what a document names and is not there.
func unresolved(findings []mesh.Finding) string {
	var parts []string
	for _, f := range findings {
		if f.Code == mesh.CodeUnresolvedRef {
			parts = append(parts, compile.MessageOf(f))
		}
	}
	return strings.Join(parts, "; ")
}

// inForce is the generation of the document key that what proxies are sent for
// the target comes from; 0: none. Where a version that breaks a rule was not
// put in force it is an older one.
func (t Target) inForce(model mesh.Model, key policy.Key) int64 {
	if t.Ref.Kind != v1alpha1.TargetMesh {
		s, ok := model.Services.Get(t.Service)
		if !ok {
			return 0
		}
		return t.part(s, key)
	}
	for _, s := range model.Services.All() {
		if g := t.part(s, key); g > 0 {
			return g
		}
	}
	return 0
}

// part is inForce of one service.
func (t Target) part(s *mesh.Service, key policy.Key) (generation int64) {
	look := func(refs ...mesh.DocumentRef) {
		for _, r := range refs {
			if r.Kind == key.Kind && r.Namespace == key.Namespace && r.Name == key.Name {
				generation = max(generation, r.Generation)
			}
		}
	}
	one := func(d *mesh.Destination) {
		routes := t.Ref.Kind == v1alpha1.TargetTrafficRoute
		if d.Effective != nil && !routes {
			look(d.Documents...)
		}
		if d.Routes == nil || routes && d.Routes.By.Name != t.Ref.Name {
			return
		}
		look(d.Routes.By)
		for _, rule := range d.Routes.Rules {
			if rule.Resilience != nil && (t.Ref.SectionName == "" || t.Ref.SectionName == rule.Name) {
				look(rule.Resilience.Documents...)
			}
		}
	}
	one(s.Default)
	for _, d := range s.ByCaller {
		one(d)
	}
	return generation
}
