package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"meshlite.dev/internal/txn"
)

var (
	// ErrMismatch reports a Begin with the ID of a transaction that is about
	// something else.
	ErrMismatch = errors.New("this id is that of another transaction")
	// ErrBusy reports that as many transactions are open, or wait, as may.
	ErrBusy = errors.New("too many transactions are open")
	// ErrDecided reports that the decision has been made, and is another.
	ErrDecided = errors.New("it is decided already")
)

// Request is what a transaction begins with. ID, Kind, Body, Parties, Rule and Hold
// are those of txn.Begin; of Parties, ID, Stage, Group and Body count.
type Request struct {
	ID      txn.ID
	Kind    string
	Body    []byte
	Parties []txn.Party
	Rule    txn.Rule
	Hold    bool
	Timeout time.Duration // until silence becomes abstention, from when it begins; over 0
}

// begin is a Request on its way.
type begin struct {
	event   txn.Begin
	timeout time.Duration
	ctx     context.Context
	reply   chan result
}

type result struct {
	view View
	err  error
}

func (b *begin) answer(v View, err error) { b.reply <- result{v, err} }

// Begin begins a transaction and returns once that is durable; in a serial
// coordinator it waits for its turn first. With the ID and content of a transaction
// that is known, it returns that one. Bad input, ErrMismatch, ErrBusy and ErrStopped
// mean that nothing has begun. When ctx ends, it may have: Get tells.
func (c *Coordinator) Begin(ctx context.Context, r Request) (View, error) {
	b := &begin{timeout: r.Timeout, ctx: ctx, reply: make(chan result, 1)}
	b.event = txn.Begin{
		Tx:      txn.Tx{ID: r.ID, Kind: r.Kind, Body: r.Body, Hold: r.Hold, Deadline: c.cfg.Now().Add(r.Timeout)},
		Parties: r.Parties, Rule: r.Rule,
	}
	faults := b.event.Validate()
	if r.Timeout <= 0 {
		faults = errors.Join(faults, fmt.Errorf("timeout: %s: must be over 0s", r.Timeout))
	}
	if faults != nil {
		return View{}, fmt.Errorf("begin transaction %.140q: %w", string(r.ID), faults)
	}
	if err := c.send(ctx, func(l *loop) { l.begin(b) }); err != nil {
		return View{}, fmt.Errorf("begin transaction %s: %w", r.ID, err)
	}
	return c.receive(ctx, "begin", r.ID, b.reply)
}

// send gives the loop something to do.
func (c *Coordinator) send(ctx context.Context, do func(*loop)) error {
	select {
	case c.commands <- do:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ended:
		return ErrStopped
	}
}

func (c *Coordinator) receive(ctx context.Context, what string, id txn.ID, reply <-chan result) (View, error) {
	r := result{}
	select {
	case r = <-reply:
	case <-ctx.Done():
		r.err = ctx.Err()
	case <-c.ended:
		select {
		case r = <-reply: // it was answered before the end
		default:
			r.err = ErrStopped
		}
	}
	if r.err != nil {
		r.err = fmt.Errorf("%s transaction %s: %w", what, id, r.err)
	}
	return r.view, r.err
}

// begin begins, queues or turns away.
func (l *loop) begin(b *begin) {
	id := b.event.Tx.ID
	switch e := l.entry(id); {
	case e != nil && !b.event.Same(e.state.Record):
		b.answer(View{}, ErrMismatch)
	case e != nil:
		l.step(e, b.event, func() { b.answer(View{State: e.visible}, nil) }) // changes nothing; the answer waits for what is to be durable
	case l.stopping:
		b.answer(View{}, ErrStopped)
	case l.c.cfg.Serial && (len(l.queue) > 0 || l.occupied()):
		l.queue = slices.DeleteFunc(l.queue, (*begin).givenUp)
		if len(l.queue) >= l.c.cfg.MaxQueue {
			b.answer(View{}, ErrBusy)
			return
		}
		l.queue = append(l.queue, b)
	case len(l.open) >= l.c.cfg.MaxOpen:
		b.answer(View{}, ErrBusy)
	default:
		l.start(b)
	}
}

func (b *begin) givenUp() bool { return b.ctx.Err() != nil }

func (l *loop) start(b *begin) {
	now := time.Now()
	e := &entry{expires: now.Add(b.timeout)}
	b.event.Term, b.event.Tx.Deadline = l.term, l.c.cfg.Now().Add(b.timeout)
	l.open[b.event.Tx.ID] = e
	l.soon(e.expires)
	l.step(e, b.event, func() { b.answer(View{State: e.visible}, nil) })
}

func (l *loop) entry(id txn.ID) *entry {
	if e := l.open[id]; e != nil {
		return e
	}
	return l.done[id]
}

// occupied reports whether a transaction holds up a serial coordinator: one that
// is not done and does not wait for a person alone, after its decision.
func (l *loop) occupied() bool {
	for _, e := range l.open {
		if owed, refused := e.state.Unsettled(); owed > 0 || refused == 0 || len(e.waiting) > 0 {
			return true
		}
	}
	return false
}

// beginNext lets those that wait begin, in a serial coordinator.
func (l *loop) beginNext() {
	if len(l.queue) == 0 || l.occupied() {
		return
	}
	queue := l.queue
	l.queue = nil
	for _, b := range queue {
		switch {
		case b.givenUp():
		case l.entry(b.event.Tx.ID) == nil && l.occupied():
			l.queue = append(l.queue, b)
		default:
			l.begin(b)
		}
	}
}

// dismiss turns away those that wait.
func (l *loop) dismiss() {
	for _, b := range l.queue {
		b.answer(View{}, ErrStopped)
	}
	l.queue = nil
}

// put steps a transaction and returns it when what came of it is durable.
func (c *Coordinator) put(ctx context.Context, what string, id txn.ID, event func(txn.State) (txn.Event, error)) (View, error) {
	reply := make(chan result, 1)
	err := c.send(ctx, func(l *loop) {
		e := l.entry(id)
		if e == nil {
			reply <- result{err: ErrUnknown}
			return
		}
		in, err := event(e.state)
		if err != nil {
			reply <- result{View{State: e.visible}, err}
			return
		}
		l.step(e, in, func() { reply <- result{View{State: e.visible}, nil} })
		l.shelve(e)
	})
	if err != nil {
		return View{}, fmt.Errorf("%s transaction %s: %w", what, id, err)
	}
	return c.receive(ctx, what, id, reply)
}

// Cancel aborts a transaction; ErrDecided where it is to commit. Text says who and
// why.
func (c *Coordinator) Cancel(ctx context.Context, id txn.ID, text string) (View, error) {
	return c.put(ctx, "cancel", id, func(s txn.State) (txn.Event, error) {
		if s.Outcome == txn.Commit {
			return nil, ErrDecided
		}
		return txn.Cancel{Text: text}, nil
	})
}

// Approve lets a held transaction commit; ErrDecided where it is aborted.
func (c *Coordinator) Approve(ctx context.Context, id txn.ID) (View, error) {
	return c.put(ctx, "approve", id, func(s txn.State) (txn.Event, error) {
		if s.Outcome == txn.Abort {
			return nil, ErrDecided
		}
		return txn.Approve{}, nil
	})
}

// Retry tells parties that are owed the decision, or refused it, again and at once;
// "" is all of them.
func (c *Coordinator) Retry(ctx context.Context, id txn.ID, party string) (View, error) {
	return c.put(ctx, "retry", id, always(txn.Retry{Party: party}))
}

// Resolve closes parties that refused the decision as they are; "" is all of them.
// One that is named may also be owed it: it is given up. The transaction stays
// HEURISTIC. Text says who, and what was found.
func (c *Coordinator) Resolve(ctx context.Context, id txn.ID, party, text string) (View, error) {
	return c.put(ctx, "resolve", id, always(txn.Resolve{Party: party, Text: text}))
}

// Vote takes a vote that came by another way than Prepare.
func (c *Coordinator) Vote(ctx context.Context, id txn.ID, party string, a Answer) (View, error) {
	return c.put(ctx, "vote on", id, func(s txn.State) (txn.Event, error) {
		return txn.Voted{Party: party, Term: s.Term, Vote: a.Vote, Text: a.Text}, nil
	})
}

func always(e txn.Event) func(txn.State) (txn.Event, error) {
	return func(txn.State) (txn.Event, error) { return e, nil }
}

// Rejoin says that a party is back and may have missed calls: in every open
// transaction it is asked, or told what it is owed, at once.
func (c *Coordinator) Rejoin(ctx context.Context, party string) error {
	err := c.send(ctx, func(l *loop) {
		for _, e := range l.open {
			if _, ok := e.state.Party(party); ok {
				l.step(e, txn.Rejoin{Party: party}, nil)
				l.shelve(e)
			}
		}
	})
	if err != nil {
		return fmt.Errorf("let %s rejoin: %w", party, err)
	}
	return nil
}
