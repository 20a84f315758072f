package resource

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"meshlite.dev/internal/mesh"
)

// healthChecks is Envoy's own probe, beside the catalog's word: an endpoint
// must be healthy for both. Every caller's proxy probes, so the interval is
// spread by a tenth.
func healthChecks(d *mesh.Destination) []*corev3.HealthCheck {
	h := d.HealthCheck
	if h == nil {
		return nil
	}
	c := &corev3.HealthCheck{
		Timeout:            seconds(h.Timeout),
		Interval:           seconds(h.Interval),
		IntervalJitter:     seconds(h.Interval / 10),
		UnhealthyThreshold: u32(h.UnhealthyAfter),
		HealthyThreshold:   u32(h.HealthyAfter),
		// Without traffic Envoy would look once a minute: a service that is
		// rarely called would be found out by its callers.
		NoTrafficInterval: seconds(max(h.Interval, time.Second)),
	}
	switch h.Type {
	case mesh.HealthCheckGRPC:
		c.HealthChecker = &corev3.HealthCheck_GrpcHealthCheck_{GrpcHealthCheck: &corev3.HealthCheck_GrpcHealthCheck{}}
	case mesh.HealthCheckTCP:
		c.HealthChecker = &corev3.HealthCheck_TcpHealthCheck_{TcpHealthCheck: &corev3.HealthCheck_TcpHealthCheck{}}
	default:
		check := &corev3.HealthCheck_HttpHealthCheck{Path: h.Path}
		if d.Protocol == mesh.HTTP2 || d.Protocol == mesh.GRPC {
			check.CodecClientType = typev3.CodecClientType_HTTP2
		}
		c.HealthChecker = &corev3.HealthCheck_HttpHealthCheck_{HttpHealthCheck: check}
	}
	return []*corev3.HealthCheck{c}
}
