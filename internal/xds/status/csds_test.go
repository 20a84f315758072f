package status_test

import (
	"net"
	"testing"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/internal/xds/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func clusterBody(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(&clusterv3.Cluster{Name: name, ConnectTimeout: durationpb.New(5e9)})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// ledger is a stream server with a fixed content.
type ledger struct {
	proxies   []server.Proxy
	resources map[string][]server.ResourceState
}

func (l ledger) Proxies() []server.Proxy { return l.proxies }

func (l ledger) Resources(id string) ([]server.ResourceState, bool) {
	rs, ok := l.resources[id]
	return rs, ok
}

func serve(t *testing.T, src status.Source) statusv3.ClientStatusDiscoveryServiceClient {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	status.New(src).Register(g)
	done := make(chan error, 1)
	go func() { done <- g.Serve(lis) }()
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		g.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return statusv3.NewClientStatusDiscoveryServiceClient(conn)
}

func exactly(id string) []*matcherv3.NodeMatcher {
	return matching(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: id}})
}

func matching(m *matcherv3.StringMatcher) []*matcherv3.NodeMatcher {
	return []*matcherv3.NodeMatcher{{NodeId: m}}
}

var at = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestEveryStateOfAResourceIsTold(t *testing.T) {
	good, bad := clusterBody(t, "orders"), clusterBody(t, "orders-new")
	src := ledger{
		proxies: []server.Proxy{{Node: server.Node{ID: "web-1", Service: "web", Envoy: "1.40.0", Region: "r1", Zone: "z1"}, Connected: true}},
		resources: map[string][]server.ResourceState{"web-1": {
			{Type: resource.ClusterType, Name: "a", Status: server.Synced, Acked: "v1", Body: good, Wanted: "v1", WantedBody: good, At: at},
			{Type: resource.ClusterType, Name: "b", Status: server.Error, Acked: "v1", Body: good, Wanted: "v2", WantedBody: bad, Message: "missing ): a(b", At: at},
			{Type: resource.ClusterType, Name: "c", Status: server.Stale, Wanted: "v1", WantedBody: good},
			{Type: resource.ClusterType, Name: "d", Status: server.NotSent, Wanted: "v1", WantedBody: good},
		}},
	}
	client := serve(t, src)
	got, err := client.FetchClientStatus(t.Context(), &statusv3.ClientStatusRequest{NodeMatchers: exactly("web-1")})
	if err != nil {
		t.Fatal(err)
	}
	when := timestamppb.New(at)
	body := func(b []byte) *anypb.Any { return &anypb.Any{TypeUrl: resource.ClusterType, Value: b} }
	want := &statusv3.ClientStatusResponse{Config: []*statusv3.ClientConfig{{
		Node: &corev3.Node{Id: "web-1", Cluster: "web", UserAgentName: "envoy", Locality: &corev3.Locality{Region: "r1", Zone: "z1"},
			UserAgentVersionType: &corev3.Node_UserAgentVersion{UserAgentVersion: "1.40.0"}},
		GenericXdsConfigs: []*statusv3.ClientConfig_GenericXdsConfig{
			{TypeUrl: resource.ClusterType, Name: "a", VersionInfo: "v1", LastUpdated: when, XdsConfig: body(good),
				ConfigStatus: statusv3.ConfigStatus_SYNCED, ClientStatus: adminv3.ClientResourceStatus_ACKED},
			{TypeUrl: resource.ClusterType, Name: "b", VersionInfo: "v1", LastUpdated: when, XdsConfig: body(good),
				ConfigStatus: statusv3.ConfigStatus_ERROR, ClientStatus: adminv3.ClientResourceStatus_NACKED,
				ErrorState: &adminv3.UpdateFailureState{Details: "missing ): a(b", VersionInfo: "v2", LastUpdateAttempt: when, FailedConfiguration: body(bad)}},
			{TypeUrl: resource.ClusterType, Name: "c", ConfigStatus: statusv3.ConfigStatus_STALE, ClientStatus: adminv3.ClientResourceStatus_REQUESTED},
			{TypeUrl: resource.ClusterType, Name: "d", ConfigStatus: statusv3.ConfigStatus_NOT_SENT, ClientStatus: adminv3.ClientResourceStatus_UNKNOWN},
		},
	}}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}

	bare, err := client.FetchClientStatus(t.Context(), &statusv3.ClientStatusRequest{NodeMatchers: exactly("web-1"), ExcludeResourceContents: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range bare.GetConfig()[0].GetGenericXdsConfigs() {
		if g.GetXdsConfig() != nil || g.GetErrorState().GetFailedConfiguration() != nil {
			t.Errorf("%s: contents are there though they were excluded", g.GetName())
		}
	}
}

func TestNodeMatchers(t *testing.T) {
	src := ledger{resources: map[string][]server.ResourceState{}}
	for _, id := range []string{"web-1", "web-2", "pay-1"} {
		src.proxies = append(src.proxies, server.Proxy{Node: server.Node{ID: id}, Connected: true})
		src.resources[id] = nil
	}
	src.proxies = append(src.proxies, server.Proxy{Node: server.Node{ID: "gone-1"}})
	client := serve(t, src)
	both := append(exactly("web-1"), exactly("pay-1")...)
	for _, tc := range []struct {
		name string
		in   []*matcherv3.NodeMatcher
		want []string
		code codes.Code
	}{
		{name: "none: every connected proxy", want: []string{"web-1", "web-2", "pay-1"}},
		{name: "an exact id", in: exactly("web-2"), want: []string{"web-2"}},
		{name: "any of several", in: both, want: []string{"web-1", "pay-1"}},
		{name: "an id that nobody has", in: exactly("x")},
		{name: "a prefix", in: matching(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "web-"}}), want: []string{"web-1", "web-2"}},
		{name: "a suffix, whatever its case", in: matching(&matcherv3.StringMatcher{IgnoreCase: true, MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: "Y-1"}}), want: []string{"pay-1"}},
		{name: "a part", in: matching(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: "b-"}}), want: []string{"web-1", "web-2"}},
		{name: "an expression for the whole id", in: matching(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "web|pay-."}}}), want: []string{"pay-1"}},
		{name: "a broken expression is refused", in: matching(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "("}}}), code: codes.InvalidArgument},
		{name: "an empty pattern is refused", in: matching(&matcherv3.StringMatcher{}), code: codes.InvalidArgument},
		{name: "metadata is refused, not ignored", in: []*matcherv3.NodeMatcher{{NodeMetadatas: []*matcherv3.StructMatcher{{}}}}, code: codes.Unimplemented},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := client.FetchClientStatus(t.Context(), &statusv3.ClientStatusRequest{NodeMatchers: tc.in})
			if grpcstatus.Code(err) != tc.code {
				t.Fatalf("err = %v, want %v", err, tc.code)
			}
			var ids []string
			for _, c := range got.GetConfig() {
				ids = append(ids, c.GetNode().GetId())
			}
			if diff := cmp.Diff(tc.want, ids); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAStreamAnswersEachRequest(t *testing.T) {
	client := serve(t, ledger{
		proxies:   []server.Proxy{{Node: server.Node{ID: "web-1"}, Connected: true}},
		resources: map[string][]server.ResourceState{"web-1": nil},
	})
	stream, err := client.StreamClientStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := stream.Send(&statusv3.ClientStatusRequest{}); err != nil {
			t.Fatal(err)
		}
		if got, err := stream.Recv(); err != nil || len(got.GetConfig()) != 1 {
			t.Fatalf("got %v, %v", got, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
}

func TestAnAnswerThatIsTooLargeSaysWhatToDo(t *testing.T) {
	large := make([]byte, 1<<20)
	rs := make([]server.ResourceState, 60)
	for i := range rs {
		rs[i] = server.ResourceState{Type: resource.ClusterType, Status: server.Synced, Body: large}
	}
	client := serve(t, ledger{
		proxies:   []server.Proxy{{Node: server.Node{ID: "web-1"}, Connected: true}},
		resources: map[string][]server.ResourceState{"web-1": rs},
	})
	if _, err := client.FetchClientStatus(t.Context(), &statusv3.ClientStatusRequest{}); grpcstatus.Code(err) != codes.ResourceExhausted {
		t.Fatalf("err = %v, want ResourceExhausted", err)
	}
	if _, err := client.FetchClientStatus(t.Context(), &statusv3.ClientStatusRequest{ExcludeResourceContents: true}); err != nil {
		t.Fatalf("without contents: %v", err)
	}
}
