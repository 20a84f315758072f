package resource

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"meshlite.dev/internal/mesh"
)

// Reserved makes a host that xds-server itself answers for, such as
// mesh.TransactionsHost: calls go to the servers, for as long as an answer takes.
// What a server has surely not seen is tried on again, for a second or so: another
// replica may be about to take over.
func Reserved(cfg Config, host string, servers []mesh.Endpoint) Set {
	name := mesh.ReservedCluster(host)
	b := maker{cfg: cfg, set: Set{Service: name}}
	retry := mesh.Retry{Attempts: 5, BackoffBase: 50 * time.Millisecond, BackoffMax: 500 * time.Millisecond}
	b.add(Resource{Type: ClusterType, Name: name}, &clusterv3.Cluster{
		Name:                      name,
		ClusterDiscoveryType:      &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:          &clusterv3.Cluster_EdsClusterConfig{EdsConfig: overADS()},
		ConnectTimeout:            seconds(time.Second),
		IgnoreHealthOnHostRemoval: true,
		Metadata:                  metadata(name, mesh.DocumentRef{}, nil),
	})
	b.add(Resource{Type: EndpointType, Name: name}, assignment(name, servers, true))
	b.add(Resource{Type: ScopedRouteType, Name: host, Refs: []Ref{{RouteType, name}}}, scope(host, name))
	b.add(Resource{Type: RouteType, Name: name, Refs: []Ref{{ClusterType, name}}}, configuration(cfg, name, &routev3.Route{
		Name: name, Match: everything(),
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: name},
			Timeout:          seconds(0), // the server has its own
			RetryPolicy:      retryPolicy(retry, false),
		}},
		Metadata: metadata(name, mesh.DocumentRef{}, nil),
	}))
	return b.done()
}
