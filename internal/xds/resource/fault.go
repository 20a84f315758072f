package resource

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"meshlite.dev/internal/mesh"
)

const faultFilter = "envoy.filters.http.fault"

const million = 1_000_000

// millionths of all requests, as Envoy takes them.
func millionths(n uint32) *typev3.FractionalPercent {
	return &typev3.FractionalPercent{Numerator: min(n, million), Denominator: typev3.FractionalPercent_MILLION}
}

// fault is what a rule injects; nil when it injects nothing.
func fault(f *mesh.Fault) *faultv3.HTTPFault {
	if f == nil || f.DelayMillionths == 0 && f.AbortMillionths == 0 {
		return nil
	}
	out := noFault()
	if f.DelayMillionths > 0 {
		out.Delay = &commonfaultv3.FaultDelay{
			FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{FixedDelay: seconds(f.Delay)},
			Percentage:         millionths(f.DelayMillionths),
		}
	}
	if f.AbortMillionths > 0 {
		out.Abort = &faultv3.FaultAbort{Percentage: millionths(f.AbortMillionths)}
		if f.AbortGRPC != 0 {
			out.Abort.ErrorType = &faultv3.FaultAbort_GrpcStatus{GrpcStatus: f.AbortGRPC}
		} else {
			out.Abort.ErrorType = &faultv3.FaultAbort_HttpStatus{HttpStatus: f.AbortStatus}
		}
	}
	return out
}

// noFault is the filter where no route gives it one. Statistics by the caller's
// word would be without bound.
func noFault() *faultv3.HTTPFault { return &faultv3.HTTPFault{DisableDownstreamClusterStats: true} }

// copied reports whether a mirror gets anything.
func copied(m mesh.Mirror) bool { return m.State == mesh.Known && m.Millionths > 0 }

// mirrors send copies as they are: without Envoy's "-shadow" behind the host.
func mirrors(ms []mesh.Mirror) []*routev3.RouteAction_RequestMirrorPolicy {
	var out []*routev3.RouteAction_RequestMirrorPolicy
	for _, m := range ms {
		if !copied(m) {
			continue
		}
		out = append(out, &routev3.RouteAction_RequestMirrorPolicy{
			Cluster:                       m.Cluster(),
			RuntimeFraction:               &corev3.RuntimeFractionalPercent{DefaultValue: millionths(m.Millionths)},
			DisableShadowHostSuffixAppend: true,
		})
	}
	return out
}
