package bootstrap

import (
	"fmt"
	"net"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/mesh"
)

const (
	loopback = "127.0.0.1"
	// metadataKey is the field of the node's metadata that xds-server reads.
	metadataKey = "meshlite.dev"
)

// YAML returns the bootstrap. Call Validate first; its error is that of
// protobuf validation, or of c.XDSAddr.
func (c Config) YAML() ([]byte, error) {
	b, err := c.bootstrap()
	if err != nil {
		return nil, err
	}
	if err := b.ValidateAll(); err != nil {
		return nil, fmt.Errorf("make the bootstrap: %w", err)
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("write the bootstrap: %w", err)
	}
	out, err := yaml.JSONToYAML(text)
	if err != nil {
		return nil, fmt.Errorf("write the bootstrap: %w", err)
	}
	return out, nil
}

func (c Config) bootstrap() (*bootstrapv3.Bootstrap, error) {
	xds, err := c.xdsCluster()
	if err != nil {
		return nil, err
	}
	return &bootstrapv3.Bootstrap{
		Node:  c.node(),
		Admin: &bootstrapv3.Admin{Address: socket(loopback, c.AdminPort)},
		DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{
			AdsConfig: &corev3.ApiConfigSource{
				ApiType:                   corev3.ApiConfigSource_DELTA_GRPC,
				TransportApiVersion:       corev3.ApiVersion_V3,
				GrpcServices:              []*corev3.GrpcService{toServer()},
				SetNodeOnFirstMessageOnly: true,
			},
			LdsConfig: overADS(),
			CdsConfig: overADS(),
		},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{
			Clusters: []*clusterv3.Cluster{xds, localCluster(c.Service)},
			Secrets:  c.secrets(),
		},
		ClusterManager: &bootstrapv3.ClusterManager{
			LocalClusterName: mesh.LocalCluster,
			LoadStatsConfig: &corev3.ApiConfigSource{
				ApiType:             corev3.ApiConfigSource_GRPC,
				TransportApiVersion: corev3.ApiVersion_V3,
				GrpcServices:        []*corev3.GrpcService{toServer()},
			},
			// A worker makes a cluster when it is first called: a mesh has
			// many services and a caller uses few.
			EnableDeferredClusterCreation: true,
		},
		DeferredStatOptions: &bootstrapv3.Bootstrap_DeferredStatOptions{EnableDeferredCreationStats: true},
		StatsConfig:         c.stats(),
		OverloadManager:     overload(),
		LayeredRuntime:      runtime(),
	}, nil
}

// node is what xds-server knows of the sidecar.
func (c Config) node() *corev3.Node {
	own := map[string]*structpb.Value{
		"outboundPort": structpb.NewNumberValue(float64(c.OutboundPort)),
		"adminPort":    structpb.NewNumberValue(float64(c.AdminPort)),
	}
	if c.TLSCert != "" {
		own["certificate"] = structpb.NewBoolValue(true)
	}
	if len(c.Upstreams) > 0 {
		list := &structpb.ListValue{}
		for _, u := range c.Upstreams {
			one := map[string]*structpb.Value{
				"service": structpb.NewStringValue(u.Service),
				"port":    structpb.NewNumberValue(float64(u.Port)),
			}
			if u.TCP {
				one["protocol"] = structpb.NewStringValue(string(mesh.TCP))
			}
			list.Values = append(list.Values, structpb.NewStructValue(&structpb.Struct{Fields: one}))
		}
		own["upstreams"] = structpb.NewListValue(list)
	}
	if len(c.Labels) > 0 {
		labels := map[string]*structpb.Value{}
		for key, value := range c.Labels {
			labels[key] = structpb.NewStringValue(value)
		}
		own["labels"] = structpb.NewStructValue(&structpb.Struct{Fields: labels})
	}
	n := &corev3.Node{
		Id:      c.ID,
		Cluster: c.Service,
		Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
			metadataKey: structpb.NewStructValue(&structpb.Struct{Fields: own}),
		}},
	}
	if c.Region != "" || c.Zone != "" {
		n.Locality = &corev3.Locality{Region: c.Region, Zone: c.Zone}
	}
	return n
}

// localCluster is the proxy's own service: Envoy compares where its siblings
// stand with where it stands itself to prefer near instances, and needs the
// cluster at its start.
func localCluster(service string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 mesh.LocalCluster,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		ConnectTimeout:       durationpb.New(time.Second),
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{
			EdsConfig: overADS(), ServiceName: mesh.LocalAssignment(service),
		},
	}
}

// stats names the caller on every metric and leaves out eleven per service
// that count updates of route configurations.
func (c Config) stats() *metricsv3.StatsConfig {
	return &metricsv3.StatsConfig{
		StatsTags: []*metricsv3.TagSpecifier{
			{TagName: "mesh_service", TagValue: &metricsv3.TagSpecifier_FixedValue{FixedValue: c.Service}},
			{TagName: "mesh_instance", TagValue: &metricsv3.TagSpecifier_FixedValue{FixedValue: c.ID}},
		},
		StatsMatcher: &metricsv3.StatsMatcher{StatsMatcher: &metricsv3.StatsMatcher_ExclusionList{
			ExclusionList: &matcherv3.ListStringMatcher{Patterns: []*matcherv3.StringMatcher{{
				MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: `.*\.rds\..*`}},
			}}},
		}},
	}
}

func toServer() *corev3.GrpcService {
	return &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
		EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: mesh.XDSCluster},
	}}
}

func overADS() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

func socket(host string, port uint16) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

func isIP(host string) bool { return net.ParseIP(host) != nil }
