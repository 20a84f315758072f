package preview

import (
	"cmp"
	"fmt"
	"slices"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
)

// grouping finds the changes of each proxy, and the proxies with the same ones.
type grouping struct {
	in        Input
	next      mesh.Model
	changed   []string // services
	callers   callers
	changes   []Change
	clusters  map[string]int // changes that add a cluster, by its name
	listeners map[string]int // changes of listeners, by name and versions
}

func (g *grouping) run() []Group {
	refs := make([]resource.Ref, len(g.changes))
	g.clusters, g.listeners = map[string]int{}, map[string]int{}
	for i, c := range g.changes {
		refs[i] = resource.Ref{Type: c.Type, Name: c.Name}
		if c.Type == resource.ClusterType && c.Before == nil {
			g.clusters[c.Name] = i
		}
	}
	var gets map[string][]bool
	if g.in.Subscribed != nil {
		gets = g.in.Subscribed(refs)
	}
	groups := map[string]*Group{}
	for _, n := range g.in.Proxies {
		mine := g.of(n, refs, gets[n.ID])
		if len(mine) == 0 {
			continue
		}
		key := fmt.Sprint(mine)
		if groups[key] == nil {
			groups[key] = &Group{Changes: mine}
		}
		groups[key].Proxies = append(groups[key].Proxies, n.ID)
	}
	var out []Group
	for _, group := range groups {
		slices.Sort(group.Proxies)
		out = append(out, *group)
	}
	slices.SortFunc(out, func(a, b Group) int {
		return cmp.Or(cmp.Compare(len(b.Proxies), len(a.Proxies)), cmp.Compare(a.Proxies[0], b.Proxies[0]))
	})
	return out
}

// of lists the changes that reach one proxy.
func (g *grouping) of(n server.Node, refs []resource.Ref, gets []bool) []int {
	if gets == nil { // it is gone meanwhile
		return nil
	}
	var mine []int
	for i, ref := range refs {
		reached := gets[i]
		if ref.Type == resource.EndpointType && g.changes[i].Before == nil {
			// Asked for once the cluster is there.
			cluster, added := g.clusters[ref.Name]
			reached = reached || added && gets[cluster]
		}
		if reached && g.changes[i].Caller == g.callers.variant(ref, n.Service) {
			mine = append(mine, i)
		}
	}
	return append(mine, g.restarts(n)...)
}

// restarts lists the listeners that are fixed when the proxy starts and would
// be others at its next start.
func (g *grouping) restarts(n server.Node) []int {
	if !slices.ContainsFunc(n.Upstreams, func(u server.Upstream) bool { return slices.Contains(g.changed, u.Service) }) {
		return nil
	}
	before := map[string]*resource.Resource{}
	for _, l := range g.listenersOf(n, g.in.Served) {
		before[l.Name] = l
	}
	var out []int
	for _, l := range g.listenersOf(n, g.next) {
		old := before[l.Name]
		if l.State != resource.IfAbsent || old == nil || old.Version == l.Version {
			continue
		}
		key := l.Name + " " + old.Version + " " + l.Version
		at, known := g.listeners[key]
		if !known {
			at = len(g.changes)
			g.listeners[key] = at
			g.changes = append(g.changes, Change{Type: l.Type, Name: l.Name, Caller: n.Service, Before: old, After: l, Effect: Starts})
		}
		out = append(out, at)
	}
	return out
}

func (g *grouping) listenersOf(n server.Node, m mesh.Model) []*resource.Resource {
	rs, _ := resource.Listeners(g.in.Messages, n.Profile(func(caller, service string) (mesh.Protocol, *mesh.Destination) {
		s, ok := m.Services.Get(service)
		if !ok {
			return mesh.HTTP1, nil
		}
		d := s.For(caller)
		return d.Protocol, d
	}))
	return rs
}
