package txn

import "time"

// Record is everything about a transaction that is kept: a whole image, so that
// the newest one is enough. Each record of a transaction has a higher Seq than
// the one before, and at least its Term.
type Record struct {
	Tx
	Term    uint64 // of the coordinator that wrote it; over 0
	Seq     uint64 // counts what was to be written for this transaction, from 1; gaps are images that newer ones overtook
	Phase   Phase
	Outcome Outcome
	Reason  string // why it was decided so; while Preparing, what it waits for
	Parties []Party

	Decided, Ended time.Time // zero until then
}

// State is a Record and what is forgotten with the coordinator that holds it.
// The zero value is a transaction that has not begun.
type State struct {
	Record
	Rule     Rule // nil after a restart: a recovered transaction votes no more
	Approved bool // Approve came
	Ready    bool // while Preparing: only Approve is missing
}

// Phase is where a transaction stands; the zero value is one that has not begun.
type Phase uint8

// The phases, in this order; a late yes leads from Done back to Aborting.
const (
	Preparing Phase = iota + 1
	Committing
	Aborting
	Done
)

func (p Phase) String() string {
	return name(p, "unbegun", "preparing", "committing", "aborting", "done")
}

// Outcome is the decision. Once it is not Undecided it stays.
type Outcome uint8

// The outcomes; the zero value is Undecided.
const (
	Undecided Outcome = iota
	Commit
	Abort
)

func (o Outcome) String() string { return name(o, "undecided", "commit", "abort") }

// Status is a transaction in its users' words.
type Status string

// The statuses.
const (
	Pending    Status = "PENDING"     // not decided
	Committed  Status = "COMMITTED"   // decided; parties may still be about to hear of it
	RolledBack Status = "ROLLED_BACK" // decided, or unknown
	Heuristic  Status = "HEURISTIC"   // decided, and a party did otherwise or nobody knows
)

// Status is PENDING, COMMITTED, ROLLED_BACK or HEURISTIC. That of a transaction
// which has not begun is ROLLED_BACK: presumed abort.
func (r Record) Status() Status {
	for i := range r.Parties {
		if e := r.Parties[i].Ending; e == Refused || e == Resolved {
			return Heuristic
		}
	}
	switch {
	case r.Outcome == Commit:
		return Committed
	case r.Phase == Preparing:
		return Pending
	default:
		return RolledBack
	}
}

// Unsettled counts the parties that are owed the decision and those that refused
// it and wait for a person.
func (r Record) Unsettled() (owed, refused int) {
	for i := range r.Parties {
		switch r.Parties[i].Ending {
		case Owed:
			owed++
		case Refused:
			refused++
		}
	}
	return owed, refused
}

// Party returns the party of that ID.
func (r Record) Party(id string) (Party, bool) {
	if i := r.index(id); i >= 0 {
		return r.Parties[i], true
	}
	return Party{}, false
}

func (r Record) index(id string) int {
	for i := range r.Parties {
		if r.Parties[i].ID == id {
			return i
		}
	}
	return -1
}

// millis is t as a record keeps it.
func millis(t time.Time) time.Time {
	if t.IsZero() || t.UnixMilli() == 0 {
		return time.Time{}
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}
