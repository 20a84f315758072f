package resource_test

import (
	"bytes"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/resource"
)

func serverAt(port uint32) []mesh.Endpoint {
	return []mesh.Endpoint{{Address: "10.0.0.7", Port: port, Weight: 1}}
}

// reserved returns the cluster of events.mesh as made, its TLS context, and the
// ports of its servers in clear text and by TLS.
func reserved(t *testing.T, s resource.Servers) (r *resource.Resource, up *tlsv3.UpstreamTlsContext, plain, secure []uint32) {
	t.Helper()
	set := resource.Reserved(resource.Config{}, mesh.EventsHost, s)
	if len(set.Faults) > 0 || len(set.Resources) != 4 {
		t.Fatalf("%+v", set)
	}
	for _, one := range set.Resources {
		switch one.Type {
		case resource.ClusterType:
			r, up = one, contextOf(t, one.Body)
		case resource.EndpointType:
			e := &endpointv3.ClusterLoadAssignment{}
			if err := proto.Unmarshal(one.Body, e); err != nil {
				t.Fatal(err)
			}
			for _, group := range e.GetEndpoints() {
				for _, lb := range group.GetLbEndpoints() {
					port := lb.GetEndpoint().GetAddress().GetSocketAddress().GetPortValue()
					if lb.GetMetadata().GetFilterMetadata()["envoy.transport_socket_match"].GetFields()["tls"].GetBoolValue() {
						secure = append(secure, port)
					} else {
						plain = append(plain, port)
					}
				}
			}
		}
	}
	return r, up, plain, secure
}

func contextOf(t *testing.T, body []byte) *tlsv3.UpstreamTlsContext {
	t.Helper()
	c := &clusterv3.Cluster{}
	if err := proto.Unmarshal(body, c); err != nil {
		t.Fatal(err)
	}
	if len(c.GetTransportSocketMatches()) == 0 {
		return nil
	}
	up := &tlsv3.UpstreamTlsContext{}
	if err := c.GetTransportSocketMatches()[0].GetTransportSocket().GetTypedConfig().UnmarshalTo(up); err != nil {
		t.Fatal(err)
	}
	return up
}

func TestServersOfAReservedHostAreProvedByItsName(t *testing.T) {
	cluster, up, plain, secure := reserved(t, resource.Servers{Plain: serverAt(1), TLS: serverAt(2), CA: []byte("the authority")})
	if len(plain) != 1 || plain[0] != 1 || len(secure) != 1 || secure[0] != 2 {
		t.Errorf("in clear text %v, by TLS %v", plain, secure)
	}
	known := up.GetCommonTlsContext().GetValidationContext()
	if string(known.GetTrustedCa().GetInlineBytes()) != "the authority" || up.GetSni() != mesh.EventsHost ||
		known.GetMatchTypedSubjectAltNames()[0].GetMatcher().GetExact() != mesh.EventsHost {
		t.Errorf("%v", up)
	}
	if own := up.GetCommonTlsContext().GetTlsCertificateSdsSecretConfigs(); len(own) != 1 || own[0].GetName() != mesh.ClientSecret || own[0].GetSdsConfig() != nil || !cluster.Certified {
		t.Errorf("the proxy's own certificate: %v, %v", own, cluster.Certified)
	}
	// A proxy that has none gets all but that.
	bare := contextOf(t, resource.Uncertified().Body(cluster.Type, cluster.Body))
	up.CommonTlsContext.TlsCertificateSdsSecretConfigs = nil
	if !proto.Equal(bare, up) {
		t.Errorf("without a certificate: %v", bare)
	}
}

func TestServersThatNothingProvesAreLeftOut(t *testing.T) {
	cluster, up, plain, secure := reserved(t, resource.Servers{Plain: serverAt(1), TLS: serverAt(2)})
	if up != nil || cluster.Certified || len(plain) != 1 || plain[0] != 1 || len(secure) != 0 {
		t.Errorf("%v: in clear text %v, by TLS %v", up, plain, secure)
	}
	_, _, plain, secure = reserved(t, resource.Servers{TLS: serverAt(2), CA: []byte("the authority")})
	if len(plain) != 0 || len(secure) != 1 {
		t.Errorf("in clear text %v, by TLS %v", plain, secure)
	}
}

func TestWhoServesDoesNotChangeTheCluster(t *testing.T) {
	ca := []byte(strings.Repeat("x", 100))
	one, _, _, _ := reserved(t, resource.Servers{Plain: serverAt(1), CA: ca})
	other, _, _, _ := reserved(t, resource.Servers{TLS: serverAt(2), CA: ca})
	if !bytes.Equal(one.Body, other.Body) {
		t.Error("connections are reset by a server that comes or goes")
	}
}
