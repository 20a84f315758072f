package metrics

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/load"
	"meshlite.dev/internal/xds/server"
)

// Sources is what a scrape reads. Each may be nil, and is then left out.
type Sources struct {
	Build    map[string]string // labels of meshlite_build_info
	Now      func() time.Time  // nil is time.Now
	Catalog  func() catalog.Status
	Proxies  func() []server.Proxy
	Model    func() mesh.Model
	Findings func() []mesh.Finding
	Policies func() Policies
	// Conditions counts documents by condition and status.
	Conditions func() map[[2]string]int
	Edges      func() []load.Edge
	Loads      func() load.Stats
	Watches    func() Watches
	// Events sums up the log of domain events; false: there is none.
	Events func() (Events, bool)
	// Subscriptions are those that this replica carries out.
	Subscriptions func() []dispatch.Status

	Ready  func() bool
	Frozen func() bool
	// Transactions tells of those that are not settled. Nil: the role is off.
	Transactions func() Transactions
	// Certificates tells when each listener's certificate ends ("xds",
	// "admin").
	Certificates func() map[string]time.Time
}

// Policies sums up the revision in force.
type Policies struct {
	Number             uint64
	Documents, Refused int
}

// Events sums up the log of domain events.
type Events struct {
	Depth, Bytes uint64 // kept now
	Kept         uint64 // ever
	Told         uint64 // the mesh's own, since the start
	Problem      bool
	Broker       *EventBroker // nil: there is none
}

// EventBroker sums up what is published from the log.
type EventBroker struct {
	Waiting               uint64 // events that the broker has not confirmed
	Published, Unroutable uint64 // since the start
	Connected             bool   // and taking events
}

// Watches counts the clients of GET /v1/watch.
type Watches struct {
	Clients int
	HungUp  uint64 // clients cut off because they were too slow
}

// staleAfter is the age at which a watch counts as stale: twice the longest a
// blocking query waits.
const staleAfter = 10 * time.Minute

// scrape reads Sources. It is unchecked (describes nothing), since its series
// depend on them.
type scrape struct {
	Sources
	gauges  map[string]*prometheus.Desc
	started time.Time // an age counts from here where nothing was ever read
}

func newScrape(s Sources) *scrape {
	if s.Now == nil {
		s.Now = time.Now
	}
	return &scrape{Sources: s, gauges: descriptions(), started: s.Now()}
}

// Describe implements prometheus.Collector.
func (s *scrape) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (s *scrape) Collect(ch chan<- prometheus.Metric) {
	out := emitter{ch, s.gauges}
	if s.Build != nil {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("meshlite_build_info", "What runs here; always 1.", nil, s.Build), prometheus.GaugeValue, 1)
	}
	if s.Ready != nil {
		out.gauge("meshlite_ready", truth(s.Ready()))
	}
	if s.Frozen != nil {
		out.gauge("meshlite_frozen", truth(s.Frozen()))
	}
	if s.Transactions != nil {
		s.collectTransactions(out, s.Transactions())
	}
	if s.Proxies != nil {
		collectProxies(out, s.Proxies())
	}
	if s.Catalog != nil {
		s.collectCatalog(out, s.Catalog())
	}
	if s.Model != nil {
		collectModel(out, s.Model())
	}
	s.collectPolicies(out)
	if s.Edges != nil {
		collectEdges(out, s.Edges())
	}
	if s.Loads != nil {
		l := s.Loads()
		out.gauge("meshlite_load_report_streams", float64(l.Streams))
		out.counter("meshlite_load_reports_total", float64(l.Reports))
		out.counter("meshlite_load_samples_ignored_total", float64(l.Ignored))
	}
	if s.Watches != nil {
		w := s.Watches()
		out.gauge("meshlite_admin_watch_clients", float64(w.Clients))
		out.counter("meshlite_admin_watch_hangups_total", float64(w.HungUp))
	}
	s.collectEvents(out)
	if s.Subscriptions != nil {
		collectSubscriptions(out, s.Subscriptions())
	}
	if s.Certificates != nil {
		for listener, end := range s.Certificates() {
			out.gauge("meshlite_tls_certificate_expiry_timestamp_seconds", float64(end.Unix()), listener)
		}
	}
}

func collectProxies(out emitter, ps []server.Proxy) {
	streams := map[string]int{"delta": 0, "sotw": 0}
	states := map[server.Status]int{server.Synced: 0, server.NotSent: 0, server.Stale: 0, server.Error: 0}
	quarantined, held := 0, 0
	for _, p := range ps {
		if !p.Connected {
			continue
		}
		streams[p.Protocol]++
		states[p.Status]++
		quarantined += len(p.Errors)
		held += len(p.Held)
	}
	for protocol, n := range streams {
		out.gauge("meshlite_xds_streams", float64(n), protocol)
	}
	for state, n := range states {
		out.gauge("meshlite_xds_proxies", float64(n), string(state))
	}
	out.gauge("meshlite_xds_quarantined_resources", float64(quarantined))
	out.gauge("meshlite_xds_held_resources", float64(held))
}

func (s *scrape) collectCatalog(out emitter, st catalog.Status) {
	now, names, oldest, stale := s.Now(), time.Duration(0), time.Duration(0), 0
	for _, w := range st.Watches {
		age := now.Sub(w.LastRead)
		if w.LastRead.IsZero() {
			age = now.Sub(s.started)
		}
		if w.LastRead.IsZero() || w.LastError != "" || age > staleAfter {
			stale++
		}
		if w.Service == "" {
			names = age
			continue
		}
		oldest = max(oldest, age)
	}
	out.gauge("meshlite_catalog_watch_age_seconds", names.Seconds(), "names")
	out.gauge("meshlite_catalog_watch_age_seconds", oldest.Seconds(), "oldest_service")
	out.gauge("meshlite_catalog_watches", float64(len(st.Watches)))
	out.gauge("meshlite_catalog_stale_watches", float64(stale))
	out.gauge("meshlite_catalog_connected", truth(st.Connected))
	out.gauge("meshlite_catalog_last_known_good", truth(st.Stale))
	out.gauge("meshlite_catalog_holds", float64(len(st.Holds)))
	lost := 0
	for _, h := range st.Holds {
		lost += len(h.Lost)
	}
	out.gauge("meshlite_catalog_held_instances", float64(lost))
	out.gauge("meshlite_catalog_skipped", float64(len(st.Skipped)))
}

func collectModel(out emitter, m mesh.Model) {
	health := map[mesh.Health]int{mesh.Healthy: 0, mesh.Unhealthy: 0, mesh.Draining: 0}
	unsynced := 0
	for _, s := range m.Services.All() {
		if !s.Synced {
			unsynced++
		}
		for i := range s.Endpoints {
			health[s.Endpoints[i].Health]++
		}
	}
	out.gauge("meshlite_services", float64(m.Services.Len()))
	out.gauge("meshlite_services_not_synced", float64(unsynced))
	for h, n := range health {
		out.gauge("meshlite_endpoints", float64(n), strings.ToLower(h.String()))
	}
}

func (s *scrape) collectPolicies(out emitter) {
	if s.Policies != nil {
		p := s.Policies()
		out.gauge("meshlite_policy_revision", float64(p.Number))
		out.gauge("meshlite_policy_documents", float64(p.Documents))
		out.gauge("meshlite_policy_refused_documents", float64(p.Refused))
	}
	if s.Conditions != nil {
		for c, n := range s.Conditions() {
			out.gauge("meshlite_policy_condition", float64(n), c[0], c[1])
		}
	}
	if s.Findings == nil {
		return
	}
	by := map[mesh.Severity]int{mesh.Error: 0, mesh.Warning: 0, mesh.Info: 0}
	for _, f := range s.Findings() {
		by[f.Severity]++
	}
	for severity, n := range by {
		out.gauge("meshlite_findings", float64(n), string(severity))
	}
}

func (s *scrape) collectEvents(out emitter) {
	if s.Events == nil {
		return
	}
	e, ok := s.Events()
	if !ok {
		return
	}
	out.gauge("meshlite_events_outbox_depth", float64(e.Depth))
	out.gauge("meshlite_events_outbox_bytes", float64(e.Bytes))
	out.counter("meshlite_events_kept_total", float64(e.Kept))
	out.counter("meshlite_events_told_total", float64(e.Told))
	out.gauge("meshlite_events_problem", truth(e.Problem))
	if b := e.Broker; b != nil {
		out.gauge("meshlite_events_waiting", float64(b.Waiting))
		out.counter("meshlite_events_published_total", float64(b.Published))
		out.counter("meshlite_events_unroutable_total", float64(b.Unroutable))
		out.gauge("meshlite_events_broker_connected", truth(b.Connected))
	}
}

func collectEdges(out emitter, edges []load.Edge) {
	for _, e := range edges {
		from, to := strings.ToValidUTF8(e.From, "?"), strings.ToValidUTF8(e.To, "?")
		out.counter("meshlite_edge_requests_total", float64(e.TotalSuccesses), from, to, "success")
		out.counter("meshlite_edge_requests_total", float64(e.TotalErrors), from, to, "error")
		out.counter("meshlite_edge_requests_total", float64(e.TotalDropped), from, to, "dropped")
		out.gauge("meshlite_edge_requests_in_progress", float64(e.InProgress), from, to)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
