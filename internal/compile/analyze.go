package compile

import (
	"slices"
	"strings"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/policy"
)

// needCatalog are the findings that say nothing without a real catalog.
var needCatalog = []string{mesh.CodeTargetNotFound, mesh.CodeEjectionInert}

// Analyze tells what can be said of documents without a catalog, as `meshctl
// policy validate` does: every service that they name is taken to exist, to
// speak http1 unless a document says otherwise, and to belong to the
// namespace of the first document outside the root namespace that targets it.
func Analyze(cfg Config, docs []*policy.Document) []mesh.Finding {
	c := New(cfg)
	docs = slices.Clone(docs)
	slices.SortFunc(docs, func(a, b *policy.Document) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	services := map[string]*catalog.Service{}
	for _, d := range docs {
		for name := range c.newDocument(d).services {
			s := services[name]
			if s == nil {
				s = &catalog.Service{Name: name, Protocol: mesh.HTTP1, Synced: true}
				services[name] = s
			}
			if s.Namespace == "" && d.Namespace != c.root {
				s.Namespace = d.Namespace
			}
		}
	}
	r := Full(cfg, catalog.Snapshot{Services: pmap.From(services)}, policy.Revision{Documents: docs})
	return slices.DeleteFunc(slices.Clone(r.Findings()), func(f mesh.Finding) bool {
		return slices.Contains(needCatalog, f.Code)
	})
}
