package resource

import (
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
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

// routes is the route configuration of a service: two routes for its one
// rule, since methods that may be repeated and others have different retries.
func routes(cfg Config, service string, d *mesh.Destination) *routev3.RouteConfiguration {
	var rs []*routev3.Route
	if len(d.Retry.Methods) > 0 {
		safe := route(service, "idempotent", d, retryPolicy(d.Retry, true))
		safe.Match.Headers = []*routev3.HeaderMatcher{methodMatcher(d.Retry.Methods)}
		rs = append(rs, safe)
	}
	rs = append(rs, route(service, "rest", d, retryPolicy(d.Retry, false)))
	rc := configuration(cfg, service, rs...)
	if d.RateLimit != nil {
		// On the virtual host, so that both routes share one bucket.
		rc.VirtualHosts[0].TypedPerFilterConfig = map[string]*anypb.Any{rateLimitFilter: pack(bucket(service, d.RateLimit, d.RateLimitBy))}
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

func route(service, name string, d *mesh.Destination, retry *routev3.RetryPolicy) *routev3.Route {
	action := &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: service},
		Timeout:          seconds(d.Timeouts.Request),
		IdleTimeout:      seconds(d.Timeouts.StreamIdle),
		RetryPolicy:      retry,
		HashPolicy:       hashPolicy(d.LoadBalancing.Hash),
	}
	if d.Timeouts.MaxStreamDuration > 0 {
		action.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: seconds(d.Timeouts.MaxStreamDuration)}
	}
	if d.Protocol == mesh.GRPC {
		action.Timeout = seconds(0) // a stream may last; grpc-timeout, the caller's word, counts
		if action.MaxStreamDuration == nil {
			action.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{}
		}
		action.MaxStreamDuration.GrpcTimeoutHeaderMax = durationpb.New(0) // as long as the caller says
	}
	return &routev3.Route{
		Name:     service + "/" + name,
		Match:    everything(),
		Action:   &routev3.Route_Route{Route: action},
		Metadata: metadata(service, d.Route, decided(d)),
	}
}

// decided names the documents behind each reason of a reply.
func decided(d *mesh.Destination) map[string]string {
	return map[string]string{
		"limits":   d.LimitsBy.String(),
		"timeouts": d.TimeoutsBy.String(),
		"routed":   d.Route.String(),
		"cluster":  d.Cluster.String(),
	}
}

func everything() *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
}

func methodMatcher(methods []string) *routev3.HeaderMatcher {
	sorted := slices.Clone(methods)
	slices.Sort(sorted)
	return &routev3.HeaderMatcher{Name: ":method", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
		StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
			SafeRegex: &matcherv3.RegexMatcher{Regex: strings.Join(sorted, "|")},
		}},
	}}
}

// notSynced answers for a service that the catalog has not told about yet.
func notSynced(cfg Config, service string) *routev3.RouteConfiguration {
	return answer(cfg, service, 503, "not-synced service="+service, "the catalog has not answered for "+service+" yet")
}

// notHTTP answers for a service without a Host route.
func notHTTP(cfg Config, service string) *routev3.RouteConfiguration {
	return answer(cfg, service, 404, "tcp-service service="+service,
		fmt.Sprintf("%s speaks tcp: reach it by a local port of its own (--upstream %s=PORT)", service, service))
}

func answer(cfg Config, service string, code uint32, reason, body string) *routev3.RouteConfiguration {
	return configuration(cfg, service, &routev3.Route{
		Name:  service + "/" + strings.SplitN(reason, " ", 2)[0],
		Match: everything(),
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: code, Body: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: body}},
		}},
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{header(ReasonHeader, reason)},
		Metadata:             metadata(service, mesh.DocumentRef{}, nil),
	})
}

func header(key, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: key, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
