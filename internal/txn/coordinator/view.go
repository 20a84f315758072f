package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"meshlite.dev/internal/txn"
)

// ErrUnknown reports a transaction that has not begun, or is forgotten. Of its
// outcome that says ROLLED_BACK.
var ErrUnknown = errors.New("no such transaction")

// ErrStopped reports that the coordinator does not run any more: what it would say
// may be old.
var ErrStopped = errors.New("the coordinator has stopped")

// View is a transaction as others see it: what the journal has made certain.
type View struct {
	txn.State
	Faults map[string]Fault // by party: calls that were in vain and are repeated
}

// Fault is a call that has not succeeded yet.
type Fault struct {
	Call  txn.Call
	Tries int    // so far, by this coordinator
	Text  string // why the last one did not
}

// view is a View until something changes; then next has the newer one.
type view struct {
	View
	changed chan struct{} // closed when next is set
	next    *view         // nil when the transaction was forgotten
}

func (c *Coordinator) publish(e *entry) {
	c.replace(e.visible.ID, &view{View: View{e.visible, maps.Clone(e.faults)}, changed: make(chan struct{})})
}

func (c *Coordinator) unpublish(id txn.ID) { c.replace(id, nil) }

func (c *Coordinator) replace(id txn.ID, v *view) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.seen[id]
	if c.seen[id] = v; v == nil {
		delete(c.seen, id)
	}
	if old != nil {
		old.next = v
		close(old.changed)
	}
}

// readable waits until the journal has been read.
func (c *Coordinator) readable(ctx context.Context) error {
	select {
	case <-c.ended:
		return ErrStopped
	default:
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ended:
		return ErrStopped
	case <-c.ready:
		return nil
	}
}

func (c *Coordinator) find(ctx context.Context, id txn.ID) (*view, error) {
	if err := c.readable(ctx); err != nil {
		return nil, fmt.Errorf("read transaction %s: %w", id, err)
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	v := c.seen[id]
	if v == nil {
		return nil, fmt.Errorf("transaction %.140q: %w", string(id), ErrUnknown)
	}
	return v, nil
}

// Get returns a transaction; ErrUnknown where there is none.
func (c *Coordinator) Get(ctx context.Context, id txn.ID) (View, error) {
	v, err := c.find(ctx, id)
	if err != nil {
		return View{}, err
	}
	return v.View, nil
}

// Status is the inquiry of a participant in doubt: one that is unknown was rolled
// back, or was committed so long ago that every party had acknowledged it.
func (c *Coordinator) Status(ctx context.Context, id txn.ID) (txn.Status, error) {
	v, err := c.find(ctx, id)
	switch {
	case errors.Is(err, ErrUnknown):
		return txn.RolledBack, nil
	case err != nil:
		return "", err
	}
	return v.Status(), nil
}

// List returns all transactions that are remembered, the oldest first.
func (c *Coordinator) List(ctx context.Context) ([]View, error) {
	if err := c.readable(ctx); err != nil {
		return nil, fmt.Errorf("list transactions: %w", err)
	}
	return c.Seen(), nil
}

// Seen is what List would return now, without waiting for the journal: nothing
// before it was read, and after the end what was seen last.
func (c *Coordinator) Seen() []View {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]View, 0, len(c.seen))
	for _, v := range c.seen {
		out = append(out, v.View)
	}
	slices.SortFunc(out, func(a, b View) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// Await waits until a transaction is as until wants it, and returns it. It looks at
// every state that others can see, one after the other.
func (c *Coordinator) Await(ctx context.Context, id txn.ID, until func(txn.State) bool) (View, error) {
	v, err := c.find(ctx, id)
	if err != nil {
		return View{}, err
	}
	for !until(v.State) {
		select {
		case <-ctx.Done():
			return v.View, fmt.Errorf("wait for transaction %s: %w", id, ctx.Err())
		case <-c.ended:
			return v.View, fmt.Errorf("wait for transaction %s: %w", id, ErrStopped)
		case <-v.changed:
		}
		if v.next == nil {
			return v.View, fmt.Errorf("wait for transaction %s: %w", id, ErrUnknown)
		}
		v = v.next
	}
	return v.View, nil
}

// Decided is an until for Await.
func Decided(s txn.State) bool { return s.Outcome != txn.Undecided }

// Settled is an until for Await: nobody is owed anything, except by a person.
func Settled(s txn.State) bool {
	owed, _ := s.Unsettled()
	return Decided(s) && owed == 0
}
