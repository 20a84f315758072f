package admin

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/admin/readiness"
	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/xds/load"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
)

// State is what the control plane serves at one moment, immutable.
type State struct {
	Snapshot catalog.Snapshot
	Revision policy.Revision
	Result   compile.Result
	Faults   []resource.Fault // messages that validation refused
	At       time.Time        // when it was published
}

// Catalog is the part of a catalog.Source that the API shows and steers.
type Catalog interface {
	Status() catalog.Status
	Accept(names []string, all bool) (accepted []string)
}

// Fleet is the ledger of the stream server.
type Fleet interface {
	Proxies() []server.Proxy
	Proxy(id string) (server.Proxy, bool)
	Resources(id string) (rs []server.ResourceState, ok bool)
}

var _ Fleet = (*server.Server)(nil)

// Config is what the API shows. State, Catalog, Fleet, Ready and Hub are
// required.
type Config struct {
	State   func() (State, bool) // false until the first state is served
	Catalog Catalog
	Fleet   Fleet
	Ready   *readiness.Latch
	Hub     *Hub
	Version adminapi.Version

	Graph   func(now time.Time) []load.Edge // nil: no load reports
	Metrics http.Handler                    // nil: no /metrics
	// Listeners returns what a proxy's listeners would be if it started now,
	// to find those that need a restart. Nil finds none.
	Listeners func(server.Node) []*resource.Resource
	// Compile and Messages are what documents are compiled with, for previews;
	// Subscribed tells what each proxy gets, nil nothing.
	Compile    compile.Config
	Messages   resource.Config
	Subscribed func([]resource.Ref) map[string][]bool
	// Checks are asked for GET /v1/doctor, after the API's own.
	Checks []func(context.Context) []adminapi.Check

	Carrier string        // of the policies: "dir", "consul", "kube", or "" where there is none
	Writer  policy.Writer // of the carrier; nil: policies are not written here

	// Labels returns those of a document as the carrier has them. Nil knows none.
	Labels func(policy.Key) map[string]string

	// Frozen tells whether nothing but endpoints changes; Freeze sets it for all
	// replicas. Nil: there is no freezing.
	Frozen func() adminapi.Freeze
	Freeze func(ctx context.Context, on bool, reason string) error

	// Rollouts keeps rollouts. Nil: the pages answer 501.
	Rollouts Rollouts

	// Events is the log of domain events. Nil: the pages answer 501.
	Events Events

	// Subscriptions are carried out here. Nil: the pages answer 501.
	Subscriptions Subscriptions

	// Transactions are those of applications. Nil: the pages answer 501.
	Transactions Transactions

	// Status returns the conditions of a document. Nil knows none.
	Status func(policy.Key) (policy.Status, bool)
	// Reports returns what statuses are made of, for /debug/status. Nil: no such
	// page.
	Reports func() any

	Token string // bearer token; "": none is asked for
	Pprof bool   // serve /debug/pprof/

	Now func() time.Time // nil is time.Now
	Log *slog.Logger     // nil is silent
}

// API serves the admin API. Make one with New.
type api struct {
	Config
	previewing chan struct{} // holds a token while one is made
}

// New returns the handler of the API. It starts nothing.
func New(cfg Config) http.Handler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	a := &api{cfg, make(chan struct{}, 1)}
	mux := http.NewServeMux()
	for path, serve := range map[string]func(*http.Request) (any, error){
		"/v1/services":            a.services,
		"/v1/services/{name}":     a.service,
		"/v1/graph":               a.graph,
		"/v1/proxies":             a.proxies,
		"/v1/proxies/{id}":        a.proxy,
		"/v1/proxies/{id}/config": a.proxyConfig,
		"/v1/proxies/{id}/diff":   a.proxyDiff,
		"/v1/explain":             a.explain,
		"/v1/findings":            a.findings,
		"/v1/doctor":              a.doctor,
		"/v1/version":             a.version,
		"/v1/prometheus/targets":  a.targets,
		"/debug/catalog":          a.debugCatalog,
		"/debug/model":            a.debugModel,
		"/debug/snapshot/{id}":    a.debugSnapshot,
		"/debug/ledger":           a.debugLedger,

		"/v1/policies/{kind}/{namespace}/{name}":      a.policy,
		"/v1/policies/{kind}/{namespace}/{name}/held": a.held,
	} {
		mux.Handle(path, a.guarded(get(reply(serve))))
	}
	mux.Handle("/v1/services/accept", a.guarded(post(a.audited(maxBody, a.accept))))
	mux.Handle("GET /v1/policies", a.guarded(get(reply(a.policies))))
	mux.Handle("POST /v1/policies", a.guarded(post(a.audited(maxPolicies, a.applyPolicies))))
	mux.Handle("/v1/policies/preview", a.guarded(post(asking(maxPolicies, a.preview))))
	mux.Handle("/v1/policies", a.guarded(method(nil, http.MethodGet, http.MethodPost)))
	if cfg.Freeze != nil {
		mux.Handle("GET /v1/freeze", a.guarded(get(reply(a.frozen))))
		mux.Handle("POST /v1/freeze", a.guarded(post(a.audited(maxBody, a.freeze))))
		mux.Handle("/v1/freeze", a.guarded(method(nil, http.MethodGet, http.MethodPost)))
	}
	a.rolloutPages(mux)
	a.eventPages(mux)
	a.subscriptionPages(mux)
	a.transactionPages(mux)
	mux.Handle("/v1/watch", a.guarded(get(http.HandlerFunc(a.watch))))
	mux.Handle("/healthz", get(http.HandlerFunc(healthz)))
	mux.Handle("/readyz", get(http.HandlerFunc(a.readyz)))
	if cfg.Reports != nil {
		mux.Handle("/debug/status", a.guarded(get(reply(a.debugStatus))))
	}
	if cfg.Metrics != nil {
		mux.Handle("/metrics", get(cfg.Metrics))
	}
	if cfg.Pprof {
		mux.Handle("/debug/pprof/", a.guarded(pprofPages()))
	}
	mux.Handle("/", http.HandlerFunc(notFound))
	return mux
}
