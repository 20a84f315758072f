package resource_test

import (
	"bytes"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/resource"
)

func packed(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	out, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A field is taken from wherever it stands: below lists, in maps, in packed
// messages; everything else stays.
func TestAnOldEnvoyDoesNotGetWhatItDoesNotKnow(t *testing.T) {
	routes := func(number *wrapperspb.UInt32Value, bytes *wrapperspb.UInt32Value) *routev3.RouteConfiguration {
		return &routev3.RouteConfiguration{Name: "orders", VirtualHosts: []*routev3.VirtualHost{{
			Name: "orders", RetryPolicy: &routev3.RetryPolicy{RetryOn: "5xx", NumRetries: number},
			Routes: []*routev3.Route{{Name: "all", Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				RetryPolicy: &routev3.RetryPolicy{NumRetries: number, PerTryTimeout: durationpb.New(time.Second)},
			}}}},
			TypedPerFilterConfig: map[string]*anypb.Any{"buffer": packed(t, &bufferv3.BufferPerRoute{Override: &bufferv3.BufferPerRoute_Buffer{Buffer: &bufferv3.Buffer{MaxRequestBytes: bytes}}})},
		}}}
	}
	body, err := proto.Marshal(routes(wrapperspb.UInt32(3), wrapperspb.UInt32(9)))
	if err != nil {
		t.Fatal(err)
	}
	table := []mesh.Capability{
		{Since: "1.38", Message: "envoy.config.route.v3.RetryPolicy", Field: "num_retries"},
		{Since: "1.39", Message: "envoy.extensions.filters.http.buffer.v3.Buffer", Field: "max_request_bytes"},
		{Since: "1.41", Kind: "ResiliencePolicy", Path: "retry"}, // nothing is sent of it
	}
	for _, tc := range []struct {
		build string
		want  *routev3.RouteConfiguration
	}{
		{"1.37.3", routes(nil, nil)},
		{"1.38.0", routes(wrapperspb.UInt32(3), nil)},
		{"1.39.0", routes(wrapperspb.UInt32(3), wrapperspb.UInt32(9))},
		{"1.40.0", routes(wrapperspb.UInt32(3), wrapperspb.UInt32(9))},
		{"", routes(wrapperspb.UInt32(3), wrapperspb.UInt32(9))},
	} {
		got := &routev3.RouteConfiguration{}
		if err := proto.Unmarshal(resource.NewTrimmer(tc.build, table).Body(resource.RouteType, body), got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got, tc.want) {
			t.Errorf("Envoy %q gets %v, want %v", tc.build, got, tc.want)
		}
	}
}

func TestATrimmerLeavesAloneWhatItCannotRead(t *testing.T) {
	table := []mesh.Capability{{Since: "2.0", Message: "envoy.config.cluster.v3.Cluster", Field: "alt_stat_name"}}
	trim := resource.NewTrimmer("1.40.0", table)
	plain, err := proto.Marshal(&clusterv3.Cluster{Name: "orders", Metadata: &corev3.Metadata{TypedFilterMetadata: map[string]*anypb.Any{"x": {TypeUrl: "type.googleapis.com/not.Known", Value: []byte("x")}}}})
	if err != nil {
		t.Fatal(err)
	}
	for typeURL, body := range map[string][]byte{resource.ClusterType: plain, resource.RouteType: {0xff}, "type.googleapis.com/not.Known": []byte("x")} {
		if got := trim.Body(typeURL, body); !bytes.Equal(got, body) {
			t.Errorf("%s: %q became %q", typeURL, body, got)
		}
	}
	for _, build := range []string{"1.36.0", "1.40.0", "unknown"} {
		if resource.NewTrimmer(build, mesh.Capabilities()) != nil {
			t.Errorf("something is kept from a supported Envoy, %s", build)
		}
	}
}
