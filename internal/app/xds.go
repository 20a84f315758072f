package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/tlsconf"
	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/load"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/internal/xds/status"
)

// drainGrace is how long streams may take to end after SIGTERM.
const drainGrace = 5 * time.Second

// xdsRole is everything behind the xDS address.
type xdsRole struct {
	store   *cache.Store
	streams *server.Server
	loads   *load.Server
	health  *health.Server
	grpc    *grpc.Server
	log     *slog.Logger
}

// admission decides whether a proxy may have a stream.
type admission struct {
	matchCertificate bool         // demand a client certificate that names node.cluster
	expired          func() error // an error while only last known good past its age is served
}

func newXDS(view func() *admin.State, cfg resource.Config, waveRate int, tls credentials.TransportCredentials, admit admission, observer server.Observer, log *slog.Logger) *xdsRole {
	x := &xdsRole{store: cache.New(cache.Default()), health: health.NewServer(), log: log}
	x.streams = server.New(server.Config{
		Store:     x.store,
		Listeners: func(p resource.Profile) []*resource.Resource { return listeners(cfg, p, log) },
		Upstream: func(caller, service string) (mesh.Protocol, *mesh.Destination) {
			return upstream(view(), caller, service)
		},
		Synthesize: synthesize,
		Authorize:  admit.authorize,
		Observer:   observer,
		Log:        log,
		WaveRate:   cmp.Or(waveRate, -1),
	})
	x.loads = load.New(load.Config{Log: log, Authorize: admit.authorize})
	opts := server.Options()
	if tls != nil {
		opts = append(opts, grpc.Creds(tls))
	}
	x.grpc = grpc.NewServer(opts...)
	x.streams.Register(x.grpc)
	x.loads.Register(x.grpc)
	status.New(x.streams).Register(x.grpc)
	healthv1.RegisterHealthServer(x.grpc, x.health)
	reflection.Register(x.grpc)
	x.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	return x
}

// serve answers on lis until ctx ends, then lets the streams go to other
// replicas before it closes what is left.
func (x *xdsRole) serve(ctx context.Context, lis net.Listener) error {
	stopped := context.AfterFunc(ctx, func() {
		x.health.Shutdown()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainGrace)
		defer cancel()
		if err := x.streams.Drain(grace); err != nil {
			x.log.WarnContext(grace, "streams cut at the end of the grace period", "err", err)
		}
		x.grpc.Stop()
	})
	defer stopped()
	if err := x.grpc.Serve(lis); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve xds: %w", err)
	}
	return nil
}

func listeners(cfg resource.Config, p resource.Profile, log *slog.Logger) []*resource.Resource {
	rs, faults := resource.Listeners(cfg, p)
	for _, f := range faults {
		log.Error("listener refused by validation", "resource", f.Name, "service", p.Service, "err", f.Err)
	}
	return rs
}

func upstream(v *admin.State, caller, service string) (mesh.Protocol, *mesh.Destination) {
	if v == nil {
		return mesh.HTTP1, nil
	}
	s, ok := v.Result.Model.Services.Get(service)
	if !ok {
		return mesh.HTTP1, nil
	}
	d := s.For(caller)
	return d.Protocol, d
}

// synthesize answers for names that no service makes: the local cluster of a
// proxy outside the catalog, and the route of a configured upstream that does
// not exist (yet). Left unanswered, either would hold up the proxy's start.
func synthesize(typeURL, name string) *resource.Resource {
	switch typeURL {
	case resource.EndpointType:
		if _, ok := mesh.ParseLocalAssignment(name); ok {
			return resource.EmptyAssignment(name)
		}
	case resource.RouteType:
		if mesh.IsDNSLabel(name) {
			return resource.UnknownUpstream(name)
		}
	}
	return nil
}

func (a admission) authorize(ctx context.Context, service string) error {
	if a.expired != nil {
		if err := a.expired(); err != nil {
			return err
		}
	}
	if !a.matchCertificate {
		return nil
	}
	return tlsconf.CheckPeer(ctx, service)
}
