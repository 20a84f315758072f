package txn_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"meshlite.dev/internal/txn"
)

func valid() txn.Begin {
	return txn.Begin{
		Term: 1, Rule: txn.AllYes{}, Tx: txn.Tx{ID: "order-4711.a", Kind: "application", Body: []byte("{}"), Deadline: epoch},
		Parties: []txn.Party{{ID: "stock", Body: []byte("7 of x")}, {ID: "pay ✓", Stage: 1}},
	}
}

func TestValidateNamesEveryFault(t *testing.T) {
	many := make([]txn.Party, txn.MaxParties+1)
	for _, tc := range []struct {
		name   string
		change func(*txn.Begin)
		want   []string
	}{
		{"a good one has none", func(*txn.Begin) {}, nil},
		{"no parties are fine", func(b *txn.Begin) { b.Parties = nil }, nil},
		{"an empty id", func(b *txn.Begin) { b.Tx.ID = "" }, []string{"id: has 0 bytes: must have 1 to 128"}},
		{"a long id", func(b *txn.Begin) { b.Tx.ID = txn.ID(strings.Repeat("a", 129)) }, []string{"id: has 129 bytes"}},
		{"a path as id", func(b *txn.Begin) { b.Tx.ID = "a/../b" }, []string{`id: "a/../b": must begin with`}},
		{"an id that begins with a dot", func(b *txn.Begin) { b.Tx.ID = ".a" }, []string{`id: ".a"`}},
		{"no rule", func(b *txn.Begin) { b.Rule = nil }, []string{"rule: is missing"}},
		{"no deadline", func(b *txn.Begin) { b.Tx.Deadline = time.Time{} }, []string{"deadline: is missing"}},
		{"a kind that is no text", func(b *txn.Begin) { b.Tx.Kind = "\xff" }, []string{`kind: "\xff"`}},
		{"too many parties", func(b *txn.Begin) { b.Parties = many }, []string{"parties: are 4001: must be at most 4000"}},
		{"two of a name, one of none, and a bad group", func(b *txn.Begin) {
			b.Parties = []txn.Party{{ID: "a"}, {ID: ""}, {ID: "a"}, {ID: "b", Group: strings.Repeat("g", 257)}}
		}, []string{`parties[1].id: ""`, `parties[2].id: "a": is the id of parties[0] too`, "parties[3].group:"}},
		{"bodies that are too large together", func(b *txn.Begin) {
			b.Tx.Body, b.Parties[0].Body = make([]byte, 100_000), make([]byte, 100_000)
		}, []string{"body: all bodies, ids and groups have 200012 bytes: must be at most 192000"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := valid()
			tc.change(&b)
			err := b.Validate()
			if (err == nil) != (tc.want == nil) {
				t.Fatalf("Validate = %v", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Validate = %v; want %q in it", err, want)
				}
			}
		})
	}
}

func begun(t *testing.T, b txn.Begin) txn.State {
	t.Helper()
	if err := b.Validate(); err != nil {
		t.Fatal(err)
	}
	s, out := txn.Step(txn.State{}, txn.Input{At: epoch, Event: b})
	if out.Write != txn.Forced || out.Record.Seq != 1 {
		t.Fatalf("begin writes %s #%d", out.Write, out.Record.Seq)
	}
	return s
}

func TestTheSameBeginIsRecognized(t *testing.T) {
	r := begun(t, valid()).Record
	for _, tc := range []struct {
		name   string
		change func(*txn.Begin)
		want   bool
	}{
		{"word for word", func(*txn.Begin) {}, true},
		{"with another deadline", func(b *txn.Begin) { b.Tx.Deadline = epoch.Add(time.Hour) }, true},
		{"with another body", func(b *txn.Begin) { b.Tx.Body = []byte("{ }") }, false},
		{"with another rule", func(b *txn.Begin) { b.Rule = txn.Quorum{Percent: 100} }, false},
		{"with another kind", func(b *txn.Begin) { b.Tx.Kind = "" }, false},
		{"held", func(b *txn.Begin) { b.Tx.Hold = true }, false},
		{"with a party more", func(b *txn.Begin) { b.Parties = append(b.Parties, txn.Party{ID: "c"}) }, false},
		{"with another body of a party", func(b *txn.Begin) { b.Parties[0].Body = nil }, false},
		{"with a party of another stage", func(b *txn.Begin) { b.Parties[1].Stage = 2 }, false},
	} {
		b := valid()
		tc.change(&b)
		if got := b.Same(r); got != tc.want {
			t.Errorf("%s: Same = %t", tc.name, got)
		}
	}
}

func TestStepLeavesItsInputAlone(t *testing.T) {
	s := begun(t, valid())
	before := fmt.Sprint(s)
	txn.Step(s, txn.Input{At: epoch, Event: txn.Voted{Party: "stock", Term: 1, Vote: txn.Yes, Text: "x"}})
	txn.Step(s, txn.Input{At: epoch, Event: txn.Cancel{Text: "y"}})
	if after := fmt.Sprint(s); after != before {
		t.Errorf("the state was\n%s\nand is\n%s", before, after)
	}
}

func TestUnknownIsRolledBack(t *testing.T) {
	if got := (txn.Record{}).Status(); got != txn.RolledBack {
		t.Errorf("the status of nothing is %s", got)
	}
}

// TestTextsAreBounded lets everybody talk as much as they can: the record's
// texts stay below their limit, and are text.
func TestTextsAreBounded(t *testing.T) {
	b := valid()
	b.Rule = txn.Quorum{}
	b.Parties = nil
	for i := range 100 {
		b.Parties = append(b.Parties, txn.Party{ID: fmt.Sprint(i)})
	}
	s := begun(t, b)
	for i := range 100 {
		s, _ = txn.Step(s, txn.Input{At: epoch, Event: txn.Voted{Party: fmt.Sprint(i), Term: 1, Vote: txn.Abstain, Text: strings.Repeat("é\xff", 2_000)}})
	}
	total, longest := 0, 0
	for _, p := range s.Parties {
		if !utf8.ValidString(p.Text) {
			t.Fatalf("%q is no text", p.Text)
		}
		total, longest = total+len(p.Text), max(longest, len(p.Text))
	}
	if total < 40_000 || total > 48_000 || longest > 1_024 || longest < 1_000 {
		t.Errorf("%d bytes of texts, the longest %d", total, longest)
	}
	s, _ = txn.Step(s, txn.Input{At: epoch, Event: txn.Cancel{Text: strings.Repeat("x", 5_000)}})
	if len(s.Reason) != 1_024 || !strings.HasSuffix(s.Reason, "…") {
		t.Errorf("a reason of %d bytes ends with %q", len(s.Reason), s.Reason[len(s.Reason)-5:])
	}
}

func TestTimesAreKeptInMilliseconds(t *testing.T) {
	b := valid()
	b.Parties = nil
	at := time.Date(2026, 5, 4, 3, 2, 1, 987_654_321, time.FixedZone("x", 3600))
	s, _ := txn.Step(txn.State{}, txn.Input{At: at, Event: b})
	want := time.Date(2026, 5, 4, 2, 2, 1, 987_000_000, time.UTC)
	if s.Started != want || s.Decided != want || s.Ended != want {
		t.Errorf("started %v, decided %v, ended %v", s.Started, s.Decided, s.Ended)
	}
}

func TestValuesWithoutANameSayTheirNumber(t *testing.T) {
	for got, want := range map[string]string{
		txn.Vote(9).String(): "unknown(9)", txn.Resolved.String(): "resolved", txn.Done.String(): "done", txn.Phase(0).String(): "unbegun",
		txn.CallRollback.String(): "rollback", txn.Forced.String(): "forced", txn.Abort.String(): "abort",
	} {
		if got != want {
			t.Errorf("%q; want %q", got, want)
		}
	}
}
