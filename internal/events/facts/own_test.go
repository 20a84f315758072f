package facts_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/facts"
)

var began = time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)

// change is a rollout with all that a detail can have.
func change(state string, edit func(*facts.Change)) facts.Change {
	c := facts.Change{ID: "r1", State: state, Asked: true, Started: began, Detail: func() events.Rollout {
		return events.Rollout{
			Mode: "auto", By: "ada", Hash: "3f9c", From: 6, Documents: []events.DocumentChange{}, Reason: "because",
			Votes: events.Votes{Voters: 2, Yes: 2}, ConfirmBy: began.Add(time.Hour), ConfirmedBy: "bob",
		}
	}}
	if edit != nil {
		edit(&c)
	}
	return c
}

func TestRollouts(t *testing.T) {
	inForce := func(c *facts.Change) { c.Revision, c.Decided = 7, began.Add(time.Second) }
	for _, tc := range []struct {
		name   string
		before facts.Subject
		now    facts.Change
		want   []string
	}{
		{"begun", nil, change("PENDING", nil), []string{"started"}},
		{"held", facts.OfRollout(change("PENDING", nil), nil), change("PENDING", func(c *facts.Change) { c.Held = true }), []string{"prepared"}},
		{"decided, its number not known yet", facts.OfRollout(change("PENDING", nil), nil), change("COMMITTED", nil), nil},
		{"committed", nil, change("COMMITTED", inForce), []string{"started", "prepared", "committed"}},
		{"nobody was asked", nil, change("COMMITTED", func(c *facts.Change) { inForce(c); c.Asked = false }), []string{"started", "committed"}},
		{"confirmed", facts.OfRollout(change("COMMITTED", inForce), nil), change("COMMITTED", func(c *facts.Change) { inForce(c); c.Confirmed = began }), []string{"confirmed"}},
		{"refused", nil, change("ROLLED_BACK", nil), []string{"started", "aborted"}},
		{"held, then given up", facts.OfRollout(change("PENDING", func(c *facts.Change) { c.Held = true }), nil), change("ROLLED_BACK", nil), []string{"aborted"}},
		{"undone", facts.OfRollout(change("COMMITTED", inForce), nil), change("COMMITTED", func(c *facts.Change) { inForce(c); c.UndoneBy = "r2" }), []string{"rolledback"}},
		{"too many refused it afterwards", nil, change("HEURISTIC", func(c *facts.Change) { inForce(c); c.UndoneBy = "r2" }), []string{"started", "prepared", "committed", "heuristic", "rolledback"}},
		{"another moved the pointer", nil, change("HEURISTIC", nil), []string{"started", "prepared", "heuristic"}},
		{"known a little less after a restart", facts.OfRollout(change("COMMITTED", inForce), nil), change("PENDING", nil), nil},
		{"another one of that id", facts.OfRollout(change("COMMITTED", inForce), nil), change("PENDING", func(c *facts.Change) { c.Started = began.Add(time.Hour) }), []string{"started"}},
		{"out of the history", facts.OfRollout(change("COMMITTED", inForce), nil), facts.Change{}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			of := func(before facts.Subject) facts.Subject {
				if tc.now.ID == "" {
					return nil
				}
				return facts.OfRollout(tc.now, before)
			}
			now := of(tc.before)
			var got []string
			for _, one := range facts.Diff(tc.before, now) {
				got = append(got, one.Type[len("mesh.rollout."):])
				if !one.Once || one.Version == "" {
					t.Errorf("%s is no milestone", one.Type)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("told %q, want %q", got, tc.want)
			}
			if again := facts.Diff(now, of(now)); again != nil {
				t.Errorf("told again: %v", again)
			}
		})
	}
}

// TestAMilestoneLeavesOutWhatCameLater: told late, it is as it was.
func TestAMilestoneLeavesOutWhatCameLater(t *testing.T) {
	data := map[string]events.Rollout{}
	for name, f := range facts.OfRollout(change("HEURISTIC", func(c *facts.Change) { c.Revision, c.UndoneBy, c.Confirmed = 7, "r2", began }), nil) {
		var r events.Rollout
		if err := json.Unmarshal(f.Data, &r); err != nil {
			t.Fatal(err)
		}
		data[name] = r
	}
	for name, want := range map[string]events.Rollout{
		"started":    {State: "PENDING"},
		"prepared":   {State: "PENDING", Votes: events.Votes{Voters: 2, Yes: 2}},
		"committed":  {State: "COMMITTED", Votes: events.Votes{Voters: 2, Yes: 2}, Revision: 7, ConfirmBy: began.Add(time.Hour)},
		"confirmed":  {State: "COMMITTED", Votes: events.Votes{Voters: 2, Yes: 2}, Revision: 7, ConfirmBy: began.Add(time.Hour), ConfirmedBy: "bob"},
		"heuristic":  {State: "HEURISTIC", Votes: events.Votes{Voters: 2, Yes: 2}, Revision: 7, ConfirmBy: began.Add(time.Hour), Reason: "because"},
		"rolledback": {State: "ROLLED_BACK", Votes: events.Votes{Voters: 2, Yes: 2}, Revision: 7, ConfirmBy: began.Add(time.Hour), UndoneBy: "r2"},
	} {
		got := data[name]
		if got.Rollout != "r1" || got.By != "ada" || got.Hash != "3f9c" || got.From != 6 {
			t.Errorf("%s: %+v", name, got)
		}
		got.Rollout, got.By, got.Hash, got.From, got.Mode, got.Documents = "", "", "", 0, "", nil
		if a, b := text(t, got), text(t, want); a != b {
			t.Errorf("%s: %s, want %s", name, a, b)
		}
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestTransactions(t *testing.T) {
	of := func(decision string, endings ...string) facts.Transaction {
		tx := facts.Transaction{ID: "7", Decision: decision, Started: began, Reason: "all said yes"}
		var parts []events.Participant
		for _, e := range endings {
			parts = append(parts, events.Participant{Service: "stock", Vote: "yes", Ending: e, Text: "ok"})
			tx.Heuristic = tx.Heuristic || e != ""
		}
		tx.Participants = func() []events.Participant { return slices.Clone(parts) }
		return tx
	}
	for _, tc := range []struct {
		name        string
		before, now facts.Transaction
		want        []string
	}{
		{"begun", facts.Transaction{}, of("", ""), []string{`mesh.transaction.started {"transaction":"7","status":"PENDING","participants":[{"service":"stock"}],"started":"2026-11-25T10:00:00Z"}`}},
		{"committed", of("", ""), of("commit", ""), []string{`mesh.transaction.committed {"transaction":"7","status":"COMMITTED","reason":"all said yes","participants":[{"service":"stock","vote":"yes","text":"ok"}],"started":"2026-11-25T10:00:00Z"}`}},
		{"nothing new", of("commit", ""), of("commit", ""), nil},
		{
			"a participant did otherwise", of("abort", "", ""), of("abort", "", "refused"),
			[]string{`mesh.transaction.heuristic {"transaction":"7","status":"HEURISTIC","decision":"abort","reason":"all said yes","participants":[{"service":"stock","vote":"yes","text":"ok"},{"service":"stock","vote":"yes","ending":"refused","text":"ok"}],"started":"2026-11-25T10:00:00Z"}`},
		},
		{
			"and another", of("abort", "", "refused"), of("abort", "resolved", "refused"),
			[]string{`mesh.transaction.heuristic {"transaction":"7","status":"HEURISTIC","decision":"abort","reason":"all said yes","participants":[{"service":"stock","vote":"yes","ending":"resolved","text":"ok"},{"service":"stock","vote":"yes","ending":"refused","text":"ok"}],"started":"2026-11-25T10:00:00Z"}`},
		},
		{"still the same", of("abort", "", "refused"), of("abort", "", "refused"), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var before facts.Subject
			if tc.before.ID != "" {
				before = facts.OfTransaction(tc.before, nil)
			}
			var got []string
			for _, one := range facts.Diff(before, facts.OfTransaction(tc.now, before)) {
				got = append(got, one.Type+" "+string(one.Data))
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("told %q\nwant %q", got, tc.want)
			}
		})
	}
	var order []string
	for _, one := range facts.Diff(nil, facts.OfTransaction(of("abort", "refused"), nil)) {
		order = append(order, one.State)
	}
	if want := []string{"started", "rolledback", "heuristic"}; !slices.Equal(order, want) {
		t.Errorf("told %q, want %q", order, want)
	}
}

func TestTheGuard(t *testing.T) {
	hold := facts.Hold{Service: "web@dc2", Reason: "mass loss", Replica: "r", Lost: []string{"a"}, Since: began}
	more := hold
	more.Lost = []string{"a", "b"}
	for _, tc := range []struct {
		before, now facts.Subject
		want        []string
	}{
		{nil, facts.OfHold(hold), []string{"guard.tripped"}},
		{facts.OfHold(hold), facts.OfHold(hold), nil},
		{facts.OfHold(hold), facts.OfHold(more), []string{"guard.tripped"}},
		{facts.OfHold(more), nil, []string{"guard.released"}},
	} {
		if got := types(facts.Diff(tc.before, tc.now)); !slices.Equal(got, tc.want) {
			t.Errorf("told %q, want %q", got, tc.want)
		}
	}
	if want := `{"service":"web","datacenter":"dc2","reason":"mass loss","lost":["a"],"since":"2026-11-25T10:00:00Z","replica":"r"}`; string(facts.OfHold(hold)["hold"].Data) != want {
		t.Errorf("%s", facts.OfHold(hold)["hold"].Data)
	}
}
