package compile

import (
	"maps"
	"slices"
	"sort"
	"strings"

	"meshlite.dev/internal/policy"
)

// updateDocuments takes over the documents that rev.Changed names, adds the
// services that they target (and no longer target) to stale, and reports
// whether a layer of every stack changed.
func (c *Compiler) updateDocuments(rev policy.Revision, stale map[string]bool) (everything bool) {
	keys := rev.Changed
	if !c.started {
		keys = keysOf(rev.Documents)
	}
	if len(keys) == 0 && c.started {
		return false
	}
	for _, key := range keys {
		everything = c.updateDocument(key, rev, stale) || everything
	}
	if c.documents.Len() != len(rev.Documents) { // Changed forgot something
		everything = c.reconcile(rev, stale) || everything
	}
	c.model.Revision = rev.Hash
	return everything
}

func keysOf(docs []*policy.Document) []policy.Key {
	keys := make([]policy.Key, len(docs))
	for i, d := range docs {
		keys[i] = d.Key
	}
	return keys
}

// reconcile compares all documents, at a cost that grows with them.
func (c *Compiler) reconcile(rev policy.Revision, stale map[string]bool) (everything bool) {
	keys := map[policy.Key]bool{}
	for _, d := range rev.Documents {
		keys[d.Key] = true
	}
	for _, d := range c.documents.All() {
		keys[d.Key] = true
	}
	for _, key := range slices.Collect(maps.Keys(keys)) {
		everything = c.updateDocument(key, rev, stale) || everything
	}
	return everything
}

func (c *Compiler) updateDocument(key policy.Key, rev policy.Revision, stale map[string]bool) (everything bool) {
	name := key.String()
	old, _ := c.documents.Get(name)
	now := find(rev.Documents, name)
	if old != nil && now != nil && sameVersion(old.Document, now) {
		return false
	}
	if old != nil {
		everything = old.forMesh(c.root)
		c.unindex(old, stale)
		c.documents = c.documents.Delete(name)
	}
	if now == nil {
		return everything
	}
	d := c.newDocument(now)
	c.documents = c.documents.Set(name, d)
	c.index(d, stale)
	return everything || d.forMesh(c.root)
}

// sameVersion reports whether a and b cannot differ. Without a hash only the
// very same value counts.
func sameVersion(a, b *policy.Document) bool {
	return a == b || a.Hash != "" && a.Hash == b.Hash && a.Generation == b.Generation && a.Source == b.Source
}

// find looks a document up in a list sorted by Key.String.
func find(docs []*policy.Document, name string) *policy.Document {
	i, ok := sort.Find(len(docs), func(i int) int { return strings.Compare(name, docs[i].Key.String()) })
	if !ok {
		return nil
	}
	return docs[i]
}

func (c *Compiler) index(d *document, stale map[string]bool) {
	if d.forMesh(c.root) {
		c.meshWide = append(c.meshWide, d)
	}
	into := c.targeting
	if d.route != nil {
		into = c.routes
	}
	for service := range d.services {
		into[service] = append(into[service], d)
		stale[service] = true
	}
	for name := range d.trafficRoutes {
		key := routeKey(d.Namespace, name)
		c.attached[key] = append(c.attached[key], d)
		c.staleRoute(key, stale)
	}
}

func (c *Compiler) unindex(d *document, stale map[string]bool) {
	c.meshWide = slices.DeleteFunc(c.meshWide, func(o *document) bool { return o == d })
	from := c.targeting
	if d.route != nil {
		from = c.routes
	}
	for service := range d.services {
		stale[service] = true
		drop(from, service, d)
	}
	for name := range d.trafficRoutes {
		key := routeKey(d.Namespace, name)
		drop(c.attached, key, d)
		c.staleRoute(key, stale)
	}
}

// drop takes d from the list under key.
func drop(lists map[string][]*document, key string, d *document) {
	lists[key] = slices.DeleteFunc(lists[key], func(o *document) bool { return o == d })
	if len(lists[key]) == 0 {
		delete(lists, key)
	}
}

// routeKey is the Key.String of a TrafficRoute. Policies reach those of their
// own namespace alone.
func routeKey(namespace, name string) string {
	return policy.Key{Kind: policy.KindTrafficRoute, Namespace: namespace, Name: name}.String()
}

// staleRoute adds the service of a TrafficRoute to stale. One that comes or
// goes in the same update adds it itself.
func (c *Compiler) staleRoute(key string, stale map[string]bool) {
	if d, ok := c.documents.Get(key); ok && d.route != nil {
		stale[d.route.service] = true
	}
}
