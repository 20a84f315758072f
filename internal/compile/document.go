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
	mesh, service, whole *layer
	rules                map[string]*layer // by the rule that it targets

	route *route // of a TrafficRoute; nil for all others
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
	switch {
	case d.Resilience != nil:
		c.takePolicy(out, d.Resilience)
	case d.Route != nil:
		out.shadow = d.Route.Effect == v1alpha1.Shadow
		out.targets = []target{{kind: v1alpha1.TargetService, name: d.Route.Service, path: "spec.service"}}
		out.route = c.newRoute(out, d.Route)
	}
	return out
}

// takePolicy fills in what a ResiliencePolicy says and where.
func (c *Compiler) takePolicy(out *document, spec *v1alpha1.ResiliencePolicySpec) {
	out.settings = settingsOf(spec)
	out.shadow = spec.Effect == v1alpha1.Shadow
	for _, f := range spec.From {
		out.from = append(out.from, f.Service)
	}
	slices.Sort(out.from)
	for i, ref := range spec.TargetRefs {
		t := target{kind: ref.Kind, name: ref.Name, section: ref.SectionName, path: "spec.targetRefs[" + strconv.Itoa(i) + "]"}
		if slices.ContainsFunc(out.targets, func(o target) bool { return o.String() == t.String() }) {
			continue
		}
		out.targets = append(out.targets, t)
		switch {
		case t.kind == v1alpha1.TargetMesh:
			out.mesh = c.newLayer(levelMesh, out, out.settings)
		case t.kind == v1alpha1.TargetTrafficRoute:
			c.attachTo(t, out)
		case out.service == nil && len(out.from) == 0:
			out.service = c.newLayer(levelService, out, out.settings)
		case out.service == nil:
			out.service = c.newLayer(levelServiceFrom, out, out.settings)
		}
	}
}

// attachTo makes the layer of a document for a TrafficRoute or a rule of one,
// of the settings that go there.
func (c *Compiler) attachTo(t target, out *document) {
	attachable := slices.DeleteFunc(slices.Clone(out.settings), func(s setting) bool { return !onRules(s.leaf) })
	switch {
	case len(attachable) == 0:
	case t.section == "" && out.whole == nil:
		out.whole = c.newLayer(levelRoute, out, attachable)
	case t.section != "" && out.rules[t.section] == nil:
		if out.rules == nil {
			out.rules = map[string]*layer{}
		}
		out.rules[t.section] = c.newLayer(levelRule, out, attachable)
		out.rules[t.section].rule = t.section
	}
}

func (c *Compiler) newLayer(l level, d *document, settings []setting) *layer {
	c.lastLayer++
	return &layer{
		id: c.lastLayer, level: l, doc: d, settings: settings, at: "spec.",
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

// trafficRoutes yields the names of the TrafficRoutes that the document
// targets, all of them or rules of them, each once.
func (d *document) trafficRoutes(yield func(string) bool) {
	for i, t := range d.targets {
		again := slices.ContainsFunc(d.targets[:i], func(o target) bool { return o.kind == t.kind && o.name == t.name })
		if t.kind == v1alpha1.TargetTrafficRoute && !again && !yield(t.name) {
			return
		}
	}
}

// has reports whether the document has this target.
func (d *document) has(kind, name, section string) bool {
	return slices.ContainsFunc(d.targets, func(t target) bool { return t.kind == kind && t.name == name && t.section == section })
}

// targetsService reports whether the document targets the named service.
func (d *document) targetsService(name string) bool { return d.has(v1alpha1.TargetService, name, "") }

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
