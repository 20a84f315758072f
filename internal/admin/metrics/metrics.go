package metrics

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"meshlite.dev/internal/xds/server"
)

// Metrics counts events. Make one with New; all methods may be called by many
// goroutines.
type Metrics struct {
	server.NopObserver

	pushes, pushBytes, sent, removed *prometheus.CounterVec
	acks, nacks, held                *prometheus.CounterVec
	convergence                      *prometheus.HistogramVec
	closed, refused                  *prometheus.CounterVec
	build                            prometheus.Histogram
	changed                          prometheus.Counter
	rollouts                         *rollouts
	transactions                     *transactions
}

var _ server.Observer = (*Metrics)(nil)

// types are the values of label type, present from the start so that a rate
// over them is 0 and not absent.
var types = []string{"CDS", "EDS", "LDS", "SRDS", "RDS"}

// New registers every metric on reg, those read from sources too. It panics
// when reg already has one of them: a bug of the caller's.
func New(reg prometheus.Registerer, sources Sources) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		reg.MustRegister(v)
		return v
	}
	byType := func(name, help string) *prometheus.CounterVec {
		v := counter(name, help, "type")
		for _, t := range types {
			v.WithLabelValues(t)
		}
		return v
	}
	m := &Metrics{
		pushes:    byType("meshlite_xds_pushes_total", "Responses sent to proxies."),
		pushBytes: byType("meshlite_xds_push_bytes_total", "Bytes of responses sent to proxies."),
		sent:      byType("meshlite_xds_resources_sent_total", "Resources sent to proxies."),
		removed:   byType("meshlite_xds_resources_removed_total", "Removals of resources sent to proxies."),
		acks:      byType("meshlite_xds_acks_total", "Responses that proxies accepted."),
		nacks:     byType("meshlite_xds_nacks_total", "Resources that proxies rejected; the last good version serves."),
		held:      byType("meshlite_xds_held_total", "Changes that still waited for a proxy at the gate's deadline."),
		closed:    counter("meshlite_xds_streams_closed_total", "Streams that ended, by cause; slow: the proxy did not take a response in time.", "cause"),
		refused:   counter("meshlite_xds_streams_refused_total", "Streams that were not let in, by cause.", "cause"),
		convergence: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "meshlite_xds_convergence_seconds", Help: "From publishing a resource to a proxy's acknowledgement of it.",
			Buckets: []float64{.002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 15, 60},
		}, []string{"type"}),
		build: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "meshlite_build_duration_seconds", Help: "Compiling a change and making its Envoy messages.",
			Buckets: []float64{.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 5},
		}),
		changed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meshlite_build_changed_services_total", Help: "Services compiled anew because something about them changed.",
		}),
	}
	m.rollouts = newRollouts(reg)
	m.transactions = newTransactions(reg)
	for _, cause := range closeCauses {
		m.closed.WithLabelValues(cause)
	}
	for _, cause := range refuseCauses {
		m.refused.WithLabelValues(cause)
	}
	reg.MustRegister(m.convergence, m.build, m.changed, newScrape(sources),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Built counts one run from sources to messages: how many services it changed
// and how long it took.
func (m *Metrics) Built(changed int, took time.Duration) {
	m.changed.Add(float64(changed))
	m.build.Observe(took.Seconds())
}

// Sent implements server.Observer.
func (m *Metrics) Sent(typ string, resources, removed, bytes int) {
	m.pushes.WithLabelValues(typ).Inc()
	m.pushBytes.WithLabelValues(typ).Add(float64(bytes))
	m.sent.WithLabelValues(typ).Add(float64(resources))
	m.removed.WithLabelValues(typ).Add(float64(removed))
}

// Acked implements server.Observer.
func (m *Metrics) Acked(typ string, _ int, took time.Duration) {
	m.acks.WithLabelValues(typ).Inc()
	m.convergence.WithLabelValues(typ).Observe(took.Seconds())
}

// Rejected implements server.Observer.
func (m *Metrics) Rejected(_ string, r server.Rejection) { m.nacks.WithLabelValues(r.Type).Inc() }

// Held implements server.Observer.
func (m *Metrics) Held(_ string, h server.Held) { m.held.WithLabelValues(h.Type).Inc() }

// Disconnected implements server.Observer.
func (m *Metrics) Disconnected(_, cause string) { m.closed.WithLabelValues(closeCause(cause)).Inc() }

// Refused implements server.Observer.
func (m *Metrics) Refused(cause string) { m.refused.WithLabelValues(refuseCause(cause)).Inc() }

var (
	closeCauses  = []string{"proxy", "slow", "drained", "error"}
	refuseCauses = []string{"not ready", "overload", "draining", "unauthorized", "other"}
)

// closeCause sorts the server's words into the label's few values.
func closeCause(cause string) string {
	for _, known := range []struct{ words, label string }{
		{"closed by the proxy", "proxy"},
		{"context canceled", "proxy"}, // its connection broke
		{"the proxy does not read", "slow"},
		{"shutting down", "drained"},
	} {
		if strings.Contains(cause, known.words) {
			return known.label
		}
	}
	return "error"
}

func refuseCause(cause string) string {
	for _, known := range refuseCauses {
		if cause == known {
			return known
		}
	}
	return "other"
}

// Handler serves the metrics of reg at /metrics. A collector that fails costs
// its own series, not the page.
func Handler(reg *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, Timeout: 20 * time.Second,
	})
}
