package resource

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	mutationrulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	"google.golang.org/protobuf/proto"

	"meshlite.dev/internal/mesh"
)

const (
	hcmFilter    = "envoy.filters.network.http_connection_manager"
	routerFilter = "envoy.filters.http.router"
	loopback     = "127.0.0.1"
	// hostHeader carries the scope key where requests may leave the mesh: a
	// filter then points it to the scope of everything else.
	hostHeader = "x-mesh-host"
)

// outbound is the listener that takes a service's calls by Host. Its scoped
// routes must stay the same for ever: Envoy loses every scope when they
// change (docs/adr/0002-scoped-routes.md).
func outbound(cfg Config, p Profile) *listenerv3.Listener {
	m := connectionManager(p, "outbound", outboundFilters(cfg))
	key := ":authority"
	if cfg.Egress == Passthrough {
		key = hostHeader
		m.EarlyHeaderMutationExtensions = []*corev3.TypedExtensionConfig{copyHost()}
	}
	m.RouteSpecifier = &hcmv3.HttpConnectionManager_ScopedRoutes{ScopedRoutes: &hcmv3.ScopedRoutes{
		Name:            "mesh",
		RdsConfigSource: overADS(),
		ScopeKeyBuilder: &hcmv3.ScopedRoutes_ScopeKeyBuilder{Fragments: []*hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder{{
			Type: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_{
				HeaderValueExtractor: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor{
					Name: key, ElementSeparator: ":",
					ExtractType: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index{Index: 0},
				},
			},
		}}},
		ConfigSpecifier: &hcmv3.ScopedRoutes_ScopedRds{ScopedRds: &hcmv3.ScopedRds{ScopedRdsConfigSource: overADS()}},
	}}
	return listener(mesh.OutboundListener, p.OutboundPort, hcmFilter, m)
}

// upstreamHTTPListener is a local port for one service, on the very route
// configuration that its host names use.
func upstreamHTTPListener(p Profile, u Upstream) *listenerv3.Listener {
	m := connectionManager(p, "upstream_"+u.Service, routeFilters())
	m.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: u.Service, ConfigSource: overADS()}}
	return listener(mesh.UpstreamListener(u.Service, u.Port), u.Port, hcmFilter, m)
}

func connectionManager(p Profile, stats string, filters []*hcmv3.HttpFilter) *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		StatPrefix:  stats,
		HttpFilters: filters,
		AccessLog:   []*accesslogv3.AccessLog{httpAccessLog(p)},
		UpgradeConfigs: []*hcmv3.HttpConnectionManager_UpgradeConfig{{
			UpgradeType: "websocket",
		}},
		StripTrailingHostDot:       true,
		LocalReplyConfig:           localReplies(),
		ServerHeaderTransformation: hcmv3.HttpConnectionManager_PASS_THROUGH,
		SkipXffAppend:              true, // a sidecar is no hop of its own
		PreserveExternalRequestId:  true,
	}
}

func outboundFilters(cfg Config) []*hcmv3.HttpFilter {
	if cfg.Egress == Passthrough {
		return append([]*hcmv3.HttpFilter{lua(passthroughScript)}, routeFilters(httpFilter(forwardFilter, forwardProxy()))...)
	}
	return append([]*hcmv3.HttpFilter{lua(lowerCaseScript)}, routeFilters()...)
}

// routeFilters are those that a route sets up, in their order, with more before
// the last: a call that its bucket has no token for meets no fault.
func routeFilters(more ...*hcmv3.HttpFilter) []*hcmv3.HttpFilter {
	fs := []*hcmv3.HttpFilter{httpFilter(rateLimitFilter, noLimit()), httpFilter(faultFilter, noFault())}
	return append(append(fs, more...), router())
}

func router() *hcmv3.HttpFilter { return httpFilter(routerFilter, &routerv3.Router{}) }

func httpFilter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(config)}}
}

// listener stands on loopback: the caller is beside the proxy.
func listener(name string, port uint32, filter string, config proto.Message) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name:             name,
		Address:          socket(loopback, port),
		TrafficDirection: corev3.TrafficDirection_OUTBOUND,
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: filter, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(config)},
		}}}},
	}
}

func copyHost() *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{
		Name: "envoy.http.early_header_mutation.header_mutation",
		TypedConfig: pack(&mutationv3.HeaderMutation{Mutations: []*mutationrulesv3.HeaderMutation{{
			Action: &mutationrulesv3.HeaderMutation_Append{Append: header(hostHeader, "%REQ(:authority)%")},
		}}}),
	}
}
