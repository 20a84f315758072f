package coordinator

import (
	"context"

	"meshlite.dev/internal/txn"
)

// Participant is one party to a transaction as the coordinator sees it. It is made
// anew from the journal, so that it knows no more than the Branch says. A call may
// be repeated, also after it was done, and by the next coordinator while one of the
// last is still on its way; calls of one coordinator to one party never overlap.
// Every call returns soon after its ctx ends.
//
// What a participant owes: it does a call at most once however often it comes;
// what it holds after a yes survives its own restarts until it is told; and after
// a Rollback it refuses a Prepare of the same transaction.
type Participant interface {
	// Prepare stages what b says and waits: txn.Yes when it can be committed
	// whatever happens, txn.No when it cannot and nothing is held, txn.Abstain when
	// ctx ends first. The deadline of ctx is the transaction's.
	Prepare(ctx context.Context, b Branch) Answer
	// Commit makes it take effect. A RefusedError says that it never will; any
	// other error that it is not done yet.
	Commit(ctx context.Context, b Branch) error
	// Rollback drops what is staged, if anything is. Errors are as with Commit.
	Rollback(ctx context.Context, b Branch) error
}

// Branch is one party's share of a transaction.
type Branch struct {
	Tx    txn.Tx
	Party txn.Party
	Term  uint64 // of the coordinator; a participant may refuse those of earlier ones
	Try   int    // counts this coordinator's calls of the kind to the party, from 1
}

// Answer is a vote, in the participant's own words.
type Answer struct {
	Vote txn.Vote
	Text string
}

// RefusedError says that a participant will not do, or did not do, as decided: the
// transaction becomes HEURISTIC.
type RefusedError struct{ Text string }

func (e *RefusedError) Error() string { return "refused the decision: " + e.Text }
