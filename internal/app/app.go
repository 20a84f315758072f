package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"golang.org/x/sync/errgroup"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/mesh"
)

// Run starts xds-server and serves until ctx ends; it then drains and returns
// nil. An error says what kept it from starting, or what broke for good.
func Run(ctx context.Context, cfg Config, opts ...Option) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	o := optionsOf(opts)
	log := newLogger(cfg, o)
	lis, err := bind(cfg)
	if err != nil {
		return err
	}
	defer lis.close()
	own, err := openDurable(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() {
		if err := own.close(); err != nil {
			log.ErrorContext(ctx, "close state", "err", err)
		}
	}()
	a, err := assemble(ctx, cfg, o, own, log)
	if err != nil {
		return err
	}
	if a.transactions != nil {
		a.transactions.addr = home(cfg, lis)
	}
	if a.events.taking() {
		withdraw := a.homes.offer(mesh.EventsHost, home(cfg, lis))
		defer withdraw()
	}
	o.started(lis.addrs())
	log.InfoContext(ctx, "started", "xds", lis.addrs().XDS, "admin", lis.addrs().Admin, "catalog", cfg.Catalog, "policies", cfg.PolicyDir)
	err = a.run(ctx, lis)
	log.InfoContext(context.WithoutCancel(ctx), "stopped", "err", err)
	return err
}

// run starts every part under one group: the first fault ends all of them.
func (a *app) run(ctx context.Context, lis *listening) error {
	g, ctx := errgroup.WithContext(ctx)
	parts := []func(context.Context) error{
		func(ctx context.Context) error { return a.catalog.Run(ctx, a.onCatalog) },
		a.freezer.run,
		a.policies.run,
		a.builder.run,
		a.status.Run,
		a.events.run,
		a.lastGood.run,
		a.homes.run,
		a.watchReadiness,
		func(ctx context.Context) error { return admin.FollowGuard(ctx, a.hub, a.catalog) },
		a.watchFirst,
		func(ctx context.Context) error { return a.xds.serve(ctx, lis.xds) },
	}
	for _, r := range a.reload {
		parts = append(parts, r.Run)
	}
	if lis.admin != nil {
		parts = append(parts, func(ctx context.Context) error { return admin.Serve(ctx, lis.admin, a.handler, a.adminTLS, a.log) })
	}
	if lis.app != nil {
		parts = append(parts, func(ctx context.Context) error { return serveApp(ctx, lis.app, a.reload["app"], a.appHandler(), a.log) })
	}
	if a.appCA != nil {
		parts = append(parts, func(ctx context.Context) error { return a.appCA.Run(ctx, a.homes.again) })
	}
	if a.transactions != nil {
		parts = append(parts, a.transactions.run)
	}
	for _, part := range parts {
		g.Go(func() error { return part(ctx) })
	}
	return g.Wait()
}

// listening holds the sockets, bound before anything starts: a taken port
// fails the start.
type listening struct{ xds, admin, app net.Listener }

func bind(cfg Config) (*listening, error) {
	l := &listening{}
	var err error
	if l.xds, err = net.Listen("tcp", cfg.XDSAddr); err != nil {
		return nil, fmt.Errorf("listen for Envoys on --xds-addr %s: %w", cfg.XDSAddr, err)
	}
	if cfg.has("admin") {
		if l.admin, err = net.Listen("tcp", cfg.AdminAddr); err != nil {
			l.close()
			return nil, fmt.Errorf("listen for meshctl on --admin-addr %s: %w", cfg.AdminAddr, err)
		}
	}
	if cfg.app() {
		if l.app, err = net.Listen("tcp", cfg.AppAddr); err != nil {
			l.close()
			return nil, fmt.Errorf("listen for applications on --app-addr %s: %w", cfg.AppAddr, err)
		}
	}
	return l, nil
}

func (l *listening) addrs() Addrs {
	a := Addrs{XDS: l.xds.Addr().String()}
	if l.admin != nil {
		a.Admin = l.admin.Addr().String()
	}
	if l.app != nil {
		a.App = l.app.Addr().String()
	}
	return a
}

// close releases what was not served; a served socket is closed by its server.
func (l *listening) close() {
	for _, s := range []net.Listener{l.xds, l.admin, l.app} {
		if s != nil {
			_ = s.Close() // closed already where a server owned it
		}
	}
}

func newLogger(cfg Config, o options) *slog.Logger {
	level, _ := cfg.level() // Validate has seen it
	opts := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(o.logs, opts))
	}
	return slog.New(slog.NewTextHandler(o.logs, opts))
}
