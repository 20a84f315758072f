package resource

import (
	"maps"
	"slices"

	"meshlite.dev/internal/mesh"
)

// Build makes everything of one service. One of another datacenter has no host
// and no routes: those of others lead to it.
func Build(cfg Config, s *mesh.Service) Set {
	b := maker{cfg: cfg, set: Set{Service: s.Name}}
	for _, host := range mesh.Hosts(s.Name) {
		b.add(Resource{Type: ScopedRouteType, Name: host, Refs: []Ref{{RouteType, s.Name}}}, scope(host, s.Name))
	}
	if !s.Synced {
		b.unsynced(s)
		return b.done()
	}
	for _, d := range destinations(s) {
		b.destination(s, d)
	}
	b.endpoints(s)
	return b.done()
}

// destinations returns what everybody gets, then what single callers get.
func destinations(s *mesh.Service) []*mesh.Destination {
	ds := []*mesh.Destination{s.Default}
	for _, caller := range slices.Sorted(maps.Keys(s.ByCaller)) {
		ds = append(ds, s.ByCaller[caller])
	}
	return ds
}

// routed reports whether a service has a host, and routes behind it.
func routed(service string) bool { return len(mesh.Hosts(service)) > 0 }

// unsynced leaves a service that the catalog has not told about yet as it is on
// proxies that know it, and answers for it on others.
func (b *maker) unsynced(s *mesh.Service) {
	for _, name := range clusterNames(s) {
		b.withhold(ClusterType, name)
		b.withhold(EndpointType, name)
	}
	for _, d := range destinations(s) {
		b.withholdTargets(s.Name, d, false)
	}
	if routed(s.Name) {
		b.add(Resource{Type: RouteType, Name: s.Name, State: IfAbsent}, notSynced(b.cfg, s.Name))
	}
}

// clusterNames are those of the service and of its subsets.
func clusterNames(s *mesh.Service) []string {
	names := []string{s.Name}
	for _, sub := range s.Subsets {
		names = append(names, mesh.ClusterName(s.Name, sub.Name))
	}
	return names
}

// Rebuild is Build of next, given what it made of prev: when only endpoints
// differ it makes endpoints only.
func Rebuild(cfg Config, old Set, prev, next *mesh.Service) Set {
	if !sameButEndpoints(prev, next) {
		return Build(cfg, next)
	}
	b := maker{cfg: cfg, set: Set{Service: next.Name}}
	for _, r := range old.Resources {
		if r.Type != EndpointType {
			b.set.Resources = append(b.set.Resources, r)
		}
	}
	for _, f := range old.Faults {
		if f.Type != EndpointType {
			b.set.Faults = append(b.set.Faults, f)
		}
	}
	b.endpoints(next)
	return b.done()
}

// sameButEndpoints relies on compile, which keeps the pointer of a
// destination that did not change.
func sameButEndpoints(a, b *mesh.Service) bool {
	return a.Synced && b.Synced && a.Name == b.Name && a.Default == b.Default &&
		maps.Equal(a.ByCaller, b.ByCaller) && slices.EqualFunc(a.Subsets, b.Subsets, sameSubset)
}

func sameSubset(a, b mesh.Subset) bool {
	return a.Name == b.Name && slices.Equal(a.Tags, b.Tags) && maps.Equal(a.Meta, b.Meta)
}

// destination makes the clusters and the routes of one caller, or of all.
func (b *maker) destination(s *mesh.Service, d *mesh.Destination) {
	add := func(subset string) {
		r := Resource{Type: ClusterType, Name: mesh.ClusterName(s.Name, subset), Caller: d.Caller, Policies: labels(d.ClusterDocuments...)}
		b.add(r, cluster(s.Name, subset, d))
	}
	add("")
	for _, sub := range s.Subsets {
		add(sub.Name)
	}
	if !routed(s.Name) {
		return
	}
	rc := Resource{Type: RouteType, Name: s.Name, Caller: d.Caller, Policies: decidedBy(d)}
	if !d.Protocol.HTTP() {
		b.add(rc, notHTTP(b.cfg, s.Name))
		return
	}
	b.targetClusters(s.Name, d)
	rc.Refs, rc.State = leadsTo(s.Name, d)
	b.add(rc, routes(b.cfg, s.Name, d))
}

// endpoints are the same for all callers, apart from how many of them have to
// be healthy. The last copy is the local cluster of the service's own proxies,
// which must not share a name with it.
func (b *maker) endpoints(s *mesh.Service) {
	add := func(name string, endpoints []mesh.Endpoint) {
		b.add(Resource{Type: EndpointType, Name: name}, assignment(name, endpoints, toTheLast(s.Default)))
		for _, d := range destinations(s)[1:] {
			if toTheLast(d) != toTheLast(s.Default) {
				b.add(Resource{Type: EndpointType, Name: name, Caller: d.Caller}, assignment(name, endpoints, toTheLast(d)))
			}
		}
	}
	add(s.Name, s.Endpoints)
	for _, sub := range s.Subsets {
		of := slices.DeleteFunc(slices.Clone(s.Endpoints), func(e mesh.Endpoint) bool { return !sub.Has(e) })
		add(mesh.ClusterName(s.Name, sub.Name), of)
	}
	if local := mesh.LocalAssignment(s.Name); routed(s.Name) {
		b.add(Resource{Type: EndpointType, Name: local}, assignment(local, s.Endpoints, false))
	}
}

// Global makes what belongs to the mesh as a whole.
func Global(cfg Config) Set {
	b := maker{cfg: cfg}
	b.add(Resource{Type: RouteType, Name: mesh.BallotRoute}, noBallot())
	if cfg.Egress == Passthrough {
		b.add(Resource{Type: ClusterType, Name: mesh.PassthroughCluster}, passthroughCluster())
		b.add(Resource{Type: ScopedRouteType, Name: mesh.PassthroughScope, Refs: []Ref{{RouteType, mesh.PassthroughRoute}}},
			scope(mesh.PassthroughScope, mesh.PassthroughRoute))
		b.add(Resource{Type: RouteType, Name: mesh.PassthroughRoute, Refs: []Ref{{ClusterType, mesh.PassthroughCluster}}}, passthroughRoutes(cfg))
	}
	return b.done()
}

// Listeners makes the listeners of a proxy.
func Listeners(cfg Config, p Profile) ([]*Resource, []Fault) {
	b := maker{cfg: cfg}
	if p.OutboundPort != 0 {
		b.add(Resource{Type: ListenerType, Name: mesh.OutboundListener}, outbound(cfg, p))
		b.add(Resource{Type: ListenerType, Name: mesh.BallotListener, Refs: []Ref{{RouteType, mesh.BallotRoute}}}, ballotListener(cfg, p))
	}
	for _, u := range p.Upstreams {
		// A local port is fixed when the proxy starts: a change of its
		// listener would cut every connection through it.
		r := Resource{Type: ListenerType, Name: mesh.UpstreamListener(u.Service, u.Port), State: IfAbsent}
		if u.Protocol.HTTP() {
			r.Refs = []Ref{{RouteType, u.Service}}
			b.add(r, upstreamHTTPListener(p, u))
			continue
		}
		r.Refs = []Ref{{ClusterType, u.Service}}
		b.add(r, upstreamTCPListener(p, u))
	}
	set := b.done()
	return set.Resources, set.Faults
}
