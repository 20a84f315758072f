package compile

import (
	"slices"
	"strconv"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
)

// document is a policy document taken apart for compiling. Immutable.
type document struct {
	*policy.Document
	targets  []target // without repetitions, in the document's order
	from     []string // sorted; empty: all callers
	shadow   bool     // effect: shadow
	settings []setting
	// layers of this document at the levels that it targets; nil elsewhere
	mesh, service *layer
}

// target is one targetRef; path is its place in the document.
type target struct {
	kind, name, section, path string
}

// String is the target as `policy get` lists it.
func (t target) String() string {
	switch {
	case t.kind == v1alpha1.TargetMesh:
		return v1alpha1.TargetMesh
	case t.section != "":
		return t.kind + "/" + t.name + "/" + t.section
	default:
		return t.kind + "/" + t.name
	}
}

func (c *Compiler) newDocument(d *policy.Document) *document {
	out := &document{Document: d}
	spec := d.Resilience
	if spec == nil {
		return out
	}
	out.settings = settingsOf(spec)
	out.shadow = spec.Effect == v1alpha1.Shadow
	for _, f := range spec.From {
		out.from = append(out.from, f.Service)
	}
	slices.Sort(out.from)
	for i, ref := range spec.TargetRefs {
		t := target{kind: ref.Kind, name: ref.Name, section: ref.SectionName, path: "spec.targetRefs[" + strconv.Itoa(i) + "]"}
		if !slices.ContainsFunc(out.targets, func(o target) bool { return o.String() == t.String() }) {
			out.targets = append(out.targets, t)
		}
		switch {
		case t.kind == v1alpha1.TargetMesh && out.mesh == nil:
			out.mesh = c.newLayer(levelMesh, out, out.settings)
		case t.kind == v1alpha1.TargetService && out.service == nil && len(out.from) == 0:
			out.service = c.newLayer(levelService, out, out.settings)
		case t.kind == v1alpha1.TargetService && out.service == nil:
			out.service = c.newLayer(levelServiceFrom, out, out.settings)
		}
	}
	return out
}

func (c *Compiler) newLayer(l level, d *document, settings []setting) *layer {
	c.lastLayer++
	return &layer{
		id: c.lastLayer, level: l, doc: d, settings: settings,
		setsProtocol: slices.ContainsFunc(settings, func(s setting) bool { return s.leaf == leafProtocol }),
	}
}

// services yields the names of the services that the document targets.
func (d *document) services(yield func(string) bool) {
	for _, t := range d.targets {
		if t.kind == v1alpha1.TargetService && !yield(t.name) {
			return
		}
	}
}

// targetsService reports whether the document targets the named service.
func (d *document) targetsService(name string) bool {
	return slices.ContainsFunc(d.targets, func(t target) bool { return t.kind == v1alpha1.TargetService && t.name == name })
}

// reserved reports whether the document took the built-in policy's name.
func (d *document) reserved() bool { return d.Name == mesh.DefaultPolicyName }

// forMesh reports whether the document is a layer of every stack. `from` goes
// with Service targets only; a document that has it says nothing about a Mesh.
func (d *document) forMesh(root string) bool {
	return d.mesh != nil && !d.reserved() && d.Namespace == root && len(d.from) == 0
}

// permitted reports whether the document may target a service of namespace:
// the root namespace may target all, any other its own.
func (d *document) permitted(root, namespace string) bool {
	return d.Namespace == root || d.Namespace == namespace
}
