// Package journal keeps transactions across crashes: the newest record of each,
// in a form that is stated byte for byte in [Encode], for one coordinator at a
// time. Backends: bolt (a file), stored (a store.Store, under a lock's fence: Consul) and
// chain (a store.Store that changes one key at a time: Kubernetes).
// journaltest holds the contract that all pass.
package journal

import (
	"context"
	"errors"

	"meshlite.dev/internal/txn"
)

// ErrFenced reports that another coordinator has taken over, or that the lock
// which made this one the coordinator is lost. It stays.
var ErrFenced = errors.New("journal: another coordinator has taken over")

// Journal is the journal as one coordinator sees it, through a handle of its own.
// Methods may be called by one goroutine at a time.
type Journal interface {
	// Recover takes the next term, durably, and returns it with the newest record
	// of every transaction, in the order of IDs. From then on no handle that
	// recovered earlier changes anything. It comes first, once.
	Recover(ctx context.Context) (term uint64, records []txn.Record, err error)
	// Append makes records durable, each in the place of the transaction's earlier
	// one, before it returns; after an error any of them may be. They carry the
	// term of Recover, and of a transaction a higher Seq than what was appended; no
	// two are of one transaction. Repeating an Append is safe. ErrFenced is final,
	// other errors pass.
	Append(ctx context.Context, records ...txn.Record) error
	// Forget removes transactions; those that are unknown are no error.
	Forget(ctx context.Context, ids ...txn.ID) error
}
