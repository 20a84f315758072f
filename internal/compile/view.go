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
	model     mesh.Model
	documents pmap.Map[*document]
	services  pmap.Map[[]mesh.Finding]
	problems  []mesh.Finding
	refused   []policy.Refusal
	findings  func() []mesh.Finding
}

func newView(c *Compiler, problems []mesh.Finding, refused []policy.Refusal) *view {
	v := &view{
		root: c.root, model: c.model, documents: c.documents, services: c.findings,
		problems: problems, refused: refused,
	}
	v.findings = sync.OnceValue(v.gather)
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

func (v *view) gather() []mesh.Finding {
	var out []mesh.Finding
	out = append(out, v.problems...)
	for _, fs := range v.services.All() {
		out = append(out, fs...)
	}
	for _, d := range v.documents.All() {
		out = append(out, v.ofDocument(d)...)
	}
	out = append(out, v.meshConflicts()...)
	out = append(out, v.ofRefused()...)
	return mesh.SortFindings(out)
}
