package metrics_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/admin/metrics"
)

// A rollout is counted once, when it is decided; a vote takes as long as its
// phase; what turns HEURISTIC later counts as that, too.
func TestARolloutIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		m := metrics.New(reg, metrics.Sources{})
		before, r := adminapi.Rollout{}, adminapi.Rollout{ID: "r1", State: adminapi.Pending, Phase: adminapi.PhaseVoting, Started: time.Now()}
		step := func(edit func()) {
			edit()
			m.RolledOut(before, r)
			before = r
		}
		step(func() {})
		running := exposition(t, reg)
		<-time.After(2 * time.Second)
		step(func() { r.Votes = adminapi.VoteCount{Voters: 5, Yes: 3, Abstain: 2} })
		<-time.After(2 * time.Second)
		decided := time.Now()
		step(func() { r.State, r.Phase, r.Decided = adminapi.Committed, adminapi.PhasePushing, &decided })
		step(func() { r.Phase, r.Skew = "", adminapi.Duration(300*time.Millisecond) })
		step(func() { r.UndoneBy = "r2" })
		committed := exposition(t, reg)
		step(func() { r.State = adminapi.Heuristic })
		for page, lines := range map[string][]string{
			running: {`meshlite_rollout_running 1`, `meshlite_rollouts_total{state="COMMITTED"} 0`, `meshlite_rollout_votes_total{answer="yes"} 0`},
			committed: {
				`meshlite_rollout_running 0`, `meshlite_rollouts_total{state="COMMITTED"} 1`, `meshlite_rollouts_total{state="HEURISTIC"} 0`,
				`meshlite_rollout_votes_total{answer="yes"} 3`, `meshlite_rollout_votes_total{answer="abstain"} 2`, `meshlite_rollout_votes_total{answer="no"} 0`,
				`meshlite_rollout_duration_seconds_sum 4`, `meshlite_rollout_vote_duration_seconds_sum 4`, `meshlite_rollout_skew_seconds_sum 0.3`, `meshlite_rollout_skew_seconds_count 1`,
			},
			exposition(t, reg): {`meshlite_rollouts_total{state="COMMITTED"} 1`, `meshlite_rollouts_total{state="HEURISTIC"} 1`, `meshlite_rollout_votes_total{answer="yes"} 3`, `meshlite_rollout_duration_seconds_count 1`},
		} {
			for _, line := range lines {
				if !strings.Contains(page, "\n"+line+"\n") {
					t.Errorf("no line %q in\n%s", line, page)
				}
			}
		}
	})
}
