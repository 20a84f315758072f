package txn_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/txn"
)

var update = flag.Bool("update", false, "rewrite the right sides of testdata")

// TestScripts plays each script of testdata: an input on the left of "=>", what
// comes of it on the right. A "#" begins a comment. Inputs:
//
//	begin RULE [hold] PARTY[@STAGE][:GROUP]…   RULE: all-yes, quorum:PERCENT, rash
//	vote[@TERM] PARTY yes|no|abstain [TEXT]
//	ack[@TERM] PARTY        refuse[@TERM] PARTY TEXT
//	deadline   cancel TEXT   approve   rejoin PARTY
//	retry PARTY|all         resolve PARTY|all TEXT
//	recover TERM
//	restart                 with what was forced; "restart kept" with all records
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d scripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(raw))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if got != string(raw) {
				t.Errorf("the trace is not that of %s:\n%s", file, got)
			}
			restartAnywhere(t, string(raw))
		})
	}
}

// rig holds a transaction and what is in its journal.
type rig struct {
	state          txn.State
	at             time.Time
	forced, newest txn.Record // newest has what was written lazily too
	trace          string
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func play(t *testing.T, script string) string {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(script, "\n"), "\n")
	width := 0
	for _, line := range lines {
		width = max(width, len(input(line)))
	}
	r := &rig{at: epoch}
	var out strings.Builder
	for _, line := range lines {
		left := input(line)
		if left == "" {
			fmt.Fprintln(&out, line)
			continue
		}
		r.do(t, left)
		fmt.Fprintf(&out, "%-*s => %s\n", width, left, r.trace)
	}
	return out.String()
}

func input(line string) string {
	left, _, _ := strings.Cut(line, "=>")
	if strings.HasPrefix(left, "#") {
		return ""
	}
	return strings.TrimSpace(left)
}

func (r *rig) do(t *testing.T, line string) {
	t.Helper()
	r.at = r.at.Add(time.Second)
	word, rest, _ := strings.Cut(line, " ")
	if word == "restart" {
		rec := r.forced
		if rest == "kept" {
			rec = r.newest
		}
		r.restart(rec)
		return
	}
	r.step(event(t, r.state, word, rest))
}

func (r *rig) restart(rec txn.Record) {
	term := r.state.Term + 1
	r.state = txn.State{Record: rec}
	r.step(txn.Recover{Term: term})
}

func event(t *testing.T, s txn.State, word, rest string) txn.Event {
	t.Helper()
	word, at, other := strings.Cut(word, "@")
	term := s.Term
	if other {
		n, err := strconv.ParseUint(at, 10, 64)
		if err != nil {
			t.Fatalf("term %q: %v", at, err)
		}
		term = n
	}
	party, text, _ := strings.Cut(rest, " ")
	switch word {
	case "begin":
		return begin(t, strings.Fields(rest))
	case "vote":
		vote, words, _ := strings.Cut(text, " ")
		return txn.Voted{Party: party, Term: term, Vote: votes[vote], Text: words}
	case "ack":
		return txn.Ack{Party: party, Term: term}
	case "refuse":
		return txn.Refusal{Party: party, Term: term, Text: text}
	case "deadline":
		return txn.TimedOut{}
	case "cancel":
		return txn.Cancel{Text: rest}
	case "approve":
		return txn.Approve{}
	case "rejoin":
		return txn.Rejoin{Party: party}
	case "recover":
		n, err := strconv.ParseUint(rest, 10, 64)
		if err != nil {
			t.Fatalf("term %q: %v", rest, err)
		}
		return txn.Recover{Term: n}
	case "retry":
		return txn.Retry{Party: everybody(party)}
	case "resolve":
		return txn.Resolve{Party: everybody(party), Text: text}
	}
	t.Fatalf("no such input: %q", word)
	return nil
}

func everybody(party string) string {
	if party == "all" {
		return ""
	}
	return party
}

var votes = map[string]txn.Vote{"yes": txn.Yes, "no": txn.No, "abstain": txn.Abstain}

// rash is a rule with a bug: it commits whatever was said.
type rash struct{}

func (rash) String() string { return "rash" }
func (rash) Judge(parties []txn.Party) txn.Judgement {
	for i, p := range parties {
		if p.Vote < txn.Yes {
			return txn.Judgement{Ask: []int{i, -1, 99}, Reason: "asks one by one"}
		}
	}
	return txn.Judgement{Outcome: txn.Commit, Reason: "why not"}
}

func begin(t *testing.T, args []string) txn.Begin {
	t.Helper()
	b := txn.Begin{Term: 1, Tx: txn.Tx{ID: "t1", Deadline: epoch.Add(time.Minute)}}
	name, percent, _ := strings.Cut(args[0], ":")
	switch name {
	case "all-yes":
		b.Rule = txn.AllYes{}
	case "quorum":
		n, err := strconv.Atoi(percent)
		if err != nil {
			t.Fatal(err)
		}
		b.Rule = txn.Quorum{Percent: n}
	case "rash":
		b.Rule = rash{}
	}
	for _, arg := range args[1:] {
		if arg == "hold" {
			b.Tx.Hold = true
			continue
		}
		arg, group, _ := strings.Cut(arg, ":")
		id, at, _ := strings.Cut(arg, "@")
		stage, _ := strconv.Atoi(at) // absent is 0
		b.Parties = append(b.Parties, txn.Party{ID: id, Stage: uint8(stage), Group: group})
	}
	if err := b.Validate(); err != nil {
		t.Fatalf("begin %v: %v", args, err)
	}
	return b
}

func (r *rig) step(e txn.Event) {
	before := r.state
	next, out := txn.Step(before, txn.Input{At: r.at, Event: e})
	r.state = next
	switch out.Write {
	case txn.Forced:
		r.forced, r.newest = out.Record, out.Record
	case txn.Lazily:
		r.newest = out.Record
	}
	r.trace = trace(before, next, out)
}

// trace says what a step did: the state where it changed, the votes and endings
// that did, the record, the calls in their order.
func trace(before, next txn.State, out txn.Decision) string {
	var words []string
	say := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	phase := func(s txn.State) string { return fmt.Sprintf("%s %s", s.Phase, s.Status()) }
	if phase(before) != phase(next) || before.Reason != next.Reason || before.Term != next.Term {
		say("%s (%s)", phase(next), next.Reason)
	}
	for i, p := range next.Parties {
		var old txn.Party
		if i < len(before.Parties) {
			old = before.Parties[i]
		}
		if p.Vote != old.Vote {
			say("%s=%s", p.ID, p.Vote)
		}
		if p.Ending != old.Ending {
			say("%s=%s", p.ID, p.Ending)
		}
		if p.Text != old.Text {
			say("%s: %q", p.ID, p.Text)
		}
	}
	if out.Write != txn.Nothing {
		say("%s #%d term %d", out.Write, out.Record.Seq, out.Record.Term)
	}
	for _, a := range out.Actions {
		say("%s %s", a.Call, a.Party)
	}
	if words == nil {
		return "-"
	}
	return strings.Join(words, "; ")
}

// restartAnywhere plays a script up to each of its lines, restarts with what was
// forced and with everything that was written, and lets every party answer. What
// was decided in the journal stays; else it is an abort; and all parties end.
func restartAnywhere(t *testing.T, script string) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(script) {
		if left := input(line); left != "" {
			lines = append(lines, left)
		}
	}
	for cut := range lines {
		for _, kept := range []bool{false, true} {
			r := &rig{at: epoch}
			for _, line := range lines[:cut+1] {
				r.do(t, line)
			}
			rec := r.forced
			if kept {
				rec = r.newest
			}
			if rec.Phase == 0 {
				t.Fatalf("line %d: nothing in the journal", cut+1)
			}
			want := rec.Outcome
			if want == txn.Undecided {
				want = txn.Abort
			}
			r.restart(rec)
			for _, p := range r.state.Parties {
				r.step(txn.Ack{Party: p.ID, Term: r.state.Term})
			}
			if r.state.Outcome != want || r.state.Phase != txn.Done {
				t.Errorf("a restart after %q (all kept: %t) ends %s, %s; want %s", lines[cut], kept, r.state.Phase, r.state.Outcome, want)
			}
		}
	}
}
