package resource

import (
	"math"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"meshlite.dev/internal/mesh"
)

// breakers are the limits of a destination, with the retry budget beside
// them. Envoy takes 0 literally, so unlimited is the maximum.
func breakers(d *mesh.Destination) *clusterv3.CircuitBreakers {
	t := &clusterv3.CircuitBreakers_Thresholds{
		MaxConnections:     limit(d.Limits.Connections),
		MaxPendingRequests: limit(d.Limits.PendingRequests),
		MaxRequests:        limit(d.Limits.Requests),
		MaxConnectionPools: limit(d.Limits.ConnectionPools),
	}
	if d.Protocol.HTTP() {
		t.RetryBudget = retryBudget(d.Retry) // also without retries of its own: a rule may have some
	}
	b := &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{t}}
	if n := d.Limits.PerEndpointConnections; n > 0 {
		b.PerHostThresholds = []*clusterv3.CircuitBreakers_Thresholds{{MaxConnections: u32(n)}}
	}
	return b
}

func retryBudget(r mesh.Retry) *clusterv3.CircuitBreakers_Thresholds_RetryBudget {
	return &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
		BudgetPercent:       &typev3.Percent{Value: r.BudgetPercent},
		MinRetryConcurrency: u32(r.BudgetMinConcurrency),
	}
}

func limit(n uint32) *wrapperspb.UInt32Value {
	if n == 0 {
		n = math.MaxUint32
	}
	return u32(n)
}
