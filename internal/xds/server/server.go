package server

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"meshlite.dev/internal/xds/cache"
)

// Server answers aggregated discovery streams. Make one with New.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	cfg     Config
	ledger  ledger
	builds  builds
	proofs  proofs
	limiter *rate.Limiter
	canary  atomic.Pointer[diversion] // nil: everybody follows cfg.Store

	mu         sync.Mutex
	streams    map[*stream]struct{}
	draining   bool
	goroutines sync.WaitGroup
}

// New returns a server for what cfg.Store publishes. It starts nothing.
func New(cfg Config) *Server {
	cfg = cfg.withDefaults()
	return &Server{
		cfg:     cfg,
		ledger:  ledger{proxies: map[string]*proxy{}},
		builds:  builds{bits: map[string]uint64{}},
		proofs:  proofs{waits: map[*cache.Item]map[*stream]struct{}{}},
		limiter: rate.NewLimiter(rate.Limit(cfg.StreamRate), cfg.Burst),
		streams: map[*stream]struct{}{},
	}
}

// Register adds the discovery service, delta and state of the world, to g.
// g must have been made with Options.
func (s *Server) Register(g grpc.ServiceRegistrar) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, s)
}

// messageLimit bounds a message in both directions.
const messageLimit = 64 << 20

// Options returns what a grpc.Server that serves Meshlite's streams needs: the
// codec, message limits, keepalives, and no idle buffers per connection.
func Options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(messageLimit),
		grpc.MaxSendMsgSize(messageLimit),
		grpc.MaxConcurrentStreams(1000),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	}
}

// DeltaAggregatedResources serves one incremental stream.
func (s *Server) DeltaAggregatedResources(g grpc.BidiStreamingServer[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]) error {
	return s.serve(g.Context(), deltaWire{g}, false)
}

// StreamAggregatedResources serves one state-of-the-world stream.
func (s *Server) StreamAggregatedResources(g grpc.BidiStreamingServer[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]) error {
	return s.serve(g.Context(), sotwWire{g}, true)
}

// serve lets a stream in or sheds it, and runs it.
func (s *Server) serve(ctx context.Context, w wire, sotw bool) error {
	addr := ""
	if p, ok := peer.FromContext(ctx); ok {
		addr = p.Addr.String()
	}
	st := newStream(s, w, sotw, addr)
	if err := s.admit(st); err != nil {
		return err
	}
	defer func() {
		s.mu.Lock()
		delete(s.streams, st)
		s.mu.Unlock()
	}()
	return st.run(ctx)
}

// admit refuses a stream that the server cannot serve now. Those let in are
// never shed for those that come.
func (s *Server) admit(st *stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return s.unavailable("draining", "xds-server is shutting down")
	case !s.cfg.Store.Ready():
		return s.unavailable("not ready", "no configuration has been read yet")
	case len(s.streams) >= s.cfg.MaxStreams || !s.limiter.Allow():
		return s.unavailable("overload", "too many new streams, try again")
	}
	s.streams[st] = struct{}{}
	return nil
}

func (s *Server) unavailable(cause, text string) error {
	s.refuse(cause)
	return status.Error(codes.Unavailable, text)
}

func (s *Server) refuse(cause string) { s.cfg.Observer.Refused(cause) }

// synthesize asks for an answer to a name that the index lacks.
func (s *Server) synthesize(k cache.Kind, name string) *cache.Item {
	if s.cfg.Synthesize == nil {
		return nil
	}
	r := s.cfg.Synthesize(k.TypeURL(), name)
	if r == nil {
		return nil
	}
	i, ok := cache.NewItem(r, time.Now())
	if !ok {
		return nil
	}
	return i
}

// reportHeld tells of a change that waits beyond the deadline.
func (s *Server) reportHeld(id string, h Held) {
	s.cfg.Log.Warn("change held back", slog.String("node", id), slog.String("type_url", h.Type),
		slog.String("resource", h.Resource), slog.String("waits", h.Waits))
	s.cfg.Observer.Held(id, h)
}
