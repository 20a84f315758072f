package server_test

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/internal/xds/server/xdstest"
)

func TestAProxyIsChosenByWhatItSaysOfItself(t *testing.T) {
	node := xdstest.Node("web-1", "web")
	node.Locality = &corev3.Locality{Region: "eu", Zone: "eu-1"}
	own := node.GetMetadata().GetFields()[server.MetadataKey].GetStructValue().GetFields()
	label := func(key, value string) {
		own["labels"] = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{key: structpb.NewStringValue(value)}})
	}
	label("canary", "yes")
	n, err := server.ParseNode(node)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"id": "web-1", "service": "web", "region": "eu", "zone": "eu-1", "envoy": "1.40.0", "canary": "yes", "other": "",
	} {
		if got := n.Label(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	label("zone", "eu-2")
	if _, err := server.ParseNode(node); err == nil || !strings.Contains(err.Error(), `labels: key "zone"`) {
		t.Errorf("a label by the name of the zone: %v", err)
	}
	label("canary", "yes")
	own["certificate"] = structpb.NewStringValue("yes")
	if _, err := server.ParseNode(node); err == nil || !strings.Contains(err.Error(), "certificate: must be true or false") {
		t.Errorf("a certificate that is a word: %v", err)
	}
	own["labels"] = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"n": structpb.NewNumberValue(1)}})
	if _, err := server.ParseNode(node); err == nil {
		t.Error("a label that is a number is taken")
	}
}

func TestAProxySaysThatAnUpstreamSpeaksTCP(t *testing.T) {
	node := xdstest.Node("web-1", "web", "orders", "broker")
	all := node.GetMetadata().GetFields()[server.MetadataKey].GetStructValue().GetFields()["upstreams"].GetListValue().GetValues()
	protocol := all[1].GetStructValue().GetFields()
	protocol["protocol"] = structpb.NewStringValue("tcp")
	n, err := server.ParseNode(node)
	if err != nil {
		t.Fatal(err)
	}
	catalog := func(string, string) (mesh.Protocol, *mesh.Destination) { return mesh.HTTP2, &mesh.Destination{} }
	for _, lookup := range []func(string, string) (mesh.Protocol, *mesh.Destination){nil, catalog} {
		ups := n.Profile(lookup).Upstreams
		if ups[0].Protocol == mesh.TCP || ups[1].Protocol != mesh.TCP || (ups[1].Dest == nil) != (lookup == nil) {
			t.Errorf("%+v", ups)
		}
	}
	protocol["protocol"] = structpb.NewStringValue("udp")
	if _, err := server.ParseNode(node); err == nil || !strings.Contains(err.Error(), `upstreams[1]: protocol is "udp"; use tcp`) {
		t.Errorf("ParseNode = %v", err)
	}
}
