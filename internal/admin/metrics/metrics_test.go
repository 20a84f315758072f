package metrics_test

import (
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"meshlite.dev/internal/admin/metrics"
	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/xds/load"
	"meshlite.dev/internal/xds/server"
)

var update = flag.Bool("update", false, "rewrite testdata")

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func sources() metrics.Sources {
	endpoints := []mesh.Endpoint{{Health: mesh.Healthy}, {Health: mesh.Healthy}, {Health: mesh.Unhealthy}, {Health: mesh.Draining}}
	services := pmap.From(map[string]*mesh.Service{
		"orders": {Name: "orders", Synced: true, Endpoints: endpoints}, "late": {Name: "late"},
	})
	return metrics.Sources{
		Build: map[string]string{"version": "1.2.3", "commit": "abc", "goversion": "go1.26"},
		Now:   func() time.Time { return now },
		Catalog: func() catalog.Status {
			return catalog.Status{
				Connected: true,
				Watches: []catalog.Watch{
					{LastRead: now.Add(-3 * time.Second)},
					{Service: "orders", LastRead: now.Add(-40 * time.Second)},
					{Service: "pay", LastRead: now.Add(-time.Hour)},
					{Service: "late"},
				},
				Holds:   []catalog.Hold{{Service: "pay", Lost: []string{"a", "b"}}},
				Skipped: []catalog.Skipped{{Name: "Bad_Name"}},
			}
		},
		Proxies: func() []server.Proxy {
			return []server.Proxy{
				{Protocol: "delta", Connected: true, Status: server.Error, Errors: []server.Rejection{{}, {}}},
				{Protocol: "delta", Connected: true, Status: server.Synced, Held: []server.Held{{}}},
				{Protocol: "sotw", Connected: false, Status: server.Stale},
			}
		},
		Model: func() mesh.Model { return mesh.Model{Services: services} },
		Findings: func() []mesh.Finding {
			return []mesh.Finding{{Severity: mesh.Warning}, {Severity: mesh.Warning}, {Severity: mesh.Error}}
		},
		Policies: func() metrics.Policies { return metrics.Policies{Number: 12, Documents: 3, Refused: 1} },
		Conditions: func() map[[2]string]int {
			return map[[2]string]int{{"Enforced", "True"}: 2, {"Enforced", "False"}: 1}
		},
		Edges: func() []load.Edge {
			return []load.Edge{{From: "web\xff", To: "orders", TotalSuccesses: 10, TotalErrors: 2, TotalDropped: 1, InProgress: 4}}
		},
		Loads:   func() load.Stats { return load.Stats{Streams: 2, Reports: 20} },
		Watches: func() metrics.Watches { return metrics.Watches{Clients: 1, HungUp: 3} },
		Events: func() (metrics.Events, bool) {
			return metrics.Events{Depth: 5, Bytes: 900, Kept: 12, Told: 3, Broker: &metrics.EventBroker{Waiting: 2, Published: 10, Unroutable: 1, Connected: true}}, true
		},
		Subscriptions: func() []dispatch.Status {
			mail, audit := dispatch.Subscription{Namespace: "shop", Name: "mail"}, dispatch.Subscription{Namespace: "default", Name: "audit"}
			return []dispatch.Status{
				{Subscription: mail, State: dispatch.Delivering, Counted: true, Depth: dispatch.Depth{Waiting: 12, Dead: 6, Missed: 4}, InFlight: 8, Delivered: 4711, Retried: 30, Given: 7, Skipped: 9},
				{Subscription: audit, State: dispatch.Interrupted, Problem: "the broker is away"},
			}
		},
		Transactions: func() metrics.Transactions {
			return metrics.Transactions{Open: map[txn.Status]int{txn.Pending: 2}, Oldest: now.Add(-time.Minute), Tries: 3}
		},
		Ready:        func() bool { return true },
		Frozen:       func() bool { return false },
		Certificates: func() map[string]time.Time { return map[string]time.Time{"xds": now} },
	}
}

// events makes one of each.
func events(m *metrics.Metrics) {
	m.Connected(server.Proxy{})
	m.Sent("CDS", 3, 1, 500)
	m.Acked("CDS", 3, 4*time.Millisecond)
	m.Rejected("web-1", server.Rejection{Type: "RDS"})
	m.Held("web-1", server.Held{Type: "RDS"})
	m.Disconnected("web-1", "closed by the proxy")
	m.Disconnected("web-1", "rpc error: code = Canceled desc = context canceled")
	m.Disconnected("web-1", "rpc error: code = DeadlineExceeded desc = the proxy does not read")
	m.Disconnected("web-1", "rpc error: code = Unavailable desc = xds-server is shutting down")
	m.Disconnected("web-1", "rpc error: code = Internal")
	m.Refused("overload")
	m.Refused("what nobody thought of")
	m.Built(2, 3*time.Millisecond)
}

func exposition(t *testing.T, reg *prometheus.Registry) string {
	t.Helper()
	rec := httptest.NewRecorder()
	metrics.Handler(reg).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if rec.Code != 200 {
		t.Fatalf("/metrics: %d\n%s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}

func TestMetricsPage(t *testing.T) {
	reg := prometheus.NewRegistry()
	events(metrics.New(reg, sources()))
	page := exposition(t, reg)

	parser := expfmt.NewTextParser(model.UTF8Validation)
	if _, err := parser.TextToMetricFamilies(strings.NewReader(page)); err != nil {
		t.Fatalf("the page cannot be parsed: %v", err)
	}
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}

	var own strings.Builder
	for line := range strings.Lines(page) {
		if strings.Contains(line, "meshlite_") {
			own.WriteString(line)
		}
	}
	name := filepath.Join("testdata", "metrics.txt")
	if *update {
		if err := os.WriteFile(name, []byte(own.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), own.String()); diff != "" {
		t.Errorf("run with -update and look at the difference:\n%s", diff)
	}
	for _, name := range []string{"go_goroutines", "process_open_fds"} {
		if !strings.Contains(page, "\n"+name+" ") {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestAPageWithoutSources(t *testing.T) {
	reg := prometheus.NewRegistry()
	metrics.New(reg, metrics.Sources{})
	if page := exposition(t, reg); !strings.Contains(page, `meshlite_xds_pushes_total{type="CDS"} 0`) {
		t.Errorf("counters must start at 0:\n%s", page)
	}
}
