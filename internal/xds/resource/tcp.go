package resource

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	"meshlite.dev/internal/mesh"
)

const tcpFilter = "envoy.filters.network.tcp_proxy"

// upstreamTCPListener is a local port for a tcp service. What its policy says
// of idle time and connect attempts is read when the proxy starts; of a service
// not there yet, or not yet of this protocol, the built-in values count. Without
// an idle time Envoy would take an hour.
func upstreamTCPListener(p Profile, u Upstream) *listenerv3.Listener {
	proxy := &tcpv3.TcpProxy{
		StatPrefix:         "upstream_" + u.Service,
		ClusterSpecifier:   &tcpv3.TcpProxy_Cluster{Cluster: u.Service},
		IdleTimeout:        seconds(0),
		MaxConnectAttempts: u32(mesh.TCPConnectAttempts),
		AccessLog:          []*accesslogv3.AccessLog{tcpAccessLog(p, u)},
	}
	if u.Dest != nil && u.Dest.Protocol == mesh.TCP {
		proxy.IdleTimeout = seconds(u.Dest.Timeouts.Idle)
		proxy.MaxConnectAttempts = optionalU32(u.Dest.Retry.TCPConnectAttempts)
	}
	return listener(mesh.UpstreamListener(u.Service, u.Port), u.Port, tcpFilter, proxy)
}
