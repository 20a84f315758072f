package resource

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"

	"meshlite.dev/internal/mesh"
)

const aggregateCluster = "envoy.clusters.aggregate"

// failoverCluster tries pools in order: a call leaves one when it has no
// healthy instance. Connections, ejections and limits are those of the pools'
// own clusters; retries are counted here. Why not priorities:
// docs/adr/0005-failover.md.
func failoverCluster(owner string, pools []mesh.Pool, d *mesh.Destination) *clusterv3.Cluster {
	names := make([]string, len(pools))
	for i, p := range pools {
		names[i] = p.Cluster()
	}
	return &clusterv3.Cluster{
		Name:           mesh.FailoverCluster(owner, pools),
		ConnectTimeout: seconds(d.Timeouts.Connect),
		LbPolicy:       clusterv3.Cluster_CLUSTER_PROVIDED,
		ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: aggregateCluster, TypedConfig: pack(&aggregatev3.ClusterConfig{Clusters: names}),
		}},
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections: limit(0), MaxPendingRequests: limit(0), MaxRequests: limit(0),
			RetryBudget: retryBudget(d.Retry),
		}}},
		CommonLbConfig: panicking(d.Outlier),
		Metadata:       metadata(owner, d.Cluster, nil),
	}
}

// nothingCluster has no instance: it takes the share of a backend that is not
// there.
func nothingCluster(owner string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 mesh.NothingCluster(owner),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		Metadata:             metadata(owner, mesh.DocumentRef{}, nil),
	}
}
