package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"meshlite.dev/internal/txn"
)

// transactions counts those that this replica coordinates.
type transactions struct {
	decided *prometheus.CounterVec
	took    prometheus.Histogram
}

// Transactions is what a scrape finds of those that are not settled.
type Transactions struct {
	Open   map[txn.Status]int // not settled, by status
	Oldest time.Time          // when the oldest of them began; zero: there is none
	Tries  int                // calls that participants did not take yet
}

func newTransactions(reg prometheus.Registerer) *transactions {
	t := &transactions{
		decided: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "meshlite_transactions_total", Help: "Transactions of applications that were decided, by status; one that turned HEURISTIC later counts once more."}, []string{"status"}),
		took:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: "meshlite_transaction_duration_seconds", Help: "From the begin of a transaction to its decision.", Buckets: prometheus.ExponentialBuckets(.002, 2.5, 14)}),
	}
	for _, s := range []txn.Status{txn.Committed, txn.RolledBack, txn.Heuristic} {
		t.decided.WithLabelValues(string(s))
	}
	reg.MustRegister(t.decided, t.took)
	return t
}

// collectTransactions shows those that are not settled: what to be woken for.
func (s *scrape) collectTransactions(out emitter, t Transactions) {
	for _, status := range []txn.Status{txn.Pending, txn.Committed, txn.RolledBack, txn.Heuristic} {
		out.gauge("meshlite_transactions_open", float64(t.Open[status]), string(status))
	}
	age := 0.0
	if !t.Oldest.IsZero() {
		age = max(s.Now().Sub(t.Oldest).Seconds(), 0)
	}
	out.gauge("meshlite_transactions_oldest_age_seconds", age)
	out.gauge("meshlite_transactions_calls_in_vain", float64(t.Tries))
}

// Transacted counts a transaction that is another than before.
func (m *Metrics) Transacted(before, after txn.State) {
	was, is := before.Status(), after.Status()
	if before.Phase == 0 {
		was = txn.Pending
		if after.Phase != txn.Preparing {
			return // taken over from a journal, decided long ago
		}
	}
	if was == is || is == txn.Pending {
		return
	}
	m.transactions.decided.WithLabelValues(string(is)).Inc()
	if was == txn.Pending {
		m.transactions.took.Observe(after.Decided.Sub(after.Started).Seconds())
	}
}
