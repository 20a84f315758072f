package dispatch

import (
	"context"
	"encoding/json"
	"time"

	"meshlite.dev/internal/events"
)

// Backend keeps queues: in the log of events, or on a broker.
type Backend interface {
	// Open makes the subscription's queue, or brings it to what s says, and takes
	// events from it until Close. Events that were told before the queue was made
	// do not come. An error says what keeps it from working; Open is tried again.
	// It takes nothing before the first Next.
	Open(ctx context.Context, s Subscription) (Queue, error)
	// Known returns the subscriptions that were opened, in earlier runs too, and not
	// dropped, as they were opened last.
	Known(ctx context.Context) ([]Subscription, error)
	// Drop ends a subscription that is no more: nothing new comes to its queue.
	// A queue in which events wait, dead letters too, is kept for whoever wants
	// them; an empty one goes.
	Drop(ctx context.Context, s Subscription) error
	DeadLetters
}

// Queue is where the events of one subscription wait, durable.
type Queue interface {
	// Next waits for an event that is due. One goroutine calls it. An error, but
	// that of ctx, ends the queue: close it and open another.
	Next(ctx context.Context) (Delivery, error)
	// Depth counts what is in the queue.
	Depth(ctx context.Context) (Depth, error)
	// Close gives back what was taken and not settled: it is delivered again.
	Close()
}

// Depth is what a queue holds. Dead letters are no part of Waiting.
type Depth struct {
	Waiting uint64 // for their first or another try, those under way included
	Dead    uint64 // given up, in the dead-letter queue
	Missed  uint64 // gone before they were tried, as a log without a broker is bounded
}

// Delivery is one event to handle. It is settled once.
type Delivery struct {
	Event   events.Event // zero where Fault is set
	Body    []byte       // as it lay in the queue
	Fault   string       // why Body is no event; "" where it is one
	Attempt int          // of handling it, from 1
	Settle  Settler
}

// Settler ends a delivery. Each method is durable when it returns nil; after an
// error the event comes again. Many goroutines settle at once.
type Settler interface {
	// Done takes the event off the queue.
	Done(ctx context.Context) error
	// Retry brings it back after a while, which may come out longer by a fifth, with
	// an attempt more. Others go on meanwhile.
	Retry(ctx context.Context, after time.Duration) error
	// Dead moves it to the dead-letter queue, after so many attempts to handle it, and
	// keeps told in the log of events; nil: nothing is told.
	Dead(ctx context.Context, attempts int, reason string, told *events.Event) error
}

// DeadLetters are what a subscription gave up on.
type DeadLetters interface {
	// Dead returns the oldest ones, most at a time, and how many there are.
	Dead(ctx context.Context, s Subscription, most int) (list []DeadLetter, total uint64, err error)
	// Requeue puts those with these ids, or all of them (nil), into the
	// subscription's queue for another first attempt, and returns how many.
	Requeue(ctx context.Context, s Subscription, ids []string) (int, error)
	// Purge removes them likewise, for good.
	Purge(ctx context.Context, s Subscription, ids []string) (int, error)
}

// DeadLetter is an event that was given up.
type DeadLetter struct {
	ID       string          `json:"id"` // of the event; a hash of Body where it is none
	Type     string          `json:"type,omitempty"`
	Source   string          `json:"source,omitempty"`
	Subject  string          `json:"subject,omitempty"`
	Reason   string          `json:"reason"`
	At       time.Time       `json:"at"`              // it was given up
	Attempts int             `json:"attempts"`        // made before
	Event    json.RawMessage `json:"event,omitempty"` // the whole of it
	Body     []byte          `json:"body,omitempty"`  // instead of Event where that is no JSON
}
