package resource

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"meshlite.dev/internal/mesh"
)

// Servers answer for a reserved host.
type Servers struct {
	Plain []mesh.Endpoint // in clear text
	TLS   []mesh.Endpoint // left out without CA: nothing would prove them
	CA    []byte          // PEM: whose certificates for the host prove those of TLS
}

// Reserved makes a host that xds-server itself answers for, such as
// mesh.TransactionsHost: calls go to the servers, for as long as an answer takes.
// What a server has surely not seen is tried on again, for a second or so: another
// replica may be about to take over.
func Reserved(cfg Config, host string, servers Servers) Set {
	name := mesh.ReservedCluster(host)
	b := maker{cfg: cfg, set: Set{Service: name}}
	retry := mesh.Retry{Attempts: 5, BackoffBase: 50 * time.Millisecond, BackoffMax: 500 * time.Millisecond}
	b.add(Resource{Type: ClusterType, Name: name, Certified: len(servers.CA) > 0}, &clusterv3.Cluster{
		Name:                      name,
		ClusterDiscoveryType:      &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:          &clusterv3.Cluster_EdsClusterConfig{EdsConfig: overADS()},
		ConnectTimeout:            seconds(time.Second),
		IgnoreHealthOnHostRemoval: true,
		TransportSocketMatches:    servers.sockets(host),
		Metadata:                  metadata(name, mesh.DocumentRef{}, nil),
	})
	b.add(Resource{Type: EndpointType, Name: name}, servers.assignment(name))
	b.add(Resource{Type: ScopedRouteType, Name: host, Refs: []Ref{{RouteType, name}}}, scope(host, name))
	b.add(Resource{Type: RouteType, Name: name, Refs: []Ref{{ClusterType, name}}}, configuration(cfg, name, &routev3.Route{
		Name: name, Match: everything(),
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: name},
			Timeout:          seconds(0), // the server has its own
			RetryPolicy:      retryPolicy(retry, false),
		}},
		Metadata: metadata(name, mesh.DocumentRef{}, nil),
	}))
	return b.done()
}

// byTLS marks the endpoints that are spoken to by TLS; the others get clear text.
func byTLS() *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{"tls": structpb.NewBoolValue(true)}}
}

// sockets leave the choice to each endpoint, since replicas take to TLS one after
// the other. What is asked of a server's certificate is the host, not an address:
// whoever answers for the host may stand anywhere.
// https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/cluster/v3/cluster.proto#config-cluster-v3-cluster-transportsocketmatch
func (s Servers) sockets(host string) []*clusterv3.Cluster_TransportSocketMatch {
	if len(s.CA) == 0 {
		return nil
	}
	return []*clusterv3.Cluster_TransportSocketMatch{{
		Name: "tls", Match: byTLS(),
		TransportSocket: &corev3.TransportSocket{
			Name: "envoy.transport_sockets.tls",
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&tlsv3.UpstreamTlsContext{
				Sni: host,
				CommonTlsContext: &tlsv3.CommonTlsContext{
					TlsParams: &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3},
					// Without a source it is one of the bootstrap's.
					TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: mesh.ClientSecret}},
					ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
						TrustedCa: &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: s.CA}},
						MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{
							SanType: tlsv3.SubjectAltNameMatcher_DNS,
							Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: host}},
						}},
					}},
				},
			})},
		},
	}}
}

func (s Servers) assignment(name string) *endpointv3.ClusterLoadAssignment {
	out := assignment(name, s.Plain, true)
	if len(s.CA) == 0 || len(s.TLS) == 0 {
		return out
	}
	secure := assignment(name, s.TLS, true)
	for _, group := range secure.Endpoints {
		for _, e := range group.LbEndpoints {
			e.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.transport_socket_match": byTLS()}}
		}
	}
	if len(out.Endpoints) == 0 {
		return secure
	}
	// None has a locality, so that each half is one group.
	out.Endpoints[0].LbEndpoints = append(out.Endpoints[0].LbEndpoints, secure.Endpoints[0].LbEndpoints...)
	return out
}
