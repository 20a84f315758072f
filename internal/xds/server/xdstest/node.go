package xdstest

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// Node is what `meshctl proxy bootstrap` makes an Envoy say of itself.
func Node(id, service string, upstreams ...string) *corev3.Node {
	ups := make([]any, len(upstreams))
	for i, u := range upstreams {
		ups[i] = map[string]any{"service": u, "port": 9001 + i}
	}
	own, err := structpb.NewStruct(map[string]any{"meshlite.dev": map[string]any{
		"outboundPort": 15001, "adminPort": 19000, "upstreams": ups,
	}})
	if err != nil {
		panic(err) // the map above is not JSON
	}
	return &corev3.Node{
		Id: id, Cluster: service, Metadata: own, UserAgentName: "envoy",
		UserAgentVersionType: &corev3.Node_UserAgentBuildVersion{UserAgentBuildVersion: &corev3.BuildVersion{
			Version: &typev3.SemanticVersion{MajorNumber: 1, MinorNumber: 40},
		}},
	}
}
