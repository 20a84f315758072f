package web

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"meshlite.dev/internal/txn"
)

const (
	logged     = 10_000 // transactions that a Log remembers; then the oldest goes
	logEntries = 400    // of each; then no more
)

// Entry is what happened to a transaction, in a sentence.
type Entry struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// Log remembers what happened to each transaction while this server coordinates. What
// it did not hear, because another server or an earlier start of this one did, it makes
// up for by what the journal has. The zero value is empty; its methods may be called by
// many goroutines.
type Log struct {
	mu    sync.Mutex
	of    map[txn.ID]history
	order []txn.ID
}

// history is what was heard of a transaction.
type history struct {
	entries []Entry
	phase   txn.Phase // where it led to
}

// Observe is coordinator.Config.Observe.
func (l *Log) Observe(before, after txn.State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	h, known := l.of[after.ID]
	if !known {
		l.admit(after.ID)
	}
	switch {
	case before.Phase == 0:
		h.entries = nil
	case before.Phase != h.phase:
		h.entries = kept(before.Record, now)
	}
	for _, text := range changes(before, after) {
		if len(h.entries) < logEntries {
			h.entries = append(h.entries, Entry{now, text})
		}
	}
	h.phase = after.Phase
	l.of[after.ID] = h
}

func (l *Log) admit(id txn.ID) {
	if l.of == nil {
		l.of = map[txn.ID]history{}
	}
	if l.order = append(l.order, id); len(l.order) > logged {
		delete(l.of, l.order[0])
		l.order = l.order[1:]
	}
}

// Of returns what is known of a transaction, oldest first: what was heard, where it led
// to where the record stands.
func (l *Log) Of(r txn.Record) []Entry {
	l.mu.Lock()
	h := l.of[r.ID]
	l.mu.Unlock()
	if h.phase != r.Phase {
		return kept(r, time.Now())
	}
	return append([]Entry{}, h.entries...)
}

// kept tells what a record says. That has the moments of the beginning, the decision
// and the end; what came between stands at the next of them, or now.
func kept(r txn.Record, now time.Time) []Entry {
	begun := txn.State{Record: r}
	begun.Phase, begun.Outcome, begun.Reason = txn.Preparing, txn.Undecided, ""
	begun.Parties = slices.Clone(r.Parties)
	for i := range begun.Parties {
		begun.Parties[i].Vote, begun.Parties[i].Ending = txn.Unasked, txn.Open
	}
	voted := begun
	voted.Parties = slices.Clone(r.Parties)
	for i := range voted.Parties {
		p := &voted.Parties[i]
		if p.Ending == txn.Refused || p.Ending == txn.Resolved {
			p.Text = "" // that of the ending took its place
		}
		p.Ending = txn.Open
	}
	decided := voted
	decided.Outcome, decided.Reason = r.Outcome, r.Reason
	told := decided
	told.Parties = r.Parties

	var out []Entry
	before := txn.State{}
	for _, step := range []struct {
		at time.Time
		to txn.State
	}{{r.Started, begun}, {r.Decided, voted}, {r.Decided, decided}, {r.Ended, told}, {r.Ended, txn.State{Record: r}}} {
		at := step.at
		if at.IsZero() {
			at = now
		}
		for _, text := range changes(before, step.to) {
			if len(out) < logEntries-1 {
				out = append(out, Entry{at, text})
			}
		}
		before = step.to
	}
	return append(out, Entry{now, "so far from the journal, which does not say when each participant spoke"})
}

// changes tells what is new in after.
func changes(before, after txn.State) (out []string) {
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if before.Phase == 0 {
		say("began with %d participants, to be decided by %s", len(after.Parties), after.Deadline.Format(time.TimeOnly))
	}
	for i, p := range after.Parties {
		was := txn.Party{}
		if i < len(before.Parties) {
			was = before.Parties[i]
		}
		if p.Vote != was.Vote && p.Vote != txn.Unasked {
			say("%s: vote %s%s", p.ID, p.Vote, words(p.Text, p.Vote != txn.Asked))
		}
		if p.Ending != was.Ending && p.Ending != txn.Open && p.Ending != txn.Owed {
			say("%s: %s%s", p.ID, p.Ending, words(p.Text, p.Ending == txn.Refused || p.Ending == txn.Resolved))
		}
	}
	if before.Outcome != after.Outcome {
		say("decided: %s, %s", after.Outcome, after.Reason)
	}
	if before.Phase != after.Phase && after.Phase == txn.Done {
		say("ended: %s", after.Status())
	}
	return out
}

func words(text string, say bool) string {
	if text == "" || !say {
		return ""
	}
	return ": " + text
}
