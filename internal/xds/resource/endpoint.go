package resource

import (
	"cmp"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"meshlite.dev/internal/mesh"
)

// EmptyAssignment answers for the local cluster of a proxy whose service is
// not in the catalog: the one assignment that may be empty.
func EmptyAssignment(name string) *Resource {
	r, fault := seal(Config{}, Resource{Type: EndpointType, Name: name}, assignment(name, nil, false))
	if fault != nil {
		return nil // the name is not one that Envoy takes
	}
	return r
}

// anyOfThem makes one healthy instance of up to 100,000 count as full health.
// Envoy's own 140 sends calls elsewhere, to the next of a failover list, as soon
// as fewer than 72 % are healthy (docs/adr/0005-failover.md).
const anyOfThem = 10_000_000

// toTheLast reports whether a destination serves while one instance is healthy.
// A policy that asks for panic before that gets Envoy's own reckoning, for panic
// begins only where health is less than full.
func toTheLast(d *mesh.Destination) bool { return d.Outlier.PanicThresholdPercent <= 1 }

// assignment lists the endpoints by locality, in an order that depends on
// their content alone.
func assignment(name string, endpoints []mesh.Endpoint, toTheLast bool) *endpointv3.ClusterLoadAssignment {
	groups := map[mesh.Locality]*endpointv3.LocalityLbEndpoints{}
	var order []mesh.Locality
	for _, e := range endpoints {
		g, ok := groups[e.Locality]
		if !ok {
			g = &endpointv3.LocalityLbEndpoints{}
			if e.Locality != (mesh.Locality{}) {
				g.Locality = &corev3.Locality{Region: e.Locality.Region, Zone: e.Locality.Zone}
			}
			groups[e.Locality] = g
			order = append(order, e.Locality)
		}
		g.LbEndpoints = append(g.LbEndpoints, endpoint(e))
	}
	slices.SortFunc(order, func(a, b mesh.Locality) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Zone, b.Zone))
	})
	out := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	for _, l := range order {
		out.Endpoints = append(out.Endpoints, groups[l])
	}
	if toTheLast {
		out.Policy = &endpointv3.ClusterLoadAssignment_Policy{OverprovisioningFactor: u32(anyOfThem)}
	}
	return out
}

func endpoint(e mesh.Endpoint) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{
		HostIdentifier:      &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socket(e.Address, e.Port)}},
		HealthStatus:        healthStatus(e.Health),
		LoadBalancingWeight: u32(e.Weight),
	}
}

func healthStatus(h mesh.Health) corev3.HealthStatus {
	switch h {
	case mesh.Unhealthy:
		return corev3.HealthStatus_UNHEALTHY
	case mesh.Draining:
		return corev3.HealthStatus_DRAINING
	default:
		return corev3.HealthStatus_HEALTHY
	}
}

func socket(address string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}
