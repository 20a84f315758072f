package resource

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	ringv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	roundv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"meshlite.dev/internal/mesh"
)

const balancerPrefix = "envoy.load_balancing_policies."

// balancer chooses the endpoint. Envoy: LoadBalancingPolicy, typed extensions.
func balancer(b mesh.LoadBalancing) *clusterv3.LoadBalancingPolicy {
	var name string
	var policy proto.Message
	switch b.Type {
	case mesh.RoundRobin:
		name, policy = "round_robin", &roundv3.RoundRobin{LocalityLbConfig: locality(b), SlowStartConfig: slowStart(b)}
	case mesh.Random:
		name, policy = "random", &randomv3.Random{LocalityLbConfig: locality(b)}
	case mesh.RingHash:
		name, policy = "ring_hash", &ringv3.RingHash{}
	case mesh.Maglev:
		name, policy = "maglev", &maglevv3.Maglev{}
	default:
		name, policy = "least_request", &leastv3.LeastRequest{
			ChoiceCount: u32(b.ChoiceCount), LocalityLbConfig: locality(b), SlowStartConfig: slowStart(b),
		}
	}
	return &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{{
		TypedExtensionConfig: &corev3.TypedExtensionConfig{Name: balancerPrefix + name, TypedConfig: pack(policy)},
	}}}
}

// locality prefers instances near the proxy. Endpoints are one body for all
// callers, so nearness cannot be a priority in them; Envoy works it out from
// its own locality and that of its local cluster. Failover is zone-aware
// routing from the first instance on: the own zone serves while it can carry
// its share, the others take the rest.
func locality(b mesh.LoadBalancing) *commonv3.LocalityLbConfig {
	routed, least := 100.0, uint64(b.LocalityMinClusterSize)
	switch b.Locality {
	case mesh.LocalityZoneAware:
	case mesh.LocalityFailover:
		least = 1
	default:
		routed = 0
	}
	return &commonv3.LocalityLbConfig{LocalityConfigSpecifier: &commonv3.LocalityLbConfig_ZoneAwareLbConfig_{
		ZoneAwareLbConfig: &commonv3.LocalityLbConfig_ZoneAwareLbConfig{
			RoutingEnabled: &typev3.Percent{Value: routed},
			MinClusterSize: wrapperspb.UInt64(least),
		},
	}}
}

func slowStart(b mesh.LoadBalancing) *commonv3.SlowStartConfig {
	if b.SlowStartWindow == 0 {
		return nil
	}
	return &commonv3.SlowStartConfig{SlowStartWindow: seconds(b.SlowStartWindow)}
}
