// Package queues keeps the queues of subscriptions on a RabbitMQ: durable, events
// acknowledged only once they are handled, retries and dead letters in queues of
// their own. Replicas compete for the same queues. Its main type is Backend.
package queues

import (
	"context"
	"log/slog"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/amqp"
	"meshlite.dev/internal/events/dispatch"
)

// Memory keeps the subscriptions that were opened, by queue, over restarts: a
// broker does not say what it is bound to. Its methods may be called at once.
type Memory interface {
	Known() ([]dispatch.Subscription, error)
	Remember(s dispatch.Subscription) error
	Forget(queue string) error // one that is not there is no error
}

var _ dispatch.Backend = (*Backend)(nil)

// Backend keeps queues on a broker. Make one with New, end it with Close. It holds
// three connections at most: a broker that is short of memory takes nothing from one
// that publishes, acknowledgements neither, and one over which somebody looks is
// ended where the broker lets him wait.
type Backend struct {
	keep Memory
	tell func([]events.Event) error
	log  *slog.Logger
	take *link // consumes, acknowledges, declares
	put  *link // publishes
	look *link // counts, goes through dead letters

	// turn holds one token: who looks through dead letters has them all.
	turn chan struct{}

	// young is how long a queue that was made is not relied on.
	young time.Duration

	mu      sync.Mutex
	ladders map[string]*ladder // by the subscription's queue
}

// New returns a backend that is not connected yet. tell keeps events in the log of
// events, durably; log nil is silent.
func New(broker *amqp.Broker, keep Memory, tell func([]events.Event) error, log *slog.Logger) *Backend {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	b := &Backend{keep: keep, tell: tell, log: log, turn: make(chan struct{}, 1), young: young, ladders: map[string]*ladder{}}
	b.turn <- struct{}{}
	b.take = newLink(func(ctx context.Context) (*amqp091.Connection, error) { return broker.Connect(ctx, "(subscriptions)") })
	b.put = newLink(func(ctx context.Context) (*amqp091.Connection, error) {
		return broker.Connect(ctx, "(retries and dead letters)")
	})
	b.look = newLink(func(ctx context.Context) (*amqp091.Connection, error) { return broker.Connect(ctx, "(counts)") })
	return b
}

// Close ends the connections, and with them all queues that are open.
func (b *Backend) Close() {
	b.look.close()
	b.put.close()
	b.take.close()
}

// young: a broker that is killed forgets quorum queues that were made within its
// last second or so, with all that it had confirmed in them. (It knows a queue's
// log by a table that it writes half a second after the last change to it, and
// three seconds after the first.)
const young = 3500 * time.Millisecond

// Known implements dispatch.Backend.
func (b *Backend) Known(context.Context) ([]dispatch.Subscription, error) { return b.keep.Known() }

// Open implements dispatch.Backend.
func (b *Backend) Open(ctx context.Context, s dispatch.Subscription) (dispatch.Queue, error) {
	if err := b.declare(ctx, s); err != nil {
		return nil, err
	}
	c, err := b.take.line(ctx)
	if err != nil {
		return nil, err
	}
	return newQueue(b, s, c), nil
}

// ladder returns what is known of the delay queues of a subscription's queue.
func (b *Backend) ladder(queue string) *ladder {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ladders[queue] == nil {
		b.ladders[queue] = &ladder{from: map[time.Duration]time.Time{}}
	}
	return b.ladders[queue]
}

// gone notes that a subscription has none.
func (b *Backend) gone(queue string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.ladders, queue)
}
