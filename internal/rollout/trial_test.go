package rollout_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/rollout"
)

// onTrial asks for a share of the proxies, for a minute.
func onTrial(canary string) func(*rollout.Config) {
	return func(c *rollout.Config) {
		c.Settings.Canary, c.Settings.Bake = canary, adminapi.Duration(time.Minute)
	}
}

func TestATrialServesItFirst(t *testing.T) {
	run(t, 10, onTrial("20%"), func(w *world) {
		w.propose(doc("a", 1))
		w.propose(doc("a", 2))
		w.settle(2 * time.Second)
		w.expect("a@1=1", adminapi.Pending, adminapi.PhaseCanary)
		if len(w.fleet.trying) != 2 || w.fleet.tried != "a@2=2" {
			w.t.Errorf("%v serve %s", w.fleet.trying, w.fleet.tried)
		}
		w.fleet.set(func(f *fleet) { f.calls = map[string]rollout.Calls{f.trying[0]: {Requests: 1000, Errors: 4}} })
		w.settle(time.Minute)
		w.expect("a@2=2", adminapi.Committed, "")
		if r := w.newest(); !strings.Contains(r.Reason, "on trial 4 of 1000") || r.Canary == nil || r.Canary.Requests != 1000 || r.Canary.Errors != 4 || w.fleet.trying != nil {
			w.t.Errorf("%+v; %v are on trial", r.Canary, w.fleet.trying)
		}
	})
}

// TestATrialThatFailsEndsAtOnce: long before the bake time, and the others never
// serve it.
func TestATrialThatFailsEndsAtOnce(t *testing.T) {
	run(t, 10, onTrial("20%"), func(w *world) {
		w.propose(doc("a", 1))
		w.fleet.set(func(f *fleet) { f.calls = map[string]rollout.Calls{"envoy-1": {Requests: 500, Errors: 400}} })
		w.propose(doc("a", 2))
		w.settle(2 * time.Second)
		w.fleet.set(func(f *fleet) {
			f.calls = map[string]rollout.Calls{"envoy-1": {Requests: 500, Errors: 400}, f.trying[0]: {Requests: 100, Errors: 50}}
		})
		w.settle(2 * time.Second)
		w.expect("a@1=1", adminapi.RolledBack, "")
		r := w.newest()
		if !strings.Contains(r.Reason, "50 of 100 calls") || len(r.Blamed) != 1 || w.fleet.trying != nil {
			w.t.Errorf("%+v; %v are on trial", r, w.fleet.trying)
		}
		w.settle(10 * time.Minute)
		w.expect("a@1=1", adminapi.RolledBack, "")
	})
}

// TestATrialEndsWithItsRollout: an abort, and a server that stops, leave nobody on
// trial.
func TestATrialEndsWithItsRollout(t *testing.T) {
	run(t, 3, onTrial("1%"), func(w *world) {
		w.propose(doc("a", 1))
		w.propose(doc("a", 2))
		w.settle(2 * time.Second)
		if _, err := w.m.Decide(w.t.Context(), w.newest().ID, adminapi.VerbAbort, adminapi.DecideRequest{}); err != nil {
			w.t.Fatal(err)
		}
		w.settle(time.Second)
		if w.fleet.trying != nil {
			w.t.Errorf("aborted, and %v are on trial", w.fleet.trying)
		}
		w.propose(doc("a", 3))
		w.settle(2 * time.Second)
		if len(w.fleet.trying) != 1 {
			w.t.Errorf("%v are on trial", w.fleet.trying)
		}
		w.stop()
		if w.fleet.trying != nil {
			w.t.Errorf("stopped, and %v are on trial", w.fleet.trying)
		}
		w.start()
		w.propose(doc("a", 3))
		w.settle(2 * time.Minute)
		w.expect("a@3=3", adminapi.Committed, "")
	})
}

func TestALabelThatNobodyHasIsWaitedFor(t *testing.T) {
	run(t, 2, onTrial("ring=first"), func(w *world) {
		w.propose(doc("a", 1))
		w.propose(doc("a", 2))
		w.settle(time.Minute)
		if r := w.newest(); w.inForce() != "a@1=1" || !strings.Contains(r.Reason, "canary ring=first") || r.Blamed != nil {
			w.t.Errorf("%+v", r)
		}
	})
}

// TestEveryReplicaTriesIt: each serves it to its share; the errors of all together
// end it everywhere, and without them all go over.
func TestEveryReplicaTriesIt(t *testing.T) {
	for _, bad := range []bool{true, false} {
		replicas(t, 3, func(all []*world) {
			propose(all, doc("a", 1))
			minute := adminapi.Duration(time.Minute)
			if _, err := all[1].m.Start(all[1].t.Context(), adminapi.StartRequest{Options: adminapi.RolloutOptions{Canary: new("30%"), Bake: &minute}}); err != nil {
				all[1].t.Fatal(err)
			}
			propose(all, doc("a", 2))
			errors := uint64(1)
			if bad { // of two replicas they are too few to tell, of three not
				errors = 2
			}
			for _, w := range all {
				w.expect("a@1=1", adminapi.Pending, adminapi.PhaseCanary)
				w.fleet.set(func(f *fleet) {
					if len(f.trying) != 1 || f.tried != "a@2=2" {
						w.t.Errorf("%v serve %s", f.trying, f.tried)
						return
					}
					f.calls = map[string]rollout.Calls{"another": {Requests: 10}, f.trying[0]: {Requests: 10, Errors: errors}}
				})
			}
			all[0].settle(4 * time.Second)
			if r := all[0].newest(); bad {
				if r.State != adminapi.RolledBack || !strings.Contains(r.Reason, "on trial 6 of 30 calls of 3 proxies failed") || len(all[0].all().Pinned[0].Proxies) != 3 {
					all[0].t.Errorf("%+v", r)
				}
			} else if r.Canary == nil || r.Canary.Proxies != 3 || r.Canary.Errors != 3 || r.Canary.BaselineRequests != 30 {
				all[0].t.Errorf("%+v", r.Canary)
			}
			all[0].settle(2 * time.Minute)
			for _, w := range all {
				if w.fleet.trying != nil {
					w.t.Errorf("%v are still on trial", w.fleet.trying)
				}
				if want := map[bool]string{true: "a@1=1", false: "a@2=2"}[bad]; w.inForce() != want {
					w.t.Errorf("serves %s, want %s", w.inForce(), want)
				}
			}
		})
	}
}

// TestACanaryElsewhere: none of the leader's proxies has the label, and one of
// another replica; when the leader dies nobody is left on trial.
func TestACanaryElsewhere(t *testing.T) {
	replicas(t, 2, func(all []*world) {
		propose(all, doc("a", 1))
		minute := adminapi.Duration(time.Minute)
		options := adminapi.RolloutOptions{Canary: new("ring=first"), Bake: &minute}
		if _, err := all[0].m.Start(all[0].t.Context(), adminapi.StartRequest{Options: options}); err != nil {
			all[0].t.Fatal(err)
		}
		all[1].fleet.set(func(f *fleet) {
			f.voters[2].Label = func(key string) string { return map[string]string{"ring": "first"}[key] }
		})
		propose(all, doc("a", 2))
		all[0].expect("a@1=1", adminapi.Pending, adminapi.PhaseCanary)
		if all[0].fleet.trying != nil || !slices.Equal(all[1].fleet.trying, []string{"b-envoy-2"}) {
			all[0].t.Errorf("on trial are %v and %v", all[0].fleet.trying, all[1].fleet.trying)
		}
		all[0].stop()
		all[0].stop = nil
		all[1].settle(time.Second)
		if all[1].fleet.trying != nil {
			all[0].t.Errorf("the leader is gone, and %v are on trial", all[1].fleet.trying)
		}
	})
}

func TestCanaries(t *testing.T) {
	var voters []rollout.Voter
	for i := range 10 {
		ring := []string{"first", "rest"}[min(i, 1)]
		voters = append(voters, rollout.Voter{ID: fmt.Sprintf("e%d", i), Label: func(key string) string { return map[string]string{"ring": ring}[key] }})
	}
	for canary, want := range map[string]int{"1%": 1, "10%": 1, "11%": 2, "100%": 10, "ring=first": 1, "ring=rest": 9, "ring=none": 0, "zone=a": 0} {
		got := rollout.Canaries(adminapi.RolloutSettings{Canary: canary}, voters)
		if len(got) != want || !slices.IsSorted(got) {
			t.Errorf("%s picks %v, want %d", canary, got, want)
		}
		slices.Reverse(voters)
		if again := rollout.Canaries(adminapi.RolloutSettings{Canary: canary}, voters); !slices.Equal(again, got) {
			t.Errorf("%s picks %v, and in another order %v", canary, got, again)
		}
	}
	if got := rollout.Canaries(adminapi.RolloutSettings{Canary: "50%"}, nil); got != nil {
		t.Errorf("of nobody: %v", got)
	}
}

func TestWorse(t *testing.T) {
	for _, tt := range []struct {
		c    adminapi.CanaryCount
		want bool
	}{
		{adminapi.CanaryCount{}, false},
		{adminapi.CanaryCount{Requests: 4, Errors: 4}, false}, // too few to tell
		{adminapi.CanaryCount{Requests: 5, Errors: 5}, true},
		{adminapi.CanaryCount{Requests: 1000, Errors: 10}, false},
		{adminapi.CanaryCount{Requests: 1000, Errors: 11}, true},
		{adminapi.CanaryCount{Requests: 1000, Errors: 100, BaselineRequests: 1000, BaselineErrors: 50}, false},
		{adminapi.CanaryCount{Requests: 1000, Errors: 112, BaselineRequests: 1000, BaselineErrors: 50}, true},
	} {
		if got := rollout.Worse(tt.c); got != tt.want {
			t.Errorf("%+v: %v", tt.c, got)
		}
	}
}
