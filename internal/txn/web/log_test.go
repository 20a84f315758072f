package web_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/web"
)

// steps are a transaction's states, one for each event, at seconds of a minute.
func steps(events ...txn.Event) (out []txn.State) {
	s := txn.State{}
	for i, e := range events {
		s, _ = txn.Step(s, txn.Input{At: time.Date(2026, 1, 1, 12, 0, i, 0, time.UTC), Event: e})
		out = append(out, s)
	}
	return out
}

func sold() []txn.State {
	return steps(
		txn.Begin{Tx: txn.Tx{ID: "t1", Deadline: time.Date(2026, 1, 1, 12, 1, 0, 0, time.UTC)}, Term: 1, Parties: []txn.Party{{ID: "order"}, {ID: "stock"}}, Rule: txn.AllYes{}},
		txn.Voted{Party: "order", Term: 1, Vote: txn.Yes},
		txn.Voted{Party: "stock", Term: 1, Vote: txn.Yes, Text: "7 left"},
		txn.Refusal{Party: "stock", Term: 1, Text: "it broke"},
		txn.Ack{Party: "order", Term: 1},
		txn.Resolve{Party: "stock", Text: "ann"},
	)
}

func told(entries []web.Entry) (out []string) {
	for _, e := range entries {
		out = append(out, e.Text)
	}
	return out
}

// TestTheLogMakesUpForWhatItDidNotHear: a server that takes over at any point tells
// all that the first one would, but the words that later ones took the place of.
func TestTheLogMakesUpForWhatItDidNotHear(t *testing.T) {
	states := sold()
	heard := &web.Log{}
	before := txn.State{}
	for _, s := range states {
		heard.Observe(before, s)
		before = s
	}
	want := told(heard.Of(before.Record))
	if len(want) != 10 {
		t.Fatalf("%q", want)
	}
	for i := range states {
		late := &web.Log{}
		for k := i + 1; k < len(states); k++ {
			late.Observe(states[k-1], states[k])
		}
		got := told(late.Of(before.Record))
		at := slices.IndexFunc(got, func(s string) bool { return strings.HasPrefix(s, "so far from the journal") })
		if at < 0 {
			t.Fatalf("after state %d it does not say where it begins: %q", i, got)
		}
		for _, line := range want {
			if line != "order: vote asked" && line != "stock: vote asked" && line != "stock: vote yes: 7 left" && line != "stock: refused: it broke" && !slices.Contains(got, line) {
				t.Errorf("after state %d it lacks %q: %q", i, line, got)
			}
		}
	}
}

func TestTheJournalsMomentsStandInTheLog(t *testing.T) {
	states := sold()
	last := states[len(states)-1].Record
	entries := (&web.Log{}).Of(last)
	got := map[string]int{}
	for _, e := range entries {
		key, _, _ := strings.Cut(e.Text, ",")
		got[key] = e.At.Second()
	}
	for text, second := range map[string]int{"began with 2 participants": 0, "order: vote yes": 2, "decided: commit": 2, "order: acked": 5, "ended: HEURISTIC": 5} {
		if at, ok := got[text]; !ok || at != second {
			t.Errorf("%s: at second %d, %v; want %d: %q", text, at, ok, second, told(entries))
		}
	}
}

// TestALogThatIsBehindIsNotBelieved: another server has had the transaction meanwhile.
func TestALogThatIsBehindIsNotBelieved(t *testing.T) {
	states := sold()
	l := &web.Log{}
	l.Observe(txn.State{}, states[0])
	if got := told(l.Of(states[5].Record)); !slices.Contains(got, "ended: HEURISTIC") {
		t.Errorf("%q", got)
	}
	l.Observe(txn.State{}, states[0]) // forgotten, and begun anew
	if got := told(l.Of(states[0].Record)); len(got) != 3 {
		t.Errorf("%q", got)
	}
}
