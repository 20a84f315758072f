package resource

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"meshlite.dev/internal/mesh"
)

const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// cluster is a destination, or a subset of it, as one caller may use it. No
// field depends on the number or the health of endpoints, on the rules of a
// route, or on the generation of a document, which an edit of a timeout counts up
// too: a changed cluster closes its connections, apart from those of TCP in use, and
// forgets every ejection.
func cluster(service, subset string, d *mesh.Destination) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name:                 mesh.ClusterName(service, subset),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: overADS()},
		ConnectTimeout:       seconds(d.Timeouts.Connect),
		CircuitBreakers:      breakers(d),
		OutlierDetection:     outlier(d.Outlier),
		LoadBalancingPolicy:  balancer(d.LoadBalancing),
		HealthChecks:         healthChecks(d),
		CommonLbConfig:       panicking(d.Outlier),
		// An instance that leaves the catalog leaves at once, whatever an
		// active check still thinks of it.
		IgnoreHealthOnHostRemoval: true,
		Metadata:                  metadata(service, d.Cluster, nil),
	}
	if subset != "" {
		c.Metadata = metadata(service, d.Cluster, map[string]string{"subset": subset})
	}
	if k := d.Connection; k.TCPKeepaliveIdle+k.TCPKeepaliveInterval > 0 || k.TCPKeepaliveProbes > 0 {
		c.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
			KeepaliveTime:     optionalU32(uint32(k.TCPKeepaliveIdle.Seconds())),
			KeepaliveInterval: optionalU32(uint32(k.TCPKeepaliveInterval.Seconds())),
			KeepaliveProbes:   optionalU32(k.TCPKeepaliveProbes),
		}}
	}
	if d.Protocol.HTTP() {
		c.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptions: pack(upstreamHTTP(d))}
	}
	return c
}

// panicking says when health no longer counts.
func panicking(o mesh.OutlierDetection) *clusterv3.Cluster_CommonLbConfig {
	return &clusterv3.Cluster_CommonLbConfig{
		HealthyPanicThreshold: &typev3.Percent{Value: float64(o.PanicThresholdPercent)},
	}
}

func overADS() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

// upstreamHTTP says what is spoken to the instances: without TLS Envoy cannot
// find out by itself.
func upstreamHTTP(d *mesh.Destination) *httpv3.HttpProtocolOptions {
	common := &corev3.HttpProtocolOptions{
		IdleTimeout:              seconds(d.Timeouts.Idle), // 0 turns it off
		MaxRequestsPerConnection: optionalU32(d.Limits.RequestsPerConnection),
	}
	explicit := &httpv3.HttpProtocolOptions_ExplicitHttpConfig{}
	if d.Protocol == mesh.HTTP2 || d.Protocol == mesh.GRPC {
		explicit.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: http2(d.Connection)}
	} else {
		explicit.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}}
	}
	return &httpv3.HttpProtocolOptions{
		CommonHttpProtocolOptions: common,
		UpstreamProtocolOptions:   &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit},
	}
}

func http2(c mesh.Connection) *corev3.Http2ProtocolOptions {
	o := &corev3.Http2ProtocolOptions{MaxConcurrentStreams: optionalU32(c.HTTP2MaxConcurrentStreams)}
	if c.HTTP2KeepaliveInterval > 0 {
		timeout := c.HTTP2KeepaliveTimeout
		if timeout == 0 {
			timeout = c.HTTP2KeepaliveInterval // Envoy demands one
		}
		o.ConnectionKeepalive = &corev3.KeepaliveSettings{Interval: seconds(c.HTTP2KeepaliveInterval), Timeout: seconds(timeout)}
	}
	return o
}

// metadataKey is the filter metadata that access log and reasons read.
const metadataKey = "meshlite.dev"

// metadata names the service and the document that decides; more adds fields.
func metadata(service string, by mesh.DocumentRef, more map[string]string) *corev3.Metadata {
	fields := map[string]*structpb.Value{
		"service": structpb.NewStringValue(service),
		"policy":  structpb.NewStringValue(policyName(by)),
	}
	for k, v := range more {
		fields[k] = structpb.NewStringValue(v)
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{metadataKey: {Fields: fields}}}
}

// policyName is a document's label without its generation: "rp/default/orders".
func policyName(r mesh.DocumentRef) string {
	if r.IsDefault() {
		return mesh.DefaultPolicyName
	}
	return mesh.ShortKind(r.Kind) + "/" + r.Namespace + "/" + r.Name
}
