package web

import (
	"fmt"
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

// Log remembers what happened to each transaction since this server coordinates.
// The zero value is empty; its methods may be called by many goroutines.
type Log struct {
	mu    sync.Mutex
	of    map[txn.ID][]Entry
	order []txn.ID
}

// Observe is coordinator.Config.Observe.
func (l *Log) Observe(before, after txn.State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	entries, known := l.of[after.ID]
	if !known {
		l.admit(after.ID)
	}
	for _, text := range changes(before, after) {
		if len(entries) < logEntries {
			entries = append(entries, Entry{now, text})
		}
	}
	l.of[after.ID] = entries
}

func (l *Log) admit(id txn.ID) {
	if l.of == nil {
		l.of = map[txn.ID][]Entry{}
	}
	if l.order = append(l.order, id); len(l.order) > logged {
		delete(l.of, l.order[0])
		l.order = l.order[1:]
	}
}

// Of returns what is remembered of a transaction, oldest first.
func (l *Log) Of(id txn.ID) []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Entry{}, l.of[id]...)
}

// changes tells what is new in after.
func changes(before, after txn.State) (out []string) {
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch {
	case before.Phase == 0 && after.Phase == txn.Preparing:
		say("began with %d participants, to be decided by %s", len(after.Parties), after.Deadline.Format(time.TimeOnly))
	case before.Phase == 0:
		say("taken over while %s", after.Phase)
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
