package resource

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	dfpclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	dfpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	dfpfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"

	"time"

	"meshlite.dev/internal/mesh"
)

const (
	forwardFilter  = "envoy.filters.http.dynamic_forward_proxy"
	forwardCluster = "envoy.clusters.dynamic_forward_proxy"
)

// passthroughCluster dials whatever host a request names.
func passthroughCluster() *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:           mesh.PassthroughCluster,
		ConnectTimeout: seconds(5 * time.Second),
		LbPolicy:       clusterv3.Cluster_CLUSTER_PROVIDED,
		ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: forwardCluster,
			TypedConfig: pack(&dfpclusterv3.ClusterConfig{
				ClusterImplementationSpecifier: &dfpclusterv3.ClusterConfig_DnsCacheConfig{DnsCacheConfig: dnsCache()},
			}),
		}},
	}
}

// dnsCache is named the same in filter and cluster, which share it.
func dnsCache() *dfpv3.DnsCacheConfig {
	return &dfpv3.DnsCacheConfig{Name: "passthrough", DnsLookupFamily: clusterv3.Cluster_V4_PREFERRED}
}

func forwardProxy() *dfpfilterv3.FilterConfig {
	return &dfpfilterv3.FilterConfig{
		ImplementationSpecifier: &dfpfilterv3.FilterConfig_DnsCacheConfig{DnsCacheConfig: dnsCache()},
	}
}

func passthroughRoutes(cfg Config) *routev3.RouteConfiguration {
	return configuration(cfg, mesh.PassthroughRoute, &routev3.Route{
		Name:     mesh.PassthroughRoute,
		Match:    everything(),
		Metadata: metadata("passthrough", mesh.DocumentRef{}, nil),
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: mesh.PassthroughCluster},
		}},
	})
}
