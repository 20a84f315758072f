package app

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/facts"
	"meshlite.dev/internal/rollout"
	"meshlite.dev/internal/txn"
)

// names are the milestones, in their order.
func names(s facts.Subject) (out []string) {
	for _, one := range facts.Diff(nil, s) {
		out = append(out, one.State)
	}
	return out
}

func TestToldRollouts(t *testing.T) {
	began := time.Unix(1, 0).UTC()
	of := func(edit func(*adminapi.Rollout)) adminapi.Rollout {
		r := adminapi.Rollout{
			ID: "r1", State: adminapi.Committed, From: adminapi.RevisionRef{Number: 1, Hash: "a"}, To: adminapi.RevisionRef{Number: 2, Hash: "b"},
			Settings: adminapi.DefaultRolloutSettings(), Started: began, Decided: &began, By: "ada", Source: "dir",
			Changes: []adminapi.RolloutChange{{Document: "ResiliencePolicy/default/a", Change: "change", From: 1, To: 2}},
		}
		edit(&r)
		return r
	}
	for _, tc := range []struct {
		name string
		edit func(*adminapi.Rollout)
		want []string
	}{
		{"voted", func(*adminapi.Rollout) {}, []string{"started", "prepared", "committed"}},
		{"the vote was skipped", func(r *adminapi.Rollout) { r.Settings.SkipVote = true }, []string{"started", "committed"}},
		{"direct", func(r *adminapi.Rollout) { r.Settings.Mode = adminapi.ModeDirect }, []string{"started", "committed"}},
		{"the first", func(r *adminapi.Rollout) { r.From = adminapi.RevisionRef{} }, []string{"started", "committed"}},
		{"held", func(r *adminapi.Rollout) {
			r.State, r.Phase, r.To.Number, r.Decided = adminapi.Pending, adminapi.PhaseHeld, 0, nil
		}, []string{"started", "prepared"}},
		{"given up while it was held", func(r *adminapi.Rollout) { r.State, r.To.Number = adminapi.RolledBack, 0 }, []string{"started", "aborted"}},
		{"confirmed", func(r *adminapi.Rollout) { r.Confirmed = &began }, []string{"started", "prepared", "committed", "confirmed"}},
		{"undone", func(r *adminapi.Rollout) { r.UndoneBy = "r2" }, []string{"started", "prepared", "committed", "rolledback"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			all := toldRollouts(rollout.Kept{Read: true, Items: []adminapi.Rollout{of(tc.edit)}, Oldest: 7, Newest: 7})
			if got := names(facts.OfRollout(all.Items[0], nil)); !slices.Equal(got, tc.want) || !all.Known || all.Oldest != 7 || all.Newest != 7 {
				t.Errorf("told %q, want %q", got, tc.want)
			}
		})
	}
	s := facts.OfRollout(toldRollout(of(func(r *adminapi.Rollout) { r.Settings.SkipVote = true })), nil)
	want := `{"rollout":"r1","state":"COMMITTED","mode":"auto","skipVote":true,"by":"ada","source":"dir","from":1,"revision":2,"hash":"b",` +
		`"documents":[{"document":"ResiliencePolicy/default/a","change":"change","from":1,"to":2}]}`
	if got := string(s["committed"].Data); got != want {
		t.Errorf("told %s\nwant %s", got, want)
	}
}

func TestToldTransactions(t *testing.T) {
	record := txn.Record{
		Tx: txn.Tx{ID: "7", Body: []byte("secret"), Started: time.Unix(1, 0)}, Phase: txn.Aborting, Outcome: txn.Abort, Reason: "stock: no",
		Parties: []txn.Party{{ID: "stock", Vote: txn.No, Ending: txn.Spared, Text: "sold out", Body: []byte("secret")}, {ID: "pay", Vote: txn.Yes, Ending: txn.Refused}},
	}
	s := facts.OfTransaction(toldTransaction(record), nil)
	if got := names(s); !slices.Equal(got, []string{"started", "rolledback", "heuristic"}) {
		t.Errorf("told %q", got)
	}
	var data events.Transaction
	if err := json.Unmarshal(s["heuristic"].Data, &data); err != nil || strings.Contains(string(s["heuristic"].Data), "secret") {
		t.Fatalf("%s: %v", s["heuristic"].Data, err)
	}
	want := []events.Participant{{Service: "stock", Vote: "no", Text: "sold out"}, {Service: "pay", Vote: "yes", Ending: "refused"}}
	if data.Decision != "abort" || !slices.Equal(data.Participants, want) {
		t.Errorf("told %+v", data)
	}
	record.Phase, record.Outcome, record.Parties = txn.Preparing, txn.Undecided, nil
	if got := names(facts.OfTransaction(toldTransaction(record), nil)); !slices.Equal(got, []string{"started"}) {
		t.Errorf("told %q", got)
	}
}

func TestToldHolds(t *testing.T) {
	h := catalog.Hold{Service: "web", Lost: []string{"a"}, Reason: "mass loss", Since: time.Unix(1, 0)}
	got := toldHolds([]catalog.Hold{h})
	if len(got) != 1 || got[0].Service != "web" || got[0].Reason != "mass loss" || !got[0].Since.Equal(h.Since) || !slices.Equal(got[0].Lost, h.Lost) {
		t.Errorf("%+v", got)
	}
}
