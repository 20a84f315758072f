package resource

import (
	"maps"
	"slices"

	"meshlite.dev/internal/mesh"
)

// Build makes everything of one service.
func Build(cfg Config, s *mesh.Service) Set {
	b := maker{cfg: cfg, set: Set{Service: s.Name}}
	for _, host := range mesh.Hosts(s.Name) {
		b.add(Resource{Type: ScopedRouteType, Name: host, Refs: []Ref{{RouteType, s.Name}}}, scope(host, s.Name))
	}
	if !s.Synced {
		b.withhold(ClusterType, s.Name)
		b.withhold(EndpointType, s.Name)
		b.add(Resource{Type: RouteType, Name: s.Name, State: IfAbsent}, notSynced(cfg, s.Name))
		return b.done()
	}
	b.destination(s.Name, s.Default)
	for _, caller := range slices.Sorted(maps.Keys(s.ByCaller)) {
		b.destination(s.Name, s.ByCaller[caller])
	}
	b.endpoints(s)
	return b.done()
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
	return a.Synced && b.Synced && a.Name == b.Name && a.Default == b.Default && maps.Equal(a.ByCaller, b.ByCaller)
}

// destination makes the cluster and the routes of one caller, or of all.
func (b *maker) destination(service string, d *mesh.Destination) {
	b.add(Resource{Type: ClusterType, Name: service, Caller: d.Caller, Policies: labels(d.ClusterDocuments...)}, cluster(service, d))
	rc := Resource{Type: RouteType, Name: service, Caller: d.Caller, Policies: labels(d.RouteDocuments...)}
	if !d.Protocol.HTTP() {
		b.add(rc, notHTTP(b.cfg, service))
		return
	}
	rc.Refs = []Ref{{ClusterType, service}}
	b.add(rc, routes(b.cfg, service, d))
}

// endpoints are the same for all callers; the second copy is the local
// cluster of the service's own proxies, which must not share a name with it.
func (b *maker) endpoints(s *mesh.Service) {
	b.add(Resource{Type: EndpointType, Name: s.Name}, assignment(s.Name, s.Endpoints))
	local := mesh.LocalAssignment(s.Name)
	b.add(Resource{Type: EndpointType, Name: local}, assignment(local, s.Endpoints))
}

// Global makes what belongs to the mesh as a whole.
func Global(cfg Config) Set {
	b := maker{cfg: cfg}
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
