package load_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	loadv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"meshlite.dev/internal/xds/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dial serves cfg on loopback and returns the server and a client of it.
func dial(t *testing.T, cfg load.Config) (*load.Server, loadv3.LoadReportingServiceClient) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, g := load.New(cfg), grpc.NewServer()
	srv.Register(g)
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
	return srv, loadv3.NewLoadReportingServiceClient(conn)
}

// node is as large as Envoy's, which repeats it in every report.
func node(cluster string) *corev3.Node {
	n := &corev3.Node{Id: cluster + "-1", Cluster: cluster}
	for range 600 {
		n.Extensions = append(n.Extensions, &corev3.Extension{Name: strings.Repeat("x", 100)})
	}
	return n
}

func stats(name string, ok, failed, inProgress, dropped uint64) *endpointv3.ClusterStats {
	return &endpointv3.ClusterStats{
		ClusterName: name, TotalDroppedRequests: dropped, LoadReportInterval: durationpb.New(10 * time.Second),
		UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{
			{TotalSuccessfulRequests: ok, TotalErrorRequests: failed},
			{TotalRequestsInProgress: inProgress},
		},
	}
}

func TestReportsBecomeAGraph(t *testing.T) {
	srv, client := dial(t, load.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := client.StreamLoadStats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&loadv3.LoadStatsRequest{Node: node("web")}); err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if !answer.GetSendAllClusters() || answer.GetLoadReportingInterval().AsDuration() != 10*time.Second || answer.GetReportEndpointGranularity() {
		t.Fatalf("answer = %v; want all clusters, every 10 s, not per endpoint", answer)
	}
	for range 2 {
		if err := stream.Send(&loadv3.LoadStatsRequest{Node: node("web"), ClusterStats: []*endpointv3.ClusterStats{
			stats("orders", 6, 1, 1, 3), stats("orders/v2", 4, 3, 0, 0), stats("orders>orders>stock", 0, 0, 0, 1), stats("idle", 0, 0, 0, 0), stats("xds", 5, 0, 1, 0), stats("local_cluster", 5, 0, 0, 0),
		}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.Send(&loadv3.LoadStatsRequest{Node: node("web"), ClusterStats: []*endpointv3.ClusterStats{stats("orders", 0, 0, 2, 0)}}); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) { // the server has read all, and ended
		t.Fatal(err)
	}
	if got := srv.Stats(); got.Reports != 3 || got.Streams != 0 {
		t.Errorf("stats = %+v, want 3 reports and no stream", got)
	}
	want := []load.Edge{{From: "web", To: "orders", Successes: 20, Errors: 8, Dropped: 6, TotalSuccesses: 20, TotalErrors: 8, TotalDropped: 6}}
	if diff := cmp.Diff(want, srv.Graph(time.Now()), cmpopts.EquateApprox(0, 1e-9)); diff != "" {
		t.Errorf("after the proxy has gone, nothing is in progress:\n%s", diff)
	}
}

// TestCallsAreCountedByProxy: for as long as it reports.
func TestCallsAreCountedByProxy(t *testing.T) {
	srv, client := dial(t, load.Config{})
	report := func(service string, ok, failed, dropped uint64) loadv3.LoadReportingService_StreamLoadStatsClient {
		stream, err := client.StreamLoadStats(t.Context())
		for _, all := range [][]*endpointv3.ClusterStats{nil, {stats("orders", ok, failed, 0, dropped), stats("stock", 1, 0, 0, 0)}} {
			if err == nil {
				err = stream.Send(&loadv3.LoadStatsRequest{Node: node(service), ClusterStats: all})
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return stream
	}
	web := report("web", 6, 2, 1)
	report("shop", 3, 0, 0)
	until := func(want map[string]load.Calls) {
		t.Helper()
		tick, late := time.NewTicker(time.Millisecond), time.After(10*time.Second)
		defer tick.Stop()
		for {
			got := srv.Calls()
			if cmp.Equal(got, want) {
				return
			}
			select {
			case <-tick.C:
			case <-late:
				t.Fatalf("counted are %+v, want %+v", got, want)
			}
		}
	}
	until(map[string]load.Calls{"web-1": {Successes: 7, Errors: 2, Dropped: 1}, "shop-1": {Successes: 4}})
	if err := web.CloseSend(); err != nil {
		t.Fatal(err)
	}
	until(map[string]load.Calls{"shop-1": {Successes: 4}})
}

func TestAStreamIsRefused(t *testing.T) {
	refuse := func(context.Context, string) error { return errors.New("certificate is for billing") }
	for _, tc := range []struct {
		name      string
		cluster   string
		authorize func(context.Context, string) error
		want      codes.Code
	}{
		{"when it does not name its service", "", nil, codes.InvalidArgument},
		{"when its certificate is another's", "web", refuse, codes.PermissionDenied},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, client := dial(t, load.Config{Authorize: tc.authorize})
			stream, err := client.StreamLoadStats(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Send(&loadv3.LoadStatsRequest{Node: &corev3.Node{Cluster: tc.cluster}}); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); status.Code(err) != tc.want {
				t.Fatalf("err = %v, want %v", err, tc.want)
			}
		})
	}
}
