package resource

import (
	"math"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"meshlite.dev/internal/mesh"
)

// outlier ejects endpoints that keep failing. One host may always be ejected:
// otherwise 10 % of fewer than ten hosts is nobody.
func outlier(o mesh.OutlierDetection) *clusterv3.OutlierDetection {
	if o.Mode == mesh.OutlierDisabled {
		return nil
	}
	// enforcing is 0 in Monitor: what is detected is counted, nobody ejected.
	enforcing := func(on bool) *wrapperspb.UInt32Value {
		if on && o.Mode == mesh.OutlierEnforce {
			return u32(100)
		}
		return u32(0)
	}
	return &clusterv3.OutlierDetection{
		Interval:              seconds(o.Interval),
		BaseEjectionTime:      seconds(o.BaseEjectionTime),
		MaxEjectionTime:       seconds(o.MaxEjectionTime),
		MaxEjectionTimeJitter: seconds(o.MaxEjectionTimeJitter),
		MaxEjectionPercent:    u32(o.MaxEjectionPercent),
		AlwaysEjectOneHost:    yes(),

		Consecutive_5Xx:                    count(o.Consecutive5xx),
		EnforcingConsecutive_5Xx:           enforcing(o.Consecutive5xx > 0),
		ConsecutiveGatewayFailure:          count(o.ConsecutiveGatewayErrors),
		EnforcingConsecutiveGatewayFailure: enforcing(o.ConsecutiveGatewayErrors > 0),

		SplitExternalLocalOriginErrors:         o.SplitLocalOrigin,
		ConsecutiveLocalOriginFailure:          count(o.ConsecutiveLocalOrigin),
		EnforcingConsecutiveLocalOriginFailure: enforcing(o.ConsecutiveLocalOrigin > 0),
		EnforcingLocalOriginSuccessRate:        enforcing(o.SuccessRate && o.SplitLocalOrigin),

		EnforcingSuccessRate:     enforcing(o.SuccessRate),
		SuccessRateMinimumHosts:  u32(o.SuccessRateMinimumHosts),
		SuccessRateRequestVolume: u32(o.SuccessRateRequestVolume),
		SuccessRateStdevFactor:   u32(uint32(math.Round(o.SuccessRateStdevFactor * 1000))),

		EnforcingFailurePercentage:            enforcing(o.FailurePercentage),
		EnforcingFailurePercentageLocalOrigin: enforcing(o.FailurePercentage && o.SplitLocalOrigin),
		FailurePercentageThreshold:            u32(o.FailurePercentageThreshold),
		FailurePercentageMinimumHosts:         u32(o.FailurePercentageMinHosts),
		FailurePercentageRequestVolume:        u32(o.FailurePercentageVolume),
	}
}

// count of a check that is off stays at Envoy's own: it is not enforced, and
// 0 would mean that every answer is an outlier.
func count(n uint32) *wrapperspb.UInt32Value { return optionalU32(n) }
