package resource_test

import (
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/resource"
)

// What Envoy would take of its own where nothing is said: an hour, and one attempt.
func TestATCPServiceThatIsNotThereYetHasTheBuiltInValues(t *testing.T) {
	speaksHTTP := &mesh.Destination{Protocol: mesh.HTTP1, Effective: &mesh.Effective{}}
	speaksHTTP.Timeouts.Idle = 60e9
	for _, dest := range []*mesh.Destination{nil, speaksHTTP} {
		rs, faults := resource.Listeners(resource.Config{}, resource.Profile{
			Service: "client", Upstreams: []resource.Upstream{{Service: "broker", Port: 5672, Protocol: mesh.TCP, Dest: dest}},
		})
		if len(rs) != 1 || faults != nil || rs[0].State != resource.IfAbsent {
			t.Fatalf("%+v %v", rs, faults)
		}
		var l listenerv3.Listener
		var proxy tcpv3.TcpProxy
		if err := proto.Unmarshal(rs[0].Body, &l); err != nil {
			t.Fatal(err)
		}
		if err := l.GetFilterChains()[0].GetFilters()[0].GetTypedConfig().UnmarshalTo(&proxy); err != nil {
			t.Fatal(err)
		}
		if proxy.GetIdleTimeout() == nil || proxy.GetIdleTimeout().AsDuration() != 0 || proxy.GetMaxConnectAttempts().GetValue() != mesh.TCPConnectAttempts || proxy.GetCluster() != "broker" {
			t.Errorf("%v", &proxy)
		}
	}
}
