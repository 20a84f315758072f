package dump_test

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"meshlite.dev/internal/xds/dump"
	"meshlite.dev/internal/xds/resource"
)

func clusterBody(t *testing.T, name string) []byte {
	t.Helper()
	return marshal(t, &clusterv3.Cluster{Name: name, ConnectTimeout: durationpb.New(5e9)})
}

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestJSONHasEnvoysFieldNamesAndIsStable(t *testing.T) {
	for range 20 {
		got, err := dump.JSON(resource.ClusterType, clusterBody(t, "orders"))
		if err != nil {
			t.Fatal(err)
		}
		if want := `{"name":"orders","connect_timeout":"5s"}`; string(got) != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
}

func TestJSONShowsNoSecret(t *testing.T) {
	text := func(s string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
	}
	socket, err := anypb.New(&tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{{
		CertificateChain: text("the-chain"), PrivateKey: text("hush"),
		Password: &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte("hush")}},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := dump.JSON(resource.ClusterType, marshal(t, &clusterv3.Cluster{
		Name: "orders", TransportSocket: &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: socket}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	if s := string(got); strings.Contains(s, "hush") || strings.Contains(s, "aHVzaA") || !strings.Contains(s, dump.Redacted) || !strings.Contains(s, "the-chain") {
		t.Fatalf("got %s; want the key and its password redacted, and the chain shown", s)
	}
}

func TestJSONSaysWhatItCannotRead(t *testing.T) {
	for _, tc := range []struct {
		name, typeURL string
		body          []byte
	}{
		{"an unknown type", "type.googleapis.com/no.such.Type", []byte{1}},
		{"a broken body", resource.ClusterType, []byte{0xff}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, err := dump.JSON(tc.typeURL, tc.body); err == nil {
				t.Fatalf("got %s, want an error", got)
			}
		})
	}
	if got, err := dump.JSON(resource.ClusterType, nil); got != nil || err != nil {
		t.Fatalf("no body gives %s, %v; want nothing", got, err)
	}
}
