package rollout_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/rollout"
	"meshlite.dev/internal/txn/journal"
)

func TestTheFleetVotesThenItServes(t *testing.T) {
	run(t, 5, nil, func(w *world) {
		w.propose(doc("a", 1))
		w.expect("a@1=1", adminapi.Committed, "")
		w.propose(doc("a", 2), doc("b", 1))
		w.settle(time.Second)
		w.expect("a@2=2 b@1=1", adminapi.Committed, "")
		r := w.newest()
		if r.Votes.Yes != 5 || r.Votes.Voters != 5 || r.To.Number != 2 || r.Pushed == nil || r.Pushed.Acked != 5 || len(r.Changes) != 2 {
			w.t.Errorf("%+v", r)
		}
		docs, err := w.m.Revision(w.t.Context(), "1")
		if err != nil || len(docs.Documents) != 1 {
			w.t.Errorf("revision 1: %+v, %v", docs, err)
		}
		if docs, err = w.m.Revision(w.t.Context(), r.To.Hash[:8]); err != nil || len(docs.Documents) != 2 {
			w.t.Errorf("revision 2: %+v, %v", docs, err)
		}
		if _, err := w.m.Revision(w.t.Context(), "9"); !errors.Is(err, adminapi.ErrNoRevision) {
			w.t.Errorf("revision 9: %v", err)
		}
	})
}

// TestWhatEnvoyRefusesNeverServes: the bystander goes on at once, an edit lifts
// the rejection, and the carrier that goes back has nothing refused.
func TestWhatEnvoyRefusesNeverServes(t *testing.T) {
	run(t, 3, nil, func(w *world) {
		w.fleet.refuses = refusing("a", 7)
		w.propose(doc("a", 1), doc("b", 1))
		w.propose(doc("a", 7), doc("b", 2))
		w.expect("a@1=1 b@2=2", adminapi.Committed, "")
		all := w.all()
		refused := all.Items[1]
		if refused.State != adminapi.RolledBack || !slices.Equal(refused.Blamed, []string{"ResiliencePolicy/default/a"}) || !strings.Contains(refused.Reason, "attempts must not be 7") {
			w.t.Errorf("%+v", refused)
		}
		if got := pinnedNames(all); !slices.Equal(got, []string{"a@2"}) || all.Pinned[0].Proxies == nil {
			w.t.Errorf("pinned: %+v", all.Pinned)
		}
		held := w.m.Held()
		if len(held) != 1 || !held[0].Refused || held[0].Name != "a" || !strings.Contains(held[0].Message, "attempts must not be 7") {
			w.t.Errorf("held: %+v", held)
		}
		before := len(all.Items)
		w.propose(doc("a", 7), doc("b", 2)) // again: nothing to do
		if n := len(w.all().Items); n != before {
			w.t.Errorf("the same proposal began %d more rollouts", n-before)
		}
		w.propose(doc("a", 3), doc("b", 2))
		w.expect("a@3=3 b@2=2", adminapi.Committed, "")
		if got := w.all().Pinned; got != nil {
			w.t.Errorf("still pinned: %+v", got)
		}
		for _, text := range w.used {
			if strings.Contains(text, "=7") {
				w.t.Errorf("it served %s", text)
			}
		}
	})
}

func TestARefusedDocumentStaysSoAfterARestart(t *testing.T) {
	run(t, 1, nil, func(w *world) {
		w.fleet.refuses = refusing("new", 7)
		w.propose(doc("a", 1))
		w.propose(doc("a", 1), doc("new", 7))
		w.expect("a@1=1", adminapi.RolledBack, "")
		w.stop()
		polled := w.fleet.polled
		w.start()
		w.propose(doc("a", 1), doc("new", 7))
		w.expect("a@1=1", adminapi.RolledBack, "")
		if w.fleet.polled != polled {
			w.t.Error("the fleet was asked once more")
		}
		if got := pinnedNames(w.all()); !slices.Equal(got, []string{"new@1"}) {
			w.t.Errorf("pinned: %v", got)
		}
		w.propose(doc("a", 1))
		if got := w.all().Pinned; got != nil {
			w.t.Errorf("withdrawn, and pinned: %+v", got)
		}
	})
}

// TestSilenceIsTriedAgain: too few answers roll back, blame nobody, and the next
// try goes through once the proxies answer.
func TestSilenceIsTriedAgain(t *testing.T) {
	run(t, 3, nil, func(w *world) {
		w.propose(doc("a", 1))
		w.fleet.set(func(f *fleet) { f.silent["envoy-1"], f.silent["envoy-2"] = true, true })
		w.propose(doc("a", 2))
		w.settle(2 * time.Second)
		if held := w.m.Held(); len(held) != 1 || held[0].Refused {
			w.t.Errorf("on its way, and held is %+v", held)
		}
		w.settle(10 * time.Second)
		w.expect("a@1=1", adminapi.RolledBack, "")
		if r := w.newest(); r.Votes.Abstain != 2 || !strings.Contains(r.Reason, "envoy-1") || r.Blamed != nil {
			w.t.Errorf("%+v", r)
		}
		w.fleet.set(func(f *fleet) { clear(f.silent) })
		w.settle(10 * time.Second)
		w.expect("a@2=2", adminapi.Committed, "")
	})
}

func TestTheQuorumBearsAnAbstention(t *testing.T) {
	quorum := func(c *rollout.Config) { c.Settings.Quorum = 50 }
	run(t, 5, quorum, func(w *world) {
		w.propose(doc("a", 1))
		w.fleet.set(func(f *fleet) { f.silent["envoy-3"] = true })
		w.propose(doc("a", 2))
		w.settle(11 * time.Second)
		w.expect("a@2=2", adminapi.Committed, "")
		if r := w.newest(); r.Votes.Yes != 4 || r.Votes.Abstain != 1 || !strings.Contains(r.Reason, "envoy-3") {
			w.t.Errorf("%+v", r)
		}
	})
}

func TestModes(t *testing.T) {
	run(t, 2, func(c *rollout.Config) { c.Settings.Mode = adminapi.ModeDirect }, func(w *world) {
		w.fleet.refuses = refusing("a", 7)
		w.propose(doc("a", 1))
		w.propose(doc("a", 7))
		if w.fleet.polled != 0 || w.inForce() != "a@2=7" {
			w.t.Errorf("direct: %d were asked, %s serves", w.fleet.polled, w.inForce())
		}
	})
	run(t, 2, func(c *rollout.Config) { c.Settings.Mode = adminapi.ModeHold }, func(w *world) {
		w.propose(doc("a", 1))
		w.propose(doc("a", 2))
		w.expect("a@1=1", adminapi.Pending, adminapi.PhaseHeld)
		id := w.newest().ID
		if r, err := w.m.Decide(w.t.Context(), id, adminapi.VerbCommit, adminapi.DecideRequest{By: "me"}); err != nil || r.State != adminapi.Committed {
			w.t.Fatalf("%+v, %v", r, err)
		}
		w.settle(time.Second)
		w.expect("a@2=2", adminapi.Committed, "")
		if _, err := w.m.Decide(w.t.Context(), id, adminapi.VerbCommit, adminapi.DecideRequest{}); err != nil {
			w.t.Errorf("once more: %v", err)
		}
		w.propose(doc("a", 3))
		r, err := w.m.Decide(w.t.Context(), w.newest().ID, adminapi.VerbAbort, adminapi.DecideRequest{By: "me", Reason: "not today"})
		if err != nil || r.State != adminapi.RolledBack || r.Reason != "aborted by me: not today" {
			w.t.Fatalf("%+v, %v", r, err)
		}
		w.settle(time.Minute)
		w.expect("a@2=2", adminapi.RolledBack, "")
		if _, err := w.m.Start(w.t.Context(), adminapi.StartRequest{Retry: true}); err != nil {
			w.t.Fatal(err)
		}
		w.settle(time.Second)
		w.expect("a@2=2", adminapi.Pending, adminapi.PhaseHeld)
	})
}

func TestOptionsAreOfTheNextAlone(t *testing.T) {
	run(t, 2, nil, func(w *world) {
		w.propose(doc("a", 1))
		skip := true
		out, err := w.m.Start(w.t.Context(), adminapi.StartRequest{ID: "mine", By: "me", Options: adminapi.RolloutOptions{SkipVote: &skip}})
		if err != nil || out.Next == nil {
			w.t.Fatalf("%+v, %v", out, err)
		}
		w.propose(doc("a", 2))
		r := w.newest()
		if w.fleet.polled != 0 || r.ID != "mine" || r.By != "me" || w.inForce() != "a@2=2" {
			w.t.Errorf("%+v, %d asked", r, w.fleet.polled)
		}
		if out, err = w.m.Start(w.t.Context(), adminapi.StartRequest{ID: "mine"}); err != nil || out.Rollout == nil || out.Rollout.ID != "mine" {
			w.t.Errorf("the same id: %+v, %v", out, err)
		}
		w.propose(doc("a", 3))
		if w.fleet.polled != 2 {
			w.t.Errorf("%d were asked the time after", w.fleet.polled)
		}
	})
}

// TestUndo: the same revision is in force again, and the carrier does not bring
// back what was taken until it is edited.
func TestUndo(t *testing.T) {
	run(t, 2, nil, func(w *world) {
		w.propose(doc("a", 1), doc("b", 1))
		first := w.newest().To
		w.propose(doc("a", 2), doc("c", 1))
		w.settle(time.Second)
		w.expect("a@2=2 c@1=1", adminapi.Committed, "")
		undone := w.newest()
		r, err := w.m.Undo(w.t.Context(), adminapi.UndoRequest{By: "me"})
		if err != nil {
			w.t.Fatal(err)
		}
		w.settle(time.Minute)
		w.expect("a@1=1 b@1=1", adminapi.Committed, "")
		now := w.newest()
		if now.ID != r.ID || now.To.Hash != first.Hash || now.To.Number != 3 || now.Undoes != undone.ID {
			w.t.Errorf("%+v", now)
		}
		if d, err := w.m.Rollout(w.t.Context(), undone.ID); err != nil || d.UndoneBy != r.ID {
			w.t.Errorf("%+v, %v", d.Rollout, err)
		}
		w.propose(doc("a", 2), doc("c", 1))
		w.expect("a@1=1 b@1=1", adminapi.Committed, "")
		w.propose(doc("a", 4), doc("c", 1))
		w.settle(time.Second)
		w.expect("a@3=4 b@1=1", adminapi.Committed, "")
		if _, err := w.m.Undo(w.t.Context(), adminapi.UndoRequest{ToRevision: "2"}); err != nil {
			w.t.Fatal(err)
		}
		w.settle(time.Second)
		w.expect("a@2=2 c@1=1", adminapi.Committed, "")
		if _, err := w.m.Undo(w.t.Context(), adminapi.UndoRequest{ToRevision: "77"}); !errors.Is(err, adminapi.ErrNoRevision) {
			w.t.Errorf("undo to 77: %v", err)
		}
		if _, err := w.m.Undo(w.t.Context(), adminapi.UndoRequest{ToRevision: w.newest().To.Hash}); !errors.Is(err, adminapi.ErrNotNow) {
			w.t.Errorf("undo to what is in force: %v", err)
		}
	})
}

func confirming(c *rollout.Config) { c.Settings.ConfirmTimeout = adminapi.Duration(time.Minute) }

func TestUnconfirmedIsUndone(t *testing.T) {
	for _, restart := range []bool{false, true} {
		run(t, 2, confirming, func(w *world) {
			w.propose(doc("a", 1))
			w.propose(doc("a", 2))
			w.expect("a@2=2", adminapi.Committed, adminapi.PhaseConfirming)
			w.propose(doc("a", 2), doc("b", 1)) // waits
			w.settle(10 * time.Second)
			w.expect("a@2=2", adminapi.Committed, adminapi.PhaseConfirming)
			if restart {
				w.stop()
				w.start()
				w.m.Propose(holding(doc("a", 2), doc("b", 1)))
			}
			w.settle(45 * time.Second)
			w.expect("a@2=2", adminapi.Committed, adminapi.PhaseConfirming)
			w.settle(10 * time.Second)
			if got := w.inForce(); got != "a@1=1 b@1=1" {
				w.t.Errorf("restarted %v: serves %s", restart, got)
			}
			if got := pinnedNames(w.all()); !slices.Equal(got, []string{"a@2"}) {
				w.t.Errorf("pinned: %v", got)
			}
		})
	}
}

func TestConfirmedStays(t *testing.T) {
	run(t, 2, confirming, func(w *world) {
		w.propose(doc("a", 1))
		w.propose(doc("a", 2))
		id := w.newest().ID
		if _, err := w.m.Decide(w.t.Context(), id, adminapi.VerbConfirm, adminapi.DecideRequest{By: "me"}); err != nil {
			w.t.Fatal(err)
		}
		w.settle(5 * time.Minute)
		w.expect("a@2=2", adminapi.Committed, "")
		if _, err := w.m.Decide(w.t.Context(), id, adminapi.VerbConfirm, adminapi.DecideRequest{}); err != nil {
			w.t.Errorf("once more: %v", err)
		}
		w.propose(doc("a", 3))
		if r, err := w.m.Decide(w.t.Context(), w.newest().ID, adminapi.VerbAbort, adminapi.DecideRequest{}); err != nil || r.UndoneBy == "" {
			w.t.Errorf("%+v, %v", r, err)
		}
		w.settle(time.Second)
		w.expect("a@2=2", adminapi.Committed, "")
	})
}

// TestTooManyRefusalsAfterTheCommitUndoIt: a heuristic end, on record.
func TestTooManyRefusalsAfterTheCommitUndoIt(t *testing.T) {
	run(t, 5, nil, func(w *world) {
		w.propose(doc("a", 1))
		w.fleet.set(func(f *fleet) {
			for _, v := range f.voters[:3] {
				f.rejected = append(f.rejected, rollout.ProxyRefusal{Proxy: v.ID, Message: "no after all"})
			}
		})
		w.propose(doc("a", 2))
		w.settle(time.Second)
		w.expect("a@1=1", adminapi.Committed, "")
		r := w.all().Items[1]
		if r.State != adminapi.Heuristic || r.UndoneBy == "" || !strings.Contains(r.Reason, "no after all") {
			w.t.Errorf("%+v", r)
		}
		if _, err := w.m.Decide(w.t.Context(), r.ID, adminapi.VerbResolve, adminapi.DecideRequest{By: "me", Reason: "seen"}); err != nil {
			w.t.Error(err)
		}
	})
}

func TestAFreezeHoldsEverything(t *testing.T) {
	run(t, 1, nil, func(w *world) {
		w.propose(doc("a", 1))
		k := revision.New(w.store)
		if err := k.SetFreeze(w.t.Context(), &revision.Freeze{Reason: "sale"}); err != nil {
			w.t.Fatal(err)
		}
		w.propose(doc("a", 2))
		w.settle(time.Minute)
		if got := w.inForce(); got != "a@1=1" || w.all().Queued != 1 || !strings.Contains(w.all().Waits, "sale") {
			w.t.Errorf("frozen, and %s serves; %d queued", got, w.all().Queued)
		}
		if held := w.m.Held(); len(held) != 1 || !strings.Contains(held[0].Message, "sale") {
			w.t.Errorf("held: %+v", held)
		}
		if err := k.SetFreeze(w.t.Context(), nil); err != nil {
			w.t.Fatal(err)
		}
		w.settle(2 * time.Second)
		w.expect("a@2=2", adminapi.Committed, "")
	})
}

func TestWithoutVotersItCommitsAndSaysSo(t *testing.T) {
	run(t, 0, nil, func(w *world) {
		w.propose(doc("a", 1))
		w.propose(doc("a", 2))
		if r := w.newest(); w.inForce() != "a@2=2" || !strings.Contains(r.Reason, "no voters") {
			w.t.Errorf("%+v", r)
		}
	})
}

// TestThoseWhoCannotBeAskedHoldNothingUp: they abstain, by name.
func TestThoseWhoCannotBeAskedHoldNothingUp(t *testing.T) {
	run(t, 2, nil, func(w *world) {
		for i := range w.fleet.voters {
			w.fleet.voters[i].Mute = "has no votes"
		}
		w.propose(doc("a", 1))
		w.propose(doc("a", 2))
		if r := w.newest(); w.inForce() != "a@2=2" || r.Votes.Abstain != 2 {
			w.t.Errorf("%+v", r)
		}
	})
}

func TestAReplicaThatDoesNotLeadFollows(t *testing.T) {
	run(t, 1, func(c *rollout.Config) {
		c.Lead = func(ctx context.Context, _ func(context.Context, journal.Journal)) { <-ctx.Done() }
	}, func(w *world) {
		leader := newWorld(w.t, 1, nil)
		leader.store, leader.journal = w.store, w.journal
		leader.start()
		leader.propose(doc("a", 1))
		w.propose(doc("a", 1))
		leader.propose(doc("a", 2))
		w.settle(2 * time.Second)
		if got := w.inForce(); got != "a@2=2" || len(w.all().Items) != 2 {
			w.t.Errorf("the follower serves %s and knows %d rollouts", got, len(w.all().Items))
		}
		if _, err := w.m.Undo(w.t.Context(), adminapi.UndoRequest{}); !errors.Is(err, adminapi.ErrElsewhere) {
			w.t.Errorf("undo: %v", err)
		}
		leader.stop()
	})
}
