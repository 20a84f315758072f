package rollout_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/rollout"
)

// TestWhoRefusesWhatIsInForceHasNoVeto: its no tells nothing of the candidate. It is
// named, counts for no quorum and is not waited for after the commit; a change that
// mends it has its yes.
func TestWhoRefusesWhatIsInForceHasNoVeto(t *testing.T) {
	run(t, 3, nil, func(w *world) {
		w.propose(doc("a", 1))
		w.fleet.set(func(f *fleet) {
			f.stuck = map[string]bool{"envoy-0": true} // the one that is asked first
			f.refuses = func(proxy string, d *policy.Document) string {
				if proxy == "envoy-0" && *d.Resilience.Retry.Attempts < 5 {
					return "too few"
				}
				return ""
			}
		})
		w.propose(doc("a", 2))
		w.expect("a@2=2", adminapi.Committed, "")
		r := w.newest()
		if r.Votes.Yes != 2 || r.Votes.Abstain != 1 || r.Votes.Excused != 1 || !strings.Contains(r.Reason, "2 of 2 said yes") {
			w.t.Errorf("%s, %+v", r.Reason, r.Votes)
		}
		d, err := w.m.Rollout(w.t.Context(), r.ID)
		if err != nil || d.Proxies[0].Proxy != "envoy-0" || d.Proxies[0].Answer != adminapi.VoteAbstain || !d.Proxies[0].Excused || !strings.Contains(d.Proxies[0].Text, "in force already") {
			w.t.Errorf("votes: %+v, %v", d.Proxies, err)
		}
		if got := w.fleet.followed; !slices.Equal(got, []string{"envoy-1", "envoy-2"}) {
			w.t.Errorf("followed after the commit: %v", got)
		}
		w.propose(doc("a", 5))
		w.expect("a@3=5", adminapi.Committed, "")
		if r := w.newest(); r.Votes.Yes != 3 || r.Votes.Excused != 0 {
			w.t.Errorf("mended: %s, %+v", r.Reason, r.Votes)
		}
	})
}

// TestASilentOneHoldsUpNobody: the others of its build are asked although the first
// of them hangs.
func TestASilentOneHoldsUpNobody(t *testing.T) {
	run(t, 5, func(c *rollout.Config) { c.Settings.Quorum = 75 }, func(w *world) {
		w.propose(doc("a", 1))
		w.fleet.set(func(f *fleet) { f.silent["envoy-0"] = true })
		w.propose(doc("a", 2))
		w.settle(time.Second)
		if r := w.newest(); r.Votes.Yes != 0 {
			w.t.Errorf("more than the first were asked at once: %+v", r.Votes)
		}
		w.settle(2 * time.Second)
		if r := w.newest(); r.Votes.Yes != 4 {
			w.t.Errorf("the others were not asked: %+v", r.Votes)
		}
		w.settle(8 * time.Second)
		w.expect("a@2=2", adminapi.Committed, "")
	})
}
