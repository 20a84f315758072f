package compile

import (
	"sync"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/policy"
)

// Result is the compiled mesh after an Update, immutable.
type Result struct {
	Model mesh.Model
	// Changed names the services that were added, changed or removed, sorted.
	Changed []string
	*view
}

// view is what findings and statuses are made of, when somebody asks: what an
// Update costs must not grow with the number of services.
type view struct {
	root      string
	offline   bool
	model     mesh.Model
	documents pmap.Map[*document]
	services  pmap.Map[[]note]
	problems  []mesh.Finding
	refused   []policy.Refusal
	notes     func() []note
	findings  func() []mesh.Finding
	statuses  func() []DocumentStatus
}

func newView(c *Compiler, problems []mesh.Finding, refused []policy.Refusal) *view {
	v := &view{
		root: c.root, offline: c.offline, model: c.model, documents: c.documents, services: c.findings,
		problems: problems, refused: refused,
	}
	v.notes = sync.OnceValue(v.gather)
	v.findings = sync.OnceValue(v.sorted)
	v.statuses = sync.OnceValue(v.status)
	return v
}

// Findings lists what an operator should look at, sorted. It is worked out at
// the first call, which costs what the mesh is large. The slice is shared: do
// not change it.
func (v *view) Findings() []mesh.Finding {
	if v == nil {
		return nil
	}
	return v.findings()
}

// Documents lists every document in force or refused by Key.String, with what
// became of it. mesh-default is not a document. It is worked out as Findings
// is, and shared as well.
func (v *view) Documents() []DocumentStatus {
	if v == nil {
		return nil
	}
	return v.statuses()
}

func (v *view) gather() []note {
	var out []note
	for _, f := range v.problems {
		out = append(out, note{Finding: f})
	}
	for _, ns := range v.services.All() {
		out = append(out, ns...)
	}
	for _, d := range v.documents.All() {
		out = append(out, v.ofDocument(d)...)
	}
	out = append(out, v.meshConflicts()...)
	out = append(out, v.ofRefused()...)
	for i := range out {
		if out[i].near != "" {
			out[i].Hint = v.nearest(out[i].near)
		}
	}
	return out
}

func (v *view) sorted() []mesh.Finding {
	var out []mesh.Finding
	for _, n := range v.notes() {
		out = append(out, n.Finding)
	}
	return mesh.SortFindings(out)
}
