package compile

import (
	"fmt"
	"strings"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy/v1alpha1"
)

// ofDocument says what is wrong with a document whatever the services are
// made of: its name, its right to the mesh, targets that do not exist, fields
// that cannot go there.
func (v *view) ofDocument(d *document) []note {
	f := mesh.Finding{Document: d.Ref().String()}
	if d.reserved() {
		f.Code, f.Severity, f.Path = mesh.CodeReservedName, mesh.Error, "metadata.name"
		f.Message = mesh.DefaultPolicyName + " is the name of the built-in policy; the document is not applied"
		f.Hint = "give it another name: a document of kind Mesh changes single fields of " + mesh.DefaultPolicyName
		return []note{{Finding: f}}
	}
	out := v.notAttachable(d)
	for _, t := range d.targets {
		n := note{Finding: f, target: t.String()}
		n.Path = t.path
		switch t.kind {
		case v1alpha1.TargetMesh:
			if d.Namespace == v.root {
				continue
			}
			n.Code, n.Severity = mesh.CodeNotPermitted, mesh.Error
			n.Message = fmt.Sprintf("only the root namespace %s may target the Mesh; the document is not applied to it", v.root)
			n.Hint = fmt.Sprintf("move the document to namespace %s", v.root)
		case v1alpha1.TargetTrafficRoute:
			n.Code, n.Severity = mesh.CodeTargetNotFound, mesh.Warning
			if n.Message, n.Hint = v.ofTrafficRoute(d, t); n.Message == "" {
				continue
			}
			if d.shadow {
				n = n.inShadow(mesh.Info)
			}
		default:
			if v.model.Services.Has(t.name) || d.route == nil && v.elsewhere(t.name) {
				continue
			}
			n.Code, n.Severity, n.near = mesh.CodeTargetNotFound, mesh.Warning, t.name
			n.Message = fmt.Sprintf("the catalog has no service %s", t.name)
		}
		out = append(out, n)
	}
	return out
}

// elsewhere reports whether another datacenter has the service.
func (v *view) elsewhere(service string) bool {
	for range v.model.Services.Prefix(service + "@") {
		return true
	}
	return false
}

// meshConflicts reports the fields that documents of the Mesh fight over.
func (v *view) meshConflicts() []note {
	var layers []*layer
	for _, d := range v.documents.All() {
		if d.forMesh(v.root) && !d.shadow {
			layers = append(layers, d.mesh)
		}
	}
	if len(layers) < 2 {
		return nil
	}
	sortLayers(layers)
	var out []note
	for i, cs := range candidates(stack{layers: layers}) {
		for _, c := range conflictsOf(i, cs) {
			out = append(out, note{Finding: conflicted(c), target: v1alpha1.TargetMesh})
		}
	}
	return out
}

// ofRefused reports the documents that did not make it into the revision.
func (v *view) ofRefused() []note {
	var out []note
	for _, r := range v.refused {
		for _, fault := range r.Faults {
			f := mesh.Finding{
				Code: mesh.CodeInvalidDocument, Severity: mesh.Error, Document: r.Source, Path: fault.Path,
				Message: valueOf(fault.Value) + fault.Reason,
				Hint:    "correct it; `meshctl policy validate -f` checks a file without a server",
			}
			if d, ok := v.documents.Get(r.Key.String()); ok {
				f.Message += "; in force stays " + d.Ref().String()
			}
			out = append(out, note{Finding: f})
		}
	}
	return out
}

// nearest suggests the service whose name is most like name.
func (v *view) nearest(name string) string {
	var names []string
	for other := range v.model.Services.All() {
		if len(mesh.Hosts(other)) > 0 {
			names = append(names, other)
		}
	}
	if best := alike(name, names); best != "" {
		return fmt.Sprintf("did you mean %s?", best)
	}
	return "`meshctl service list` shows what the catalog has"
}

// distance counts the edits that make b of a; it may stop at limit.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	if strings.HasPrefix(b, a) || strings.HasPrefix(a, b) {
		return max(len(a), len(b)) - min(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
