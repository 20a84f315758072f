package status

import (
	"context"
	"errors"
	"io"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"meshlite.dev/internal/xds/server"
)

// maxResponse bounds an answer in bytes, below the 64 MiB that Meshlite's
// servers and clients take.
const maxResponse = 48 << 20

// Source is the stream server as CSDS reads it.
type Source interface {
	Proxies() []server.Proxy
	// Resources returns every resource of a connected proxy; ok is false when
	// it is not connected.
	Resources(id string) (rs []server.ResourceState, ok bool)
}

var _ Source = (*server.Server)(nil)

// Server answers CSDS requests. Make one with New.
type Server struct {
	statusv3.UnimplementedClientStatusDiscoveryServiceServer
	source Source
}

// New returns a server for what source knows. It starts nothing.
func New(source Source) *Server { return &Server{source: source} }

// Register adds the client status discovery service to g.
func (s *Server) Register(g grpc.ServiceRegistrar) {
	statusv3.RegisterClientStatusDiscoveryServiceServer(g, s)
}

// FetchClientStatus implements CSDS: the status of the connected proxies that
// match any of the request's node matchers, of all without matchers. Matchers
// on metadata are UNIMPLEMENTED; an answer over 48 MiB is RESOURCE_EXHAUSTED.
func (s *Server) FetchClientStatus(_ context.Context, req *statusv3.ClientStatusRequest) (*statusv3.ClientStatusResponse, error) {
	match, err := matcherOf(req.GetNodeMatchers())
	if err != nil {
		return nil, err
	}
	out, size := &statusv3.ClientStatusResponse{}, 0
	for _, p := range s.source.Proxies() {
		if !p.Connected || !match(p.ID) {
			continue
		}
		rs, ok := s.source.Resources(p.ID)
		if !ok {
			continue // gone in between
		}
		c := &statusv3.ClientConfig{Node: nodeOf(p)}
		for _, r := range rs {
			g := generic(r, req.GetExcludeResourceContents())
			if size += 200 + len(g.GetXdsConfig().GetValue()) + len(g.GetErrorState().GetFailedConfiguration().GetValue()); size > maxResponse {
				return nil, status.Error(codes.ResourceExhausted,
					"the answer is over 48 MiB: name fewer proxies in node_matchers, or set exclude_resource_contents")
			}
			c.GenericXdsConfigs = append(c.GenericXdsConfigs, g)
		}
		out.Config = append(out.Config, c)
	}
	return out, nil
}

// StreamClientStatus implements CSDS: an answer per request.
func (s *Server) StreamClientStatus(stream statusv3.ClientStatusDiscoveryService_StreamClientStatusServer) error {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) || status.Code(err) == codes.Canceled {
			return nil
		}
		if err != nil {
			return err
		}
		answer, err := s.FetchClientStatus(stream.Context(), req)
		if err != nil {
			return err
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

func nodeOf(p server.Proxy) *corev3.Node {
	n := &corev3.Node{Id: p.ID, Cluster: p.Service}
	if p.Region != "" || p.Zone != "" {
		n.Locality = &corev3.Locality{Region: p.Region, Zone: p.Zone}
	}
	if p.Envoy != "" {
		n.UserAgentName = "envoy"
		n.UserAgentVersionType = &corev3.Node_UserAgentVersion{UserAgentVersion: p.Envoy}
	}
	return n
}

// generic is one resource on one proxy: xds_config is what the proxy holds,
// error_state what it refused.
func generic(r server.ResourceState, bare bool) *statusv3.ClientConfig_GenericXdsConfig {
	g := &statusv3.ClientConfig_GenericXdsConfig{
		TypeUrl: r.Type, Name: r.Name, VersionInfo: r.Acked, LastUpdated: timestamp(r.At),
		ConfigStatus: configStatus(r.Status), ClientStatus: clientStatus(r),
	}
	if !bare {
		g.XdsConfig = content(r.Type, r.Body)
	}
	if r.Status == server.Error {
		g.ErrorState = &adminv3.UpdateFailureState{
			Details: r.Message, VersionInfo: r.Wanted, LastUpdateAttempt: timestamp(r.At),
		}
		if !bare {
			g.ErrorState.FailedConfiguration = content(r.Type, r.WantedBody)
		}
	}
	return g
}

func content(typeURL string, body []byte) *anypb.Any {
	if body == nil {
		return nil
	}
	return &anypb.Any{TypeUrl: typeURL, Value: body}
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func configStatus(s server.Status) statusv3.ConfigStatus {
	switch s {
	case server.Synced:
		return statusv3.ConfigStatus_SYNCED
	case server.NotSent:
		return statusv3.ConfigStatus_NOT_SENT
	case server.Stale:
		return statusv3.ConfigStatus_STALE
	case server.Error:
		return statusv3.ConfigStatus_ERROR
	default:
		return statusv3.ConfigStatus_UNKNOWN
	}
}

func clientStatus(r server.ResourceState) adminv3.ClientResourceStatus {
	switch {
	case r.Status == server.Error:
		return adminv3.ClientResourceStatus_NACKED
	case r.Acked != "":
		return adminv3.ClientResourceStatus_ACKED
	case r.Status == server.NotSent:
		return adminv3.ClientResourceStatus_UNKNOWN
	default:
		return adminv3.ClientResourceStatus_REQUESTED
	}
}
