package compile

import (
	"slices"
	"strings"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/policy"
)

// needCatalog are the findings that say nothing without real instances.
var needCatalog = []string{mesh.CodeEjectionInert, mesh.CodeEmptySubset}

// Analyze tells what can be said of documents without a catalog, as `meshctl
// policy validate` does; Offline says what is made up.
func Analyze(cfg Config, docs []*policy.Document) []mesh.Finding {
	return slices.DeleteFunc(slices.Clone(Offline(cfg, docs).Findings()), func(f mesh.Finding) bool {
		return slices.Contains(needCatalog, f.Code)
	})
}

// Offline compiles documents without a catalog: every service that they name is
// taken to exist, without instances, to speak http1 unless a document says
// otherwise, and to belong to the namespace of the first document outside the
// root namespace that is for it. Subsets of services whose TrafficRoute is not
// among the documents are taken to exist, and so are TrafficRoutes that are not.
func Offline(cfg Config, docs []*policy.Document) Result {
	c := New(cfg)
	c.offline = true
	docs = slices.Clone(docs)
	slices.SortFunc(docs, func(a, b *policy.Document) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	services := map[string]*catalog.Service{}
	add := func(key string) *catalog.Service {
		if services[key] == nil {
			services[key] = &catalog.Service{Name: key, Protocol: mesh.HTTP1, Synced: true}
		}
		return services[key]
	}
	for _, d := range docs {
		for name := range c.newDocument(d).services {
			if s := add(name); s.Namespace == "" && d.Namespace != c.root {
				s.Namespace = d.Namespace
			}
		}
		if d.Route == nil {
			continue
		}
		for _, p := range poolsIn(d.Route) {
			add(mesh.ServiceKey(p.Service, p.Datacenter))
		}
	}
	return c.Update(catalog.Snapshot{Services: pmap.From(services)}, policy.Revision{Documents: docs})
}
