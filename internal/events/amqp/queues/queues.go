// Package queues keeps the queues of subscriptions on a RabbitMQ: durable, events
// acknowledged only once they are handled, retries and dead letters in queues of
// their own. Replicas compete for the same queues. Its main type is Backend.
package queues

import (
	"context"
	"log/slog"
	"maps"
	"slices"
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
// two connections once there are queues: a broker that is short of memory takes
// nothing from a connection that publishes, acknowledgements neither.
type Backend struct {
	keep Memory
	tell func([]events.Event) error
	log  *slog.Logger
	take *link // consumes, acknowledges, declares
	put  *link // publishes

	// turn holds one token: who looks through dead letters has them all.
	turn chan struct{}

	mu     sync.Mutex
	delays map[string]map[time.Duration]bool // that were seen, by the subscription's queue
	looked map[string]bool                   // for those of an earlier run
}

// New returns a backend that is not connected yet. tell keeps events in the log of
// events, durably; log nil is silent.
func New(broker *amqp.Broker, keep Memory, tell func([]events.Event) error, log *slog.Logger) *Backend {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	b := &Backend{keep: keep, tell: tell, log: log, turn: make(chan struct{}, 1), delays: map[string]map[time.Duration]bool{}, looked: map[string]bool{}}
	b.turn <- struct{}{}
	b.take = newLink(func(ctx context.Context) (*amqp091.Connection, error) { return broker.Connect(ctx, "(subscriptions)") })
	b.put = newLink(func(ctx context.Context) (*amqp091.Connection, error) {
		return broker.Connect(ctx, "(retries and dead letters)")
	})
	return b
}

// Close ends the connections, and with them all queues that are open.
func (b *Backend) Close() {
	b.put.close()
	b.take.close()
}

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

// waits are those of the delay queues of a subscription that were seen.
func (b *Backend) waits(queue string) (out []time.Duration, looked bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Keys(b.delays[queue])), b.looked[queue]
}

// seen notes delay queues that are there.
func (b *Backend) seen(queue string, waits ...time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.delays[queue] == nil {
		b.delays[queue] = map[time.Duration]bool{}
	}
	for _, wait := range waits {
		b.delays[queue][wait] = true
	}
}

// gone notes that a subscription has none.
func (b *Backend) gone(queue string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.delays, queue)
	delete(b.looked, queue)
}
