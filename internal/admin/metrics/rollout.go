package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"meshlite.dev/internal/admin/adminapi"
)

// rollouts counts those of which this replica is told.
type rollouts struct {
	ended, votes *prometheus.CounterVec
	took, skew   prometheus.Histogram
	voting       prometheus.Histogram
	open         prometheus.Gauge

	mu    sync.Mutex
	since time.Time // when the vote that is under way began
}

// rolloutBuckets reach from a vote of few proxies to a day of hold, in seconds.
var rolloutBuckets = []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 86400}

func newRollouts(reg prometheus.Registerer) *rollouts {
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: rolloutBuckets})
	}
	r := &rollouts{
		ended:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "meshlite_rollouts_total", Help: "Rollouts that were decided, by state; one that turned HEURISTIC later counts once more."}, []string{"state"}),
		votes:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "meshlite_rollout_votes_total", Help: "Votes of proxies on rollouts that were decided, by answer."}, []string{"answer"}),
		took:   histogram("meshlite_rollout_duration_seconds", "From the begin of a rollout to its decision."),
		voting: histogram("meshlite_rollout_vote_duration_seconds", "How long the proxies were asked."),
		skew:   histogram("meshlite_rollout_skew_seconds", "From the commit to the last proxy's acknowledgement."),
		open:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "meshlite_rollout_running", Help: "1 while a rollout is not decided."}),
	}
	for _, state := range []string{adminapi.Committed, adminapi.RolledBack, adminapi.Heuristic} {
		r.ended.WithLabelValues(state)
	}
	for _, answer := range []string{adminapi.VoteYes, adminapi.VoteNo, adminapi.VoteAbstain} {
		r.votes.WithLabelValues(answer)
	}
	reg.MustRegister(r.ended, r.votes, r.took, r.voting, r.skew, r.open)
	return r
}

// RolledOut counts a rollout that is another than before, which is the zero
// Rollout when it begins.
func (m *Metrics) RolledOut(before, after adminapi.Rollout) {
	r := m.rollouts
	r.mu.Lock()
	defer r.mu.Unlock()
	if was, is := before.Phase == adminapi.PhaseVoting, after.Phase == adminapi.PhaseVoting; is && !was {
		r.since = time.Now()
	} else if was && !is && !r.since.IsZero() {
		r.voting.Observe(time.Since(r.since).Seconds())
		r.since = time.Time{}
	}
	if before.Skew == 0 && after.Skew > 0 {
		r.skew.Observe(time.Duration(after.Skew).Seconds())
	}
	pending := after.State == adminapi.Pending
	r.open.Set(0)
	if pending {
		r.open.Set(1)
	}
	if pending || before.State == after.State {
		return
	}
	r.ended.WithLabelValues(after.State).Inc()
	if before.State == adminapi.Committed || before.State == adminapi.RolledBack {
		return // it was decided before
	}
	for answer, n := range map[string]int{adminapi.VoteYes: after.Votes.Yes, adminapi.VoteNo: after.Votes.No, adminapi.VoteAbstain: after.Votes.Abstain} {
		r.votes.WithLabelValues(answer).Add(float64(n))
	}
	if after.Decided != nil {
		r.took.Observe(after.Decided.Sub(after.Started).Seconds())
	}
}
