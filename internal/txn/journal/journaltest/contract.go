// Package journaltest holds the contract of journal.Journal, which every backend
// passes unchanged, and a journal in memory for the tests of others.
package journaltest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/journal"
)

// Content is what a journal keeps: Open gives the next coordinator a handle; the
// one before it may live on and not know.
type Content interface{ Open() journal.Journal }

// Run checks the contract; empty returns an empty journal for each test.
func Run(t *testing.T, empty func(t *testing.T) Content) {
	t.Run("an empty journal has no records and a first term", func(t *testing.T) {
		if term, records, err := empty(t).Open().Recover(t.Context()); term == 0 || len(records) > 0 || err != nil {
			t.Fatalf("Recover = %d, %v, %v", term, records, err)
		}
	})
	t.Run("the newest record of each comes back, in order", func(t *testing.T) { newest(t, empty(t)) })
	t.Run("every field of a record comes back", func(t *testing.T) { fields(t, empty(t)) })
	t.Run("the largest record fits", func(t *testing.T) { largest(t, empty(t)) })
	t.Run("an append of many is appended", func(t *testing.T) { many(t, empty(t)) })
	t.Run("an append may be repeated", func(t *testing.T) { repeated(t, empty(t)) })
	t.Run("an older record does not take the place of a newer one", func(t *testing.T) { older(t, empty(t)) })
	t.Run("who did not recover appends nothing", func(t *testing.T) {
		j := empty(t).Open()
		if err := j.Append(t.Context(), Record("a", 1, 1)); !errors.Is(err, journal.ErrFenced) {
			t.Fatalf("Append = %v, want ErrFenced", err)
		}
	})
	t.Run("the next term shuts out the last", func(t *testing.T) { fenced(t, empty(t)) })
	t.Run("what is forgotten is gone and may begin again", func(t *testing.T) { forget(t, empty(t)) })
	t.Run("what is no record is refused", func(t *testing.T) {
		j, term := recovered(t, empty(t))
		r := Record("a", term, 1)
		r.Body = make([]byte, txn.MaxRecord)
		if err := j.Append(t.Context(), r); err == nil || errors.Is(err, journal.ErrFenced) {
			t.Fatalf("Append of too many bytes = %v", err)
		}
	})
}

// Record is a small one of two parties.
func Record(id txn.ID, term, seq uint64) txn.Record {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	return txn.Record{
		Tx:   txn.Tx{ID: id, Kind: "test", Body: []byte(`{"n":1}`), Rule: "all-yes", Started: at, Deadline: at.Add(time.Minute)},
		Term: term, Seq: seq, Phase: txn.Preparing,
		Parties: []txn.Party{{ID: "a", Vote: txn.Asked}, {ID: "b", Vote: txn.Asked}},
	}
}

func recovered(t *testing.T, c Content) (journal.Journal, uint64) {
	t.Helper()
	j := c.Open()
	term, _, err := j.Recover(t.Context())
	if err != nil {
		t.Fatalf("Recover: %v", err)
	}
	return j, term
}

func put(t *testing.T, j journal.Journal, records ...txn.Record) {
	t.Helper()
	if err := j.Append(t.Context(), records...); err != nil {
		t.Fatalf("Append: %v", err)
	}
}

func expect(t *testing.T, c Content, want ...txn.Record) {
	t.Helper()
	_, got, err := c.Open().Recover(t.Context())
	if err != nil {
		t.Fatalf("Recover: %v", err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("Recover gives\n%v\nwant\n%v", got, want)
	}
}

func newest(t *testing.T, c Content) {
	j, term := recovered(t, c)
	put(t, j, Record("b", term, 1), Record("a", term, 1))
	put(t, j, Record("b", term, 2))
	put(t, j, Record("ab", term, 1), Record("b", term, 9))
	expect(t, c, Record("a", term, 1), Record("ab", term, 1), Record("b", term, 9))
}

func fields(t *testing.T, c Content) {
	j, term := recovered(t, c)
	r := Full(term)
	put(t, j, r)
	expect(t, c, r)
}

// Full is a record in which no field is zero.
func Full(term uint64) txn.Record {
	r := Record("full-1.a_b~c", term, 1<<40)
	r.Hold, r.Phase, r.Outcome, r.Reason = true, txn.Committing, txn.Commit, "all said yes ✓"
	r.Decided, r.Ended = r.Started.Add(time.Second), r.Started.Add(time.Hour)
	r.Parties = nil
	for v := range txn.Abstain + 1 {
		for e := range txn.Resolved + 1 {
			r.Parties = append(r.Parties, txn.Party{ID: fmt.Sprint("p", v, e), Stage: 255, Group: "1.40", Body: []byte{0, 255}, Vote: v, Ending: e, Text: "words\n\x00"})
		}
	}
	return r
}

// Largest is a record as large as Begin.Validate and Step let one become.
func Largest(term uint64) txn.Record {
	b := txn.Begin{Tx: txn.Tx{ID: txn.ID(strings.Repeat("i", txn.MaxID)), Kind: strings.Repeat("k", txn.MaxKind), Deadline: time.Unix(1, 0)}, Term: term, Rule: txn.Quorum{}}
	for i := range txn.MaxParties {
		b.Parties = append(b.Parties, txn.Party{ID: fmt.Sprint(i), Stage: txn.MaxStage})
	}
	left := txn.MaxContent
	for _, p := range b.Parties {
		left -= len(p.ID)
	}
	b.Tx.Body = []byte(strings.Repeat("\xa7", left))
	if err := b.Validate(); err != nil {
		return txn.Record{} // which no journal takes: the test fails
	}
	s, _ := txn.Step(txn.State{}, txn.Input{At: time.Unix(1, 0), Event: b})
	for i := range 100 {
		s, _ = txn.Step(s, txn.Input{Event: txn.Voted{Party: fmt.Sprint(i), Term: term, Vote: txn.Abstain, Text: strings.Repeat("x", 5_000)}})
	}
	_, out := txn.Step(s, txn.Input{At: time.Unix(2, 0), Event: txn.Cancel{Text: strings.Repeat("y", 5_000)}})
	return out.Record
}

func largest(t *testing.T, c Content) {
	j, term := recovered(t, c)
	r := Largest(term)
	put(t, j, r)
	expect(t, c, r)
}

func many(t *testing.T, c Content) {
	j, term := recovered(t, c)
	var all []txn.Record
	for i := range 300 {
		r := Record(txn.ID(fmt.Sprintf("t%03d", i)), term, 1)
		r.Body = []byte(strings.Repeat(fmt.Sprint(i), 700)) // 600 KB together
		all = append(all, r)
	}
	put(t, j, all...)
	expect(t, c, all...)
}

func repeated(t *testing.T, c Content) {
	j, term := recovered(t, c)
	put(t, j, Record("a", term, 1), Record("b", term, 1))
	put(t, j, Record("a", term, 1), Record("b", term, 2), Record("c", term, 1))
	put(t, j, Record("c", term, 1), Record("b", term, 2))
	expect(t, c, Record("a", term, 1), Record("b", term, 2), Record("c", term, 1))
}

func older(t *testing.T, c Content) {
	j, term := recovered(t, c)
	put(t, j, Record("a", term, 5))
	same := Record("a", term, 5)
	same.Reason = "another one"
	for _, r := range []txn.Record{Record("a", term, 4), same, Record("a", term-1, 6), Record("a", term+1, 6)} {
		if err := j.Append(t.Context(), r); !errors.Is(err, journal.ErrFenced) {
			t.Errorf("Append of #%d of term %d = %v, want ErrFenced", r.Seq, r.Term, err)
		}
	}
	expect(t, c, Record("a", term, 5))
}

func fenced(t *testing.T, c Content) {
	old, first := recovered(t, c)
	put(t, old, Record("a", first, 1))
	next, second := recovered(t, c)
	if second <= first {
		t.Fatalf("term %d comes after term %d", second, first)
	}
	for _, id := range []txn.ID{"a", "new"} {
		if err := old.Append(t.Context(), Record(id, first, 2)); !errors.Is(err, journal.ErrFenced) {
			t.Errorf("Append of %s by the last term = %v, want ErrFenced", id, err)
		}
	}
	if err := old.Forget(t.Context(), "a"); !errors.Is(err, journal.ErrFenced) {
		t.Errorf("Forget by the last term = %v, want ErrFenced", err)
	}
	put(t, next, Record("a", second, 2))
	expect(t, c, Record("a", second, 2))
}

func forget(t *testing.T, c Content) {
	j, term := recovered(t, c)
	put(t, j, Record("a", term, 7), Record("b", term, 1), Record("c", term, 1))
	if err := j.Forget(t.Context(), "a", "unknown", "c"); err != nil {
		t.Fatalf("Forget: %v", err)
	}
	put(t, j, Record("a", term, 1))
	expect(t, c, Record("a", term, 1), Record("b", term, 1))

	j, term = recovered(t, c)
	var ids []txn.ID
	for i := range 300 {
		ids = append(ids, txn.ID(fmt.Sprint("many", i)))
		put(t, j, Record(ids[i], term, 1))
	}
	if err := j.Forget(t.Context(), slices.Concat(ids, []txn.ID{"a", "b"})...); err != nil {
		t.Fatalf("Forget of many: %v", err)
	}
	expect(t, c)
}
