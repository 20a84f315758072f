package rollout_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/rollout"
	"meshlite.dev/internal/txn/journal"
)

// replicas runs a test over servers that share a store, the first of which leads.
func replicas(t *testing.T, n int, test func(all []*world)) {
	synctest.Test(t, func(t *testing.T) {
		first := newWorld(t, 0, nil)
		var all []*world
		for i := range n {
			w := newWorld(t, 3, nil)
			w.store, w.journal = first.store, first.journal
			name := string(rune('a' + i))
			for k := range w.fleet.voters {
				w.fleet.voters[k].ID = name + "-" + w.fleet.voters[k].ID
			}
			w.cfg = func(c *rollout.Config) {
				c.Store, c.Board, c.Replica = &stalling{Store: w.store, w: w}, w.store, name
				c.Instance = "instance-" + name
				c.Lead = func(ctx context.Context, do func(context.Context, journal.Journal)) {
					w.store.Hold(ctx, "rollouts", func(ctx context.Context) { do(ctx, w.journal.Open()) })
				}
			}
			all = append(all, w)
			w.start()
			w.settle(time.Millisecond)
		}
		test(all)
		for _, w := range all {
			if w.stop != nil {
				w.stop()
			}
		}
	})
}

// propose hands the same to all, as a shared carrier does.
func propose(all []*world, docs ...string) {
	for _, w := range all {
		w.m.Propose(holding(docs...))
	}
	all[0].settle(2 * time.Second)
}

func TestEveryReplicasProxiesVote(t *testing.T) {
	replicas(t, 3, func(all []*world) {
		propose(all, doc("a", 1))
		propose(all, doc("a", 2))
		for _, w := range all {
			w.expect("a@2=2", adminapi.Committed, "")
			if r := w.newest(); r.Votes.Yes != 9 || r.Votes.Voters != 9 {
				w.t.Errorf("%+v", r.Votes)
			}
		}
		all[2].fleet.set(func(f *fleet) { f.refuses = refusing("a", 7) }) // of the leader's none does
		propose(all, doc("a", 7), doc("b", 1))
		for _, w := range all {
			if got := w.inForce(); got != "a@2=2 b@1=1" {
				w.t.Errorf("serves %s", got)
			}
			for _, text := range w.used {
				if strings.Contains(text, "=7") {
					w.t.Errorf("it served %s", text)
				}
			}
			all := w.all()
			if refused := all.Items[1]; refused.State != adminapi.RolledBack || !strings.Contains(refused.Reason, "c-envoy-") || len(all.Pinned) != 1 {
				w.t.Errorf("%+v, pinned %+v", refused, all.Pinned)
			}
			if held := w.m.Held(); len(held) != 1 || !held[0].Refused {
				w.t.Errorf("held: %+v", held)
			}
		}
	})
}

// TestTheNextLeaderEndsIt: the leader dies while its proxies vote; the other
// replica rolls that back and begins anew, with its own proxies alone.
func TestTheNextLeaderEndsIt(t *testing.T) {
	replicas(t, 2, func(all []*world) {
		propose(all, doc("a", 1))
		all[0].fleet.set(func(f *fleet) { f.silent["a-envoy-0"] = true })
		propose(all, doc("a", 2))
		all[0].expect("a@1=1", adminapi.Pending, adminapi.PhaseVoting)
		all[0].stop()
		all[0].stop = nil
		all[1].settle(20 * time.Second)
		all[1].expect("a@2=2", adminapi.Committed, "")
		items := all[1].all().Items
		if items[0].Votes.Yes != 3 || items[1].State != adminapi.RolledBack || items[1].Open() {
			all[1].t.Errorf("%+v\n%+v", items[0], items[1])
		}
	})
}

// TestAReplicaThatGoesMidwayIsWaitedForNoLonger: without its votes it is rolled
// back, and goes on at once with those who are left.
func TestAReplicaThatGoesMidwayIsWaitedForNoLonger(t *testing.T) {
	replicas(t, 2, func(all []*world) {
		propose(all, doc("a", 1))
		all[1].fleet.set(func(f *fleet) { f.silent["b-envoy-0"] = true })
		propose(all, doc("a", 2))
		all[1].stop()
		all[1].stop = nil
		all[0].settle(time.Second)
		all[0].expect("a@2=2", adminapi.Committed, "")
		if r := all[0].all().Items[1]; r.State != adminapi.RolledBack || !strings.Contains(r.Reason, "gone") || r.Blamed != nil {
			all[0].t.Errorf("%+v", r)
		}
	})
}

// TestTheDeadAreNotAsked: the note of a leader outlives its lock, and says that it
// leads; that of one that was restarted bears the name of who it is now.
func TestTheDeadAreNotAsked(t *testing.T) {
	for _, mark := range []string{`"leads":true`, `"instance":"instance-a"`} {
		replicas(t, 2, func(all []*world) {
			ctx, forget := context.WithCancel(all[0].t.Context())
			var posts sync.WaitGroup
			posts.Go(func() {
				notes := make(chan []byte, 1)
				notes <- []byte(`{"version":1,"replica":"dead",` + mark + `,"inForce":"abc","running":{"connected":7,"running":7,"refusing":0}}`)
				all[0].store.Post(ctx, "rollouts", notes, func(map[string][]byte) {})
			})
			propose(all, doc("a", 1))
			propose(all, doc("a", 2))
			all[0].expect("a@2=2", adminapi.Committed, "")
			if r := all[0].newest(); r.Votes.Yes != 6 || r.Pushed == nil || r.Pushed.Acked != 6 {
				all[0].t.Errorf("%s: %+v", mark, r)
			}
			if up := all[0].all().Proxies; up.Connected != 6 || up.Running != 6 {
				all[0].t.Errorf("%s: %+v", mark, up)
			}
			forget()
			posts.Wait()
		})
	}
}

// TestRefusalsOfAllReplicasCount: each has no more than --max-failed allows, and
// together they have.
func TestRefusalsOfAllReplicasCount(t *testing.T) {
	replicas(t, 3, func(all []*world) {
		propose(all, doc("a", 1))
		all[2].fleet.set(func(f *fleet) { f.slow = 300 * time.Millisecond })
		propose(all, doc("a", 2))
		for _, w := range all {
			r := w.newest()
			if r.Pushed == nil || *r.Pushed != (adminapi.PushCount{Proxies: 9, Acked: 9}) || time.Duration(r.Skew).Round(100*time.Millisecond) != 300*time.Millisecond {
				w.t.Errorf("pushed %+v, skew %s", r.Pushed, r.Skew)
			}
			if up := w.all().Proxies; up.Connected != 9 || up.Running != 9 {
				w.t.Errorf("%+v", up)
			}
		}
		for _, w := range all[1:] {
			w.fleet.set(func(f *fleet) { f.rejected = []rollout.ProxyRefusal{{Proxy: f.voters[0].ID, Message: "not this"}} })
		}
		propose(all, doc("a", 3)) // two refuse it: as many as may
		all[0].settle(2 * time.Second)
		for _, w := range all {
			w.expect("a@3=3", adminapi.Committed, "")
			if r := w.newest(); *r.Pushed != (adminapi.PushCount{Proxies: 9, Acked: 7, Refused: 2}) {
				w.t.Errorf("pushed %+v", r.Pushed)
			}
			if up := w.all().Proxies; up.Connected != 9 || up.Running != 7 || up.Refusing != 2 {
				w.t.Errorf("%+v", up)
			}
		}
		all[2].fleet.set(func(f *fleet) {
			f.rejected = append(f.rejected, rollout.ProxyRefusal{Proxy: f.voters[1].ID, Message: "nor that"})
		})
		propose(all, doc("a", 4))
		all[0].settle(2 * time.Second)
		for _, w := range all {
			items := w.all().Items
			if undone := items[1]; w.inForce() != "a@3=3" || undone.State != adminapi.Heuristic || !strings.Contains(undone.Reason, "3 of 9 proxies refused it after the commit, over 2,1%; ") || undone.UndoneBy != items[0].ID {
				w.t.Errorf("serves %s, %+v", w.inForce(), undone)
			}
		}
	})
}

// TestAFollowerKnowsWhatWaits as the leader does.
func TestAFollowerKnowsWhatWaits(t *testing.T) {
	replicas(t, 2, func(all []*world) {
		propose(all, doc("a", 1))
		hold := adminapi.RolloutOptions{Mode: new(adminapi.ModeHold), ConfirmTimeout: new(adminapi.Duration(time.Minute))}
		if _, err := all[1].m.Start(all[1].t.Context(), adminapi.StartRequest{Options: hold}); err != nil {
			all[1].t.Fatal(err)
		}
		propose(all, doc("a", 2))
		propose(all, doc("a", 3), doc("b", 1))
		for _, w := range all {
			if now := w.all(); now.Queued != 2 || now.Waits != "" {
				w.t.Errorf("held: %d, %q", now.Queued, now.Waits)
			}
		}
		if _, err := all[1].m.Decide(all[1].t.Context(), all[1].newest().ID, adminapi.VerbCommit, adminapi.DecideRequest{}); err != nil {
			all[1].t.Fatal(err)
		}
		all[1].settle(2 * time.Second)
		for _, w := range all {
			if now := w.all(); !strings.Contains(now.Waits, "waits for its confirmation") {
				w.t.Errorf("committed: %q", now.Waits)
			}
		}
	})
}

// TestTheQuorumIsOfAllReplicas: what one of them alone would miss is enough for
// the fleet, a build is known by whoever has it, and too few are too few.
func TestTheQuorumIsOfAllReplicas(t *testing.T) {
	for _, tc := range []struct {
		name, state, reason string
		silent              []string
		voters              string // "b-envoy-2=1.40": another build
		quorum              int
	}{
		{name: "two of a replica's three are silent, of nine", quorum: 75, silent: []string{"b-envoy-1", "b-envoy-2"}, state: adminapi.Committed, reason: "7 of 9 said yes; silent: b-envoy-1, b-envoy-2"},
		{name: "all of one replica are silent", quorum: 60, silent: []string{"c-envoy-0", "c-envoy-1", "c-envoy-2"}, state: adminapi.Committed, reason: "6 of 9 said yes; silent: c-envoy-0"},
		{name: "more than the quorum bears", quorum: 80, silent: []string{"a-envoy-1", "b-envoy-1", "c-envoy-1"}, state: adminapi.RolledBack, reason: "5 of 8 others said yes, which is under 80%; silent: a-envoy-1, b-envoy-1, c-envoy-1"},
		{name: "one of a build, elsewhere", quorum: 10, silent: []string{"a-envoy-0"}, voters: "a-envoy-0 b-envoy-2", state: adminapi.Committed, reason: "8 of 9"},
		{name: "a build that is silent everywhere", quorum: 10, silent: []string{"b-envoy-2"}, voters: "b-envoy-2", state: adminapi.RolledBack, reason: "waits for a first yes of 1.40"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			replicas(t, 3, func(all []*world) {
				propose(all, doc("a", 1))
				for _, w := range all {
					w.fleet.set(func(f *fleet) {
						for i := range f.voters {
							id := f.voters[i].ID
							f.silent[id] = slices.Contains(tc.silent, id)
							if strings.Contains(tc.voters, id) {
								f.voters[i].Build = "1.40"
							}
						}
					})
				}
				if _, err := all[0].m.Start(all[0].t.Context(), adminapi.StartRequest{Options: adminapi.RolloutOptions{Quorum: &tc.quorum}}); err != nil {
					all[0].t.Fatal(err)
				}
				propose(all, doc("a", 2))
				all[0].settle(12 * time.Second)
				for _, w := range all {
					if r := w.newest(); r.State != tc.state || !strings.Contains(r.Reason, tc.reason) || r.Votes.Voters != 9 || r.Votes.Abstain != len(tc.silent) {
						w.t.Errorf("%s (%s), %+v", r.State, r.Reason, r.Votes)
					}
				}
			})
		})
	}
}
