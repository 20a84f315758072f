package txn_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"meshlite.dev/internal/txn"
)

// TestRandomHistories checks what txn promises against a world in which messages
// are lost, doubled and overtake each other, coordinators die at every moment,
// also in the middle of a write, and go on talking although another has taken
// over. It prints its seed.
func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"deliver":   func(t *rapid.T) { w.deliver(w.pick(t), rapid.Bool().Draw(t, "again")) },
			"deliver 2": func(t *rapid.T) { w.deliver(w.pick(t), false) },
			"lose":      func(t *rapid.T) { w.take(w.pick(t)) },
			"deadline":  func(t *rapid.T) { w.input(w.anyone(t), txn.TimedOut{}) },
			"cancel":    func(t *rapid.T) { w.input(w.anyone(t), txn.Cancel{Text: "model"}) },
			"approve":   func(t *rapid.T) { w.input(w.anyone(t), txn.Approve{}) },
			"rejoin":    func(t *rapid.T) { w.input(w.anyone(t), txn.Rejoin{Party: w.anybody(t)}) },
			"retry":     func(t *rapid.T) { w.input(w.anyone(t), txn.Retry{}) },
			"keep":      func(*rapid.T) { w.keepLazy() },
			"trip":      func(t *rapid.T) { w.trip = rapid.IntRange(1, 2).Draw(t, "trip") },
			"take over": func(t *rapid.T) { w.takeOver(rapid.Bool().Draw(t, "the old one goes on")) },
			"":          w.check,
		})
		w.settle(t)
	})
}

// holding is what a party has done.
type holding int

const (
	free holding = iota
	prepared
	committed
	rolledBack
)

// member is a party as the world knows it: what it answers and what it did.
type member struct {
	vote     txn.Vote
	stubborn bool // does otherwise than it is told, once it is told
	holds    holding
}

// message is on its way to a party, when call is set, or to a coordinator.
type message struct {
	coordinator int
	call        txn.Call
	party       string
	term        uint64
	event       txn.Event
}

type coordinator struct {
	state txn.State
	lazy  []txn.Record
	dead  bool
}

type world struct {
	members map[string]*member
	names   []string
	net     []message
	allYes  bool           // is the rule
	coords  []*coordinator // the last one is in office
	term    uint64         // that the journal takes records of
	journal []txn.Record   // all that were made durable
	told    txn.Outcome    // what anybody may have acted on
	trip    int            // 1: the next forced write is not made and its coordinator dies, 2: dies after it
	fault   string
}

func newWorld(t *rapid.T) *world {
	w := &world{members: map[string]*member{}}
	b := txn.Begin{Term: 1, Tx: txn.Tx{ID: "t", Deadline: epoch, Hold: rapid.Bool().Draw(t, "hold")}}
	b.Rule = rapid.SampledFrom([]txn.Rule{txn.AllYes{}, txn.Quorum{Percent: 50}, txn.Quorum{}}).Draw(t, "rule")
	_, w.allYes = b.Rule.(txn.AllYes)
	odd := rapid.IntRange(0, 3).Draw(t, "odd one") == 0
	for i := range rapid.IntRange(0, 5).Draw(t, "parties") {
		m := &member{vote: txn.Yes}
		if rapid.IntRange(0, 5).Draw(t, "vote") == 0 {
			m.vote = rapid.SampledFrom([]txn.Vote{txn.No, txn.Abstain}).Draw(t, "other vote")
		}
		m.stubborn = odd && rapid.Bool().Draw(t, "stubborn")
		p := txn.Party{ID: fmt.Sprint("p", i), Stage: uint8(rapid.IntRange(0, 1).Draw(t, "stage")), Group: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "group")}
		w.members[p.ID], w.names = m, append(w.names, p.ID)
		b.Parties = append(b.Parties, p)
	}
	w.coords, w.term = []*coordinator{{}}, 1
	w.input(0, b)
	return w
}

func (w *world) pick(t *rapid.T) int {
	if len(w.net) == 0 {
		t.Skip("nothing is on its way")
	}
	return rapid.IntRange(0, len(w.net)-1).Draw(t, "message")
}

func (w *world) anyone(t *rapid.T) int {
	return rapid.IntRange(0, len(w.coords)-1).Draw(t, "coordinator")
}

func (w *world) anybody(t *rapid.T) string {
	return rapid.SampledFrom(append([]string{"nobody"}, w.names...)).Draw(t, "party")
}

func (w *world) take(i int) message {
	m := w.net[i]
	w.net[i] = w.net[len(w.net)-1]
	w.net = w.net[:len(w.net)-1]
	return m
}

func (w *world) deliver(i int, again bool) {
	m := w.take(i)
	if again {
		w.net = append(w.net, m)
	}
	if m.call == 0 {
		w.input(m.coordinator, m.event)
		return
	}
	if e := w.members[m.party].hear(m); e != nil {
		w.net = append(w.net, message{coordinator: m.coordinator, event: e})
	}
}

// hear is how a party behaves that keeps its duties: it may be told anything
// again, and refuses a prepare after its roll-back.
func (m *member) hear(msg message) txn.Event {
	refusal := txn.Refusal{Party: msg.party, Term: msg.term, Text: "I did otherwise"}
	switch msg.call {
	case txn.CallPrepare:
		if m.holds == rolledBack {
			return txn.Voted{Party: msg.party, Term: msg.term, Vote: txn.No, Text: "it was rolled back"}
		}
		if m.vote != txn.No && m.holds == free {
			m.holds = prepared // one that abstains is silent, and yet holds
		}
		return txn.Voted{Party: msg.party, Term: msg.term, Vote: m.vote}
	case txn.CallCommit:
		if m.stubborn && m.holds != committed {
			m.holds = rolledBack
		}
		if m.holds == rolledBack {
			return refusal
		}
		m.holds = committed
	case txn.CallRollback:
		if m.stubborn && m.holds == prepared {
			m.holds = committed
		}
		if m.holds == committed {
			return refusal
		}
		m.holds = rolledBack
	}
	return txn.Ack{Party: msg.party, Term: msg.term}
}

// input runs one step of a coordinator as its caller must: record, then actions.
func (w *world) input(i int, e txn.Event) {
	c := w.coords[i]
	if c.dead {
		return
	}
	next, out := txn.Step(c.state, txn.Input{At: epoch, Event: e})
	switch out.Write {
	case txn.Forced:
		trip := w.trip
		w.trip = 0
		if trip == 1 || !w.append(c, out.Record) {
			c.dead = true
			return
		}
		c.lazy = nil // older than this one
		if trip == 2 {
			c.dead = true
			return
		}
	case txn.Lazily:
		c.lazy = append(c.lazy, out.Record)
	}
	c.state = next
	w.tell(next.Outcome)
	for _, a := range out.Actions {
		w.net = append(w.net, message{coordinator: i, call: a.Call, party: a.Party, term: next.Term})
	}
}

func (w *world) tell(o txn.Outcome) {
	if w.told == txn.Undecided {
		w.told = o
	}
	if o != txn.Undecided && w.told != o {
		w.fault = fmt.Sprintf("somebody was told %s, and now %s", w.told, o)
	}
}

// append is a journal: it refuses older terms.
func (w *world) append(c *coordinator, r txn.Record) bool {
	if r.Term < w.term || c.dead {
		return false
	}
	if n := len(w.journal); n > 0 && (r.Seq <= w.journal[n-1].Seq || r.Term < w.journal[n-1].Term) {
		w.fault = fmt.Sprintf("record #%d of term %d comes after #%d of term %d", r.Seq, r.Term, w.journal[n-1].Seq, w.journal[n-1].Term)
	}
	w.journal = append(w.journal, r)
	w.tell(r.Outcome)
	return true
}

// keepLazy makes the newest lazy record of the coordinator in office durable.
func (w *world) keepLazy() {
	c := w.office()
	if n := len(c.lazy); n > 0 && w.append(c, c.lazy[n-1]) {
		c.lazy = nil
	}
}

func (w *world) office() *coordinator { return w.coords[len(w.coords)-1] }

// takeOver begins the next term. The old coordinator may not know and go on.
func (w *world) takeOver(goesOn bool) {
	w.office().dead = w.office().dead || !goesOn
	w.term++
	w.trip = 0
	c := &coordinator{}
	w.coords = append(w.coords, c)
	if len(w.journal) == 0 {
		w.tell(txn.Abort) // an inquiry may have said so
		return
	}
	c.state = txn.State{Record: w.journal[len(w.journal)-1]}
	w.input(len(w.coords)-1, txn.Recover{Term: w.term})
}

func (w *world) check(t *rapid.T) {
	if w.fault != "" {
		t.Fatal(w.fault)
	}
	some := map[holding]int{}
	for name, m := range w.members {
		if !m.stubborn {
			some[m.holds]++
		}
		if w.decided() == txn.Commit && m.vote != txn.Yes && w.allYes {
			t.Fatalf("committed without %s, which votes %s", name, m.vote)
		}
		if m.holds == committed && !m.stubborn && w.decided() != txn.Commit {
			t.Fatalf("%s committed, but the journal says %s", name, w.decided())
		}
	}
	if some[committed] > 0 && some[rolledBack] > 0 {
		t.Fatalf("%d committed and %d rolled back", some[committed], some[rolledBack])
	}
}

func (w *world) decided() txn.Outcome {
	if len(w.journal) == 0 {
		return txn.Undecided
	}
	return w.journal[len(w.journal)-1].Outcome
}

// settle lets the faults end: whoever is in office comes to an end with every
// party, by repeating itself, and a person closes what is mixed.
func (w *world) settle(t *rapid.T) {
	w.trip = 0
	if w.office().dead {
		w.takeOver(false)
	}
	last := len(w.coords) - 1
	c := w.coords[last]
	if c.state.Phase == 0 {
		for name, m := range w.members {
			if m.holds != free {
				t.Fatalf("%s was asked, and nobody remembers", name)
			}
		}
		return
	}
	w.net = nil
	w.input(last, txn.TimedOut{})
	for range 4 {
		for _, name := range w.names {
			w.input(last, txn.Rejoin{Party: name})
		}
		for len(w.net) > 0 {
			w.deliver(0, false)
		}
	}
	mixed := false
	if owed, refused := c.state.Unsettled(); owed > 0 {
		t.Fatalf("%d parties are still owed the decision", owed)
	} else if mixed = refused > 0; mixed {
		w.input(last, txn.Resolve{Text: "model"})
	}
	w.check(t)
	if c.state.Phase != txn.Done {
		t.Fatalf("it ends in %s", c.state.Phase)
	}
	w.ended(t, c.state, mixed)
	w.replay(t)
}

// ended checks that every party did as decided, or that the status tells.
func (w *world) ended(t *rapid.T, s txn.State, mixed bool) {
	want := rolledBack
	if s.Outcome == txn.Commit {
		want = committed
	}
	for name, m := range w.members {
		switch {
		case m.holds == prepared:
			t.Fatalf("%s was forgotten in doubt", name)
		case m.holds == free && s.Outcome == txn.Commit:
			t.Fatalf("%s never heard of the commit", name)
		case m.holds != want && m.holds != free:
			mixed = true
			if s.Status() != txn.Heuristic {
				t.Fatalf("%s did otherwise, and the status is %s", name, s.Status())
			}
		}
	}
	if mixed != (s.Status() == txn.Heuristic) {
		t.Fatalf("mixed: %t, and the status is %s", mixed, s.Status())
	}
}

// replay restarts from every record that was durable: what was decided stays,
// the rest aborts.
func (w *world) replay(t *rapid.T) {
	final := w.decided()
	for _, r := range w.journal {
		s, _ := txn.Step(txn.State{Record: r}, txn.Input{At: epoch, Event: txn.Recover{Term: w.term + 1}})
		switch {
		case r.Outcome != txn.Undecided && r.Outcome != final:
			t.Fatalf("record #%d says %s, the last one %s", r.Seq, r.Outcome, final)
		case r.Outcome == txn.Undecided && s.Outcome != txn.Abort, r.Outcome != txn.Undecided && s.Outcome != r.Outcome:
			t.Fatalf("after record #%d (%s) a restart ends with %s", r.Seq, r.Outcome, s.Outcome)
		}
	}
}
