package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/admin/metrics"
	"meshlite.dev/internal/admin/readiness"
	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/catalog/consul"
	catalogfile "meshlite.dev/internal/catalog/file"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/status/report"
	"meshlite.dev/internal/store"
	"meshlite.dev/internal/tlsconf"
	"meshlite.dev/internal/version"
	"meshlite.dev/internal/xds/load"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
)

// app is every part, built and not yet running.
type app struct {
	catalog    catalog.Source
	want       func(services []string) (awaited []string) // of other datacenters, as policies name them
	policies   *policies
	understudy *understudy
	inbox      *inbox
	builder    *builder
	lastGood   *lastGood
	xds        *xdsRole
	status     *report.Reporter
	freezer    *freezer
	events     *eventRole // nil: off
	homes      *homes
	// Nil without its role.
	transactions *transactions
	latch        *readiness.Latch
	holds        atomic.Pointer[[]catalog.Hold] // of the guard, a second ago; nil: not known yet
	hub          *admin.Hub
	handler      http.Handler
	adminTLS     *tls.Config
	reload       map[string]*tlsconf.Reloader // by listener: "xds", "admin", "app"
	appCA        *tlsconf.Bundle              // nil: nothing proves the servers of reserved hosts
	log          *slog.Logger
}

func assemble(ctx context.Context, cfg Config, o options, own *durable, log *slog.Logger) (*app, error) {
	a := &app{inbox: newInbox(), hub: admin.NewHub(nil), reload: map[string]*tlsconf.Reloader{}, log: log}
	state := own.state
	kept, err := a.openCatalog(ctx, cfg, state)
	if err != nil {
		return nil, err
	}
	shared, err := openShared(cfg, log)
	if err != nil {
		return nil, err
	}
	if err := a.openPolicies(cfg, state, shared); err != nil {
		return nil, err
	}
	if err := a.openTLS(cfg); err != nil {
		return nil, err
	}
	a.lastGood = &lastGood{store: state, vouched: a.vouched, log: log}
	a.latch = readiness.New(nil, 0, "catalog", "policies", "configuration")
	a.freezer = &freezer{keeper: a.policies.keeper, inbox: a.inbox, latch: a.latch, log: log}

	messages := o.resourceConfig(cfg.Egress)
	registry := prometheus.NewRegistry()
	// The three refer to each other only while they run: metrics read the
	// streams, the streams tell the metrics, both read the builder's view.
	meter := metrics.New(registry, a.sources())
	var creds credentials.TransportCredentials
	if r := a.reload["xds"]; r != nil {
		creds = credentials.NewTLS(r.TLS("h2"))
	}
	admit := admission{matchCertificate: cfg.XDSClientCA != "", expired: expiry(a.catalog, kept)}
	observers := admin.Observers{meter, a.hub.Observer(), report.Observer(func() *report.Reporter { return a.status }), eventObserver{of: func() *eventRole { return a.events }}}
	a.xds = newXDS(a.view, messages, cfg.WaveRate, creds, admit, observers, log)
	a.openRollouts(cfg, own, shared, messages, meter)
	if err := a.openStatus(cfg, state, shared); err != nil {
		return nil, err
	}
	a.builder = newBuilder(a.inbox, cfg.RootNamespace, messages, a.xds.store.Apply, meter.Built, log)
	a.builder.changed = a.tell
	a.homes = newHomes(boardOf(shared), messages, a.xds.store.Apply, a.builder.ready, log)
	a.homes.authority = a.appCA
	if err := a.openTransactions(cfg, shared, meter.Transacted, log); err != nil {
		return nil, err
	}
	a.openEvents(ctx, cfg, state, shared)
	if err := a.openSubscriptions(cfg, sharedOr(shared, state)); err != nil {
		return nil, errors.Join(err, a.events.close())
	}
	if err := a.openAdmin(cfg, messages, metrics.Handler(registry)); err != nil {
		return nil, errors.Join(err, a.events.close())
	}
	return a, nil
}

// openCatalog makes the source; kept is what stands in for it until it answers.
func (a *app) openCatalog(ctx context.Context, cfg Config, state store.Store) (kept catalog.LastGood, err error) {
	kept, ok, err := loadLastGood(ctx, state)
	if err != nil {
		a.log.ErrorContext(ctx, "the last known good catalog is of no use; starting without", "err", err)
	} else if ok {
		a.log.InfoContext(ctx, "last known good catalog found", "services", len(kept.Services), "at", kept.At)
	}
	switch cfg.Catalog {
	case "consul":
		source, err := consul.New(consul.Config{
			Addr: cfg.Consul.Addr, Services: cfg.Services, MaxWatches: cfg.Consul.MaxWatches,
			DrainGrace: cfg.DrainGrace, LastGood: kept, Log: a.log,
		})
		if err != nil {
			return kept, err
		}
		a.catalog, a.want = source, func(services []string) []string {
			source.Want(services)
			return services
		}
	default:
		a.want = func([]string) []string { return nil } // a folder serves all that it defines
		a.catalog, err = catalogfile.New(catalogfile.Config{Dir: cfg.CatalogDir, Services: cfg.Services, LastGood: kept, Log: a.log})
	}
	return kept, err
}

func (a *app) openTLS(cfg Config) error {
	for name, files := range map[string]tlsconf.Config{
		"xds":   {CertFile: cfg.XDSTLSCert, KeyFile: cfg.XDSTLSKey, ClientCAFile: cfg.XDSClientCA, Log: a.log},
		"admin": {CertFile: cfg.AdminTLSCert, KeyFile: cfg.AdminTLSKey, Log: a.log},
		"app":   {CertFile: cfg.AppTLSCert, KeyFile: cfg.AppTLSKey, ClientCAFile: cfg.AppClientCA, Names: cfg.appHosts(), Log: a.log},
	} {
		if files.CertFile == "" {
			continue
		}
		r, err := tlsconf.Load(files)
		if err != nil {
			return fmt.Errorf("--%s-tls-cert: %w", name, err)
		}
		a.reload[name] = r
	}
	if cfg.AppCA != "" {
		b, err := tlsconf.LoadBundle(cfg.AppCA, a.log)
		if err != nil {
			return fmt.Errorf("--app-ca: %w", err)
		}
		a.appCA = b
	}
	if r := a.reload["admin"]; r != nil {
		a.adminTLS = r.TLS("h2", "http/1.1")
	}
	return nil
}

func (a *app) openAdmin(cfg Config, messages resource.Config, scrape http.Handler) error {
	token, err := readToken(cfg.AdminTokenFile)
	if err != nil {
		return err
	}
	a.handler = admin.New(admin.Config{
		State: a.state, Catalog: a.catalog, Fleet: a.xds.streams, Ready: a.latch, Hub: a.hub,
		Version: version.API(revision.Builder), Graph: a.xds.loads.Graph, Metrics: scrape,
		Listeners: func(n server.Node) []*resource.Resource {
			rs, _ := resource.Listeners(messages, n.Profile(func(caller, service string) (mesh.Protocol, *mesh.Destination) {
				return upstream(a.view(), caller, service)
			}))
			return rs
		},
		Compile: compile.Config{RootNamespace: cfg.RootNamespace}, Messages: messages, Subscribed: a.xds.streams.Subscribed,
		Status: func(k policy.Key) (policy.Status, bool) { return a.status.Statuses().Of(k) }, Reports: func() any { return a.status.Debug() },
		Carrier: a.policies.carrier, Writer: a.policies.writer, Labels: a.policies.labelsOf,
		Frozen: a.freezer.state, Freeze: a.freezer.set, Rollouts: a.policies.rollouts, Events: a.events.log(), Subscriptions: a.events.page(),
		Transactions: a.transactionsPage(),
		Checks:       a.checks(cfg), Token: token, Pprof: cfg.Pprof, Log: a.log,
	})
	return nil
}

func readToken(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read --admin-token-file: %w", err)
	}
	token := strings.TrimSpace(string(raw))
	if len(token) < 16 {
		return "", fmt.Errorf("--admin-token-file %s holds a token of %d characters; use at least 16 (openssl rand -hex 32)", file, len(token))
	}
	return token, nil
}

// transactionsPage is what the API asks; nil without the role.
func (a *app) transactionsPage() admin.Transactions {
	if a.transactions == nil {
		return nil
	}
	return a.transactions
}

// sources is what a scrape reads.
func (a *app) sources() metrics.Sources {
	return metrics.Sources{
		Transactions: func() metrics.Transactions {
			if a.transactions == nil {
				return metrics.Transactions{}
			}
			return a.transactions.unsettled()
		},
		Build:   version.Labels(),
		Catalog: func() catalog.Status { return a.catalog.Status() },
		Proxies: func() []server.Proxy { return a.xds.streams.Proxies() },
		Model: func() mesh.Model {
			if v := a.view(); v != nil {
				return v.Result.Model
			}
			return mesh.Model{}
		},
		Findings: func() []mesh.Finding {
			if v := a.view(); v != nil {
				return v.Result.FindingsWith(admin.Observed(a.xds.loads.Graph(time.Now()), a.xds.streams.Proxies()))
			}
			return nil
		},
		Policies: func() metrics.Policies {
			var p policy.Revision
			if v := a.view(); v != nil {
				p = v.Revision
			}
			return metrics.Policies{Number: p.Number, Documents: len(p.Documents), Refused: len(p.Refused)}
		},
		Conditions: func() map[[2]string]int {
			out := map[[2]string]int{}
			for c, n := range a.status.Statuses().Counts() {
				out[[2]string{c.Condition, string(c.Status)}] = n
			}
			return out
		},
		Edges:  func() []load.Edge { return a.xds.loads.Graph(time.Now()) },
		Events: a.eventStats, Subscriptions: a.carried,
		Loads:  func() load.Stats { return a.xds.loads.Stats() },
		Ready:  func() bool { return a.latch.State().Ready },
		Frozen: func() bool { return a.freezer.state().On },
		Certificates: func() map[string]time.Time {
			out := map[string]time.Time{}
			for _, name := range slices.Sorted(maps.Keys(a.reload)) {
				out[name] = a.reload[name].NotAfter()
			}
			return out
		},
	}
}
