package txn

import "time"

// Input is what happened to a transaction, and when.
type Input struct {
	At    time.Time // the only clock that Step sees
	Event Event
}

// Event is one of Begin, Voted, Ack, Refusal, TimedOut, Cancel, Approve,
// Rejoin, Retry, Resolve and Recover.
type Event interface{ event() }

type (
	// Begin starts the transaction; Validate comes first. Of Tx, Rule and Started
	// are set by Step; of Parties, ID, Stage, Group and Body count.
	Begin struct {
		Tx      Tx
		Term    uint64
		Parties []Party
		Rule    Rule
	}

	// Voted is a party's Yes, No or Abstain to the Prepare of a term.
	Voted struct {
		Party string
		Term  uint64
		Vote  Vote
		Text  string // its own words
	}

	// Ack says that a party has done as the Commit or Rollback of a term told it.
	Ack struct {
		Party string
		Term  uint64
	}

	// Refusal says that a party will not, or did not, do as the Commit or
	// Rollback of a term told it.
	Refusal struct {
		Party string
		Term  uint64
		Text  string
	}

	// TimedOut says that the deadline has passed.
	TimedOut struct{}

	// Cancel asks to abort what is not decided.
	Cancel struct{ Text string }

	// Approve lets a held transaction commit, now or once the votes are in.
	Approve struct{}

	// Rejoin says that a party is back and may have missed what it was told.
	Rejoin struct{ Party string }

	// Retry tells a party that refused, or is owed, the decision again; "" all.
	Retry struct{ Party string }

	// Resolve closes a party that refused, or is owed, as it is; "" all that
	// refused. The transaction stays HEURISTIC.
	Resolve struct {
		Party string
		Text  string // who, and what was found
	}

	// Recover takes a transaction over from an earlier term.
	Recover struct{ Term uint64 }
)

func (Begin) event()    {}
func (Voted) event()    {}
func (Ack) event()      {}
func (Refusal) event()  {}
func (TimedOut) event() {}
func (Cancel) event()   {}
func (Approve) event()  {}
func (Rejoin) event()   {}
func (Retry) event()    {}
func (Resolve) event()  {}
func (Recover) event()  {}

// Decision is what Step asks of its caller: first the record, then the actions.
type Decision struct {
	Write   Write
	Record  Record // the whole next state, when Write is not Nothing
	Actions []Action
}

// Write is how a record is to be kept.
type Write uint8

// The writes; the zero value is Nothing.
const (
	Nothing Write = iota
	// Lazily: soon; the actions need not wait for it, and a newer record of the
	// transaction may take its place. Losing it only repeats calls.
	Lazily
	// Forced: durably, before the actions and before anybody is told.
	Forced
)

func (w Write) String() string { return name(w, "nothing", "lazily", "forced") }

// Action is a call to make to a party in the state's term, which takes the place
// of an earlier one to the same party: an answer to that one must not come in
// any more. It may be repeated.
type Action struct {
	Call  Call
	Party string
}

// Call is what a party is told.
type Call uint8

// The calls.
const (
	CallPrepare  Call = iota + 1 // answered by Voted
	CallCommit                   // answered by Ack or Refusal, repeated until then
	CallRollback                 // likewise
)

func (c Call) String() string { return name(c, "none", "prepare", "commit", "rollback") }
