package bootstrap

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"meshlite.dev/internal/mesh"
)

// xdsCluster leads to the server. Keepalives find a dead one within 15 s.
func (c Config) xdsCluster() (*clusterv3.Cluster, error) {
	host, port, err := c.server()
	if err != nil {
		return nil, err
	}
	http2, err := pack(&httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{ConnectionKeepalive: &corev3.KeepaliveSettings{
						Interval: durationpb.New(10 * time.Second), Timeout: durationpb.New(5 * time.Second),
					}},
				},
			},
		},
	})
	if err != nil {
		return nil, err
	}
	kind := clusterv3.Cluster_STRICT_DNS
	if isIP(host) {
		kind = clusterv3.Cluster_STATIC
	}
	cluster := &clusterv3.Cluster{
		Name:                          mesh.XDSCluster,
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: kind},
		ConnectTimeout:                durationpb.New(time.Second),
		TypedExtensionProtocolOptions: map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
		UpstreamConnectionOptions: &clusterv3.UpstreamConnectionOptions{
			TcpKeepalive: &corev3.TcpKeepalive{KeepaliveTime: wrapperspb.UInt32(10)},
		},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: mesh.XDSCluster,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socket(host, port)}},
			}}}},
		},
	}
	if c.TLSCA == "" {
		return cluster, nil
	}
	cluster.TransportSocket, err = c.tls(host)
	return cluster, err
}

// tls proves the server by its CA and by the host that was asked for, and
// shows the sidecar's own certificate.
func (c Config) tls(host string) (*corev3.TransportSocket, error) {
	kind := tlsv3.SubjectAltNameMatcher_DNS
	if isIP(host) {
		kind = tlsv3.SubjectAltNameMatcher_IP_ADDRESS
	}
	common := &tlsv3.CommonTlsContext{
		TlsParams: &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3},
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa: file(c.TLSCA),
			MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{
				SanType: kind,
				Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: host}},
			}},
		}},
	}
	if c.TLSCert != "" {
		common.TlsCertificates = []*tlsv3.TlsCertificate{c.certificate()}
	}
	up := &tlsv3.UpstreamTlsContext{CommonTlsContext: common}
	if !isIP(host) {
		up.Sni = host
	}
	config, err := pack(up)
	if err != nil {
		return nil, err
	}
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: config},
	}, nil
}

func (c Config) certificate() *tlsv3.TlsCertificate {
	return &tlsv3.TlsCertificate{CertificateChain: file(c.TLSCert), PrivateKey: file(c.TLSKey)}
}

// secrets hold what clusters that the server sends name and cannot know: where
// the sidecar's own certificate is.
func (c Config) secrets() []*tlsv3.Secret {
	if c.TLSCert == "" {
		return nil
	}
	return []*tlsv3.Secret{{Name: mesh.ClientSecret, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: c.certificate()}}}
}

func file(path string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
}

func pack(m proto.Message) (*anypb.Any, error) { return anypb.New(m) }
