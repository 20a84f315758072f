package server

import (
	"context"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
)

// Server answers aggregated discovery streams. Make one with New.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	cfg Config
}

// New returns a server for what cfg.Store publishes. It starts nothing.
func New(cfg Config) *Server { return &Server{cfg: cfg.withDefaults()} }

// Register adds the discovery service, delta and state of the world, to g.
// g must have been made with Options.
func (s *Server) Register(g grpc.ServiceRegistrar) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, s)
}

// Options returns what a grpc.Server that serves Meshlite's streams needs: the
// codec, message limits, keepalives and small buffers.
func Options() []grpc.ServerOption { return nil }

// Proxies returns the ledger, sorted by id.
func (s *Server) Proxies() []Proxy { return nil }

// Proxy returns one entry of the ledger.
func (s *Server) Proxy(id string) (Proxy, bool) { return Proxy{}, false }

// Resources returns every resource of a connected proxy, by type and name; ok
// is false when it is not connected.
func (s *Server) Resources(id string) (rs []ResourceState, ok bool) { return nil, false }

// Drain refuses new streams and closes the open ones, spread over
// Config.DrainPeriod so that they do not all arrive elsewhere at once. It
// returns when every stream has ended, or with ctx's error.
func (s *Server) Drain(ctx context.Context) error { return nil }
