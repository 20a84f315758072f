package resource

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"meshlite.dev/internal/mesh"
)

// ReasonHeader says why Envoy itself answered.
const ReasonHeader = "x-mesh-reason"

// UnknownUpstream is the route configuration of a local port whose service the
// catalog does not know (yet): left out, it would hold up the proxy's start.
func UnknownUpstream(service string) *Resource {
	rc := answer(Config{}, service, 503, "unknown-upstream service="+service, "the catalog has no service "+service)
	r, fault := seal(Config{}, Resource{Type: RouteType, Name: service, State: IfAbsent}, rc)
	if fault != nil {
		return nil // the name is not one that Envoy takes
	}
	return r
}

// routes is the route configuration of a service. Without rules it has the two
// routes of one that takes everything.
func routes(cfg Config, service string, d *mesh.Destination) *routev3.RouteConfiguration {
	all := rules(d)
	if len(all) == 0 {
		all = []mesh.Rule{{
			Backends:   []mesh.Backend{{Pool: mesh.Pool{Service: service}, Weight: 1}},
			Resilience: d.Effective, Hash: d.LoadBalancing.Hash,
		}}
	}
	var rs []*routev3.Route
	for i := range all {
		rs = append(rs, ruled(service, d, &all[i])...)
	}
	rc := configuration(cfg, service, rs...)
	if limits := buckets(service, d, all); limits != nil {
		// On the virtual host, so that the routes of a rule share one bucket.
		rc.VirtualHosts[0].TypedPerFilterConfig = map[string]*anypb.Any{rateLimitFilter: pack(limits)}
	}
	return rc
}

// configuration takes every domain: the scope has chosen already.
func configuration(cfg Config, service string, rs ...*routev3.Route) *routev3.RouteConfiguration {
	rc := &routev3.RouteConfiguration{
		Name:         service,
		VirtualHosts: []*routev3.VirtualHost{{Name: service, Domains: []string{"*"}, Routes: rs}},
	}
	if cfg.Egress == Passthrough {
		rc.RequestHeadersToRemove = []string{hostHeader}
	}
	return rc
}

// action is how requests are sent, wherever they go.
func action(protocol mesh.Protocol, e *mesh.Effective, hash []mesh.HashKey, retry *routev3.RetryPolicy) *routev3.RouteAction {
	a := &routev3.RouteAction{
		Timeout:     seconds(e.Timeouts.Request),
		IdleTimeout: seconds(e.Timeouts.StreamIdle),
		RetryPolicy: retry,
		HashPolicy:  hashPolicy(hash),
	}
	if e.Timeouts.MaxStreamDuration > 0 {
		a.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: seconds(e.Timeouts.MaxStreamDuration)}
	}
	if protocol == mesh.GRPC {
		a.Timeout = seconds(0) // a stream may last; grpc-timeout, the caller's word, counts
		if a.MaxStreamDuration == nil {
			a.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{}
		}
		a.MaxStreamDuration.GrpcTimeoutHeaderMax = durationpb.New(0) // as long as the caller says
	}
	return a
}

// decided names the documents behind each reason of a reply.
func decided(e *mesh.Effective) map[string]string {
	by := map[string]string{
		"limits":   e.LimitsBy.String(),
		"timeouts": e.TimeoutsBy.String(),
		"routed":   e.Route.String(),
		"cluster":  e.Cluster.String(),
	}
	if e.RateLimit != nil {
		by["limited"] = e.RateLimitBy.String()
	}
	return by
}

func header(key, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: key, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
