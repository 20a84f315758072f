package compile

import (
	"fmt"
	"strings"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy/v1alpha1"
)

// ofDocument says what is wrong with a document whatever the services are
// made of: its name, its right to the mesh, targets that do not exist.
func (v *view) ofDocument(d *document) []mesh.Finding {
	f := mesh.Finding{Document: d.Ref().String()}
	if d.reserved() {
		f.Code, f.Severity, f.Path = mesh.CodeReservedName, mesh.Error, "metadata.name"
		f.Message = mesh.DefaultPolicyName + " is the name of the built-in policy; the document is not applied"
		f.Hint = "give it another name: a document of kind Mesh changes single fields of " + mesh.DefaultPolicyName
		return []mesh.Finding{f}
	}
	var out []mesh.Finding
	for _, t := range d.targets {
		f := f
		f.Path = t.path
		switch {
		case t.kind == v1alpha1.TargetMesh && d.Namespace != v.root:
			f.Code, f.Severity = mesh.CodeNotPermitted, mesh.Error
			f.Message = fmt.Sprintf("only the root namespace %s may target the Mesh; the document is not applied to it", v.root)
			f.Hint = fmt.Sprintf("move the document to namespace %s", v.root)
		case t.kind == v1alpha1.TargetTrafficRoute:
			f.Code, f.Severity = mesh.CodeTargetNotFound, mesh.Warning
			f.Message = fmt.Sprintf("no TrafficRoute %s is in force", t.name)
			f.Hint = "target the Service itself to set this for all of its requests"
		case t.kind == v1alpha1.TargetService && !v.model.Services.Has(t.name):
			f.Code, f.Severity = mesh.CodeTargetNotFound, mesh.Warning
			f.Message = fmt.Sprintf("the catalog has no service %s", t.name)
			f.Hint = v.nearest(t.name)
		default:
			continue
		}
		out = append(out, f)
	}
	return out
}

// meshConflicts reports the fields that documents of the Mesh fight over.
func (v *view) meshConflicts() []mesh.Finding {
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
	var out []mesh.Finding
	for i, cs := range candidates(stack{layers: layers}) {
		for _, c := range conflictsOf(i, cs) {
			out = append(out, conflicted(c))
		}
	}
	return out
}

// ofRefused reports the documents that did not make it into the revision.
func (v *view) ofRefused() []mesh.Finding {
	var out []mesh.Finding
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
			out = append(out, f)
		}
	}
	return out
}

// nearest suggests the service whose name is most like name.
func (v *view) nearest(name string) string {
	best, bestAt := "", max(2, len(name)/3)+1
	for other := range v.model.Services.All() {
		if d := distance(name, other, bestAt); d < bestAt {
			best, bestAt = other, d
		}
	}
	if best == "" {
		return "`meshctl service list` shows what the catalog has"
	}
	return fmt.Sprintf("did you mean %s?", best)
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
