package load

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	loadv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"meshlite.dev/internal/mesh"
)

// Config is what a Server needs. Zero values stand for those of Default.
type Config struct {
	Log      *slog.Logger  // nil is silent
	Interval time.Duration // between the reports of a proxy; default 10s
	// PerEndpoint asks for counts per endpoint too. Nothing reads them yet;
	// they make a report larger.
	PerEndpoint bool
	MaxEdges    int // callers × callees kept at a time; default 50,000

	// Authorize refuses a stream by the service its node claims
	// (node.cluster). Nil lets everybody in.
	Authorize func(ctx context.Context, service string) error
}

// Default returns the values of fields that are zero.
func Default() Config { return Config{Interval: 10 * time.Second, MaxEdges: 50_000} }

// Server receives load reports. Make one with New.
type Server struct {
	loadv3.UnimplementedLoadReportingServiceServer
	cfg     Config
	table   *table
	callers callers
	streams atomic.Int64
	reports atomic.Uint64
}

// New returns a server that has heard nothing. It starts nothing.
func New(cfg Config) *Server {
	if cfg.Interval <= 0 {
		cfg.Interval = Default().Interval
	}
	if cfg.MaxEdges <= 0 {
		cfg.MaxEdges = Default().MaxEdges
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg, table: newTable(cfg.MaxEdges)}
}

// Register adds the load reporting service to g.
func (s *Server) Register(g grpc.ServiceRegistrar) { loadv3.RegisterLoadReportingServiceServer(g, s) }

// Graph returns who called whom within the Window before now, sorted by caller
// and callee.
func (s *Server) Graph(now time.Time) []Edge { return s.table.graph(now) }

// Stats counts what the server does.
type Stats struct {
	Streams int64  // open ones
	Reports uint64 // received since the start
	Ignored uint64 // samples left out because MaxEdges was reached
}

// Stats returns the counts of now.
func (s *Server) Stats() Stats {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	return Stats{Streams: s.streams.Load(), Reports: s.reports.Load(), Ignored: s.table.ignored}
}

// StreamLoadStats implements loadv3.LoadReportingServiceServer. It ends with
// the proxy's end of the stream.
func (s *Server) StreamLoadStats(stream loadv3.LoadReportingService_StreamLoadStatsServer) error {
	ctx := stream.Context()
	first, err := stream.Recv()
	if err != nil {
		return ended(err)
	}
	node := first.GetNode()
	if node.GetCluster() == "" {
		return status.Error(codes.InvalidArgument, "node.cluster is empty: the first message of a stream names the caller")
	}
	if s.cfg.Authorize != nil {
		if err := s.cfg.Authorize(ctx, node.GetCluster()); err != nil {
			return status.Error(codes.PermissionDenied, err.Error())
		}
	}
	if err := stream.Send(&loadv3.LoadStatsResponse{
		SendAllClusters:           true,
		LoadReportingInterval:     durationpb.New(s.cfg.Interval),
		ReportEndpointGranularity: s.cfg.PerEndpoint,
	}); err != nil {
		return err
	}
	s.streams.Add(1)
	defer s.streams.Add(-1)
	s.cfg.Log.DebugContext(ctx, "load reports begin", "node", node.GetId(), "service", node.GetCluster())
	return s.receive(stream, node.GetCluster(), s.callers.join(node.GetId()), first.GetClusterStats())
}

// receive records reports until the stream ends; then the proxy's gauges go.
func (s *Server) receive(stream grpc.ServerStream, from string, own *caller, stats []*endpointv3.ClusterStats) error {
	var before map[string]sample
	defer s.callers.leave(own)
	defer func() { s.table.record(from, time.Now(), before, nil) }()
	for {
		after := s.samples(stats)
		s.callers.add(own, after)
		s.table.record(from, time.Now(), before, after)
		before = after
		next := newReport()
		if err := stream.RecvMsg(next); err != nil {
			return ended(err)
		}
		s.reports.Add(1)
		stats = next.ClusterStats
	}
}

// samples sums up a report per callee. Callees without a call are left out:
// with all clusters reported they are most of it.
func (s *Server) samples(stats []*endpointv3.ClusterStats) map[string]sample {
	out := map[string]sample{}
	for _, c := range stats {
		to := mesh.ServiceOfCluster(c.GetClusterName()) // its subsets are part of it
		if to == mesh.XDSCluster || to == mesh.LocalCluster || to == "" {
			continue
		}
		one := sample{dropped: c.GetTotalDroppedRequests()}
		for _, l := range c.GetUpstreamLocalityStats() {
			one.successes += l.GetTotalSuccessfulRequests()
			one.errors += l.GetTotalErrorRequests()
			one.inProgress += l.GetTotalRequestsInProgress()
		}
		if one.tries() == 0 && one.inProgress == 0 {
			continue
		}
		over := s.cfg.Interval
		if d := c.GetLoadReportInterval(); d.IsValid() && d.AsDuration() > 0 {
			over = d.AsDuration()
		}
		one.rate = float64(one.tries()) / over.Seconds()
		all := out[to]
		all.successes += one.successes
		all.errors += one.errors
		all.dropped += one.dropped
		all.inProgress += one.inProgress
		all.rate += one.rate
		out[to] = all
	}
	return out
}

// ended turns the end of a stream into its status: a proxy that leaves is no
// fault.
func ended(err error) error {
	if errors.Is(err, io.EOF) || status.Code(err) == codes.Canceled {
		return nil
	}
	return err
}
