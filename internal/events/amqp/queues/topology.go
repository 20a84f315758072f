package queues

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"meshlite.dev/internal/events/amqp"
	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/store"
)

// DeadLetterExchange has dead-letter queues bound with the name of the queue that
// they belong to.
const DeadLetterExchange = amqp.Exchange + ".dlx"

// declare makes what a subscription needs, or brings it to what s says. Nothing
// that is there with other settings is made anew.
func (b *Backend) declare(ctx context.Context, s dispatch.Subscription) error {
	earlier, known, err := b.earlier(s)
	if err != nil {
		return err
	}
	conn, err := b.take.connection(ctx)
	if err != nil {
		return err
	}
	for _, x := range []struct{ name, kind string }{{s.Exchange, amqp091.ExchangeTopic}, {DeadLetterExchange, amqp091.ExchangeDirect}} {
		if err := within(ctx, conn, func() error { return amqp.DeclareExchange(conn, x.name, x.kind) }); err != nil {
			return fmt.Errorf("prepare the broker's exchange %s: %w", x.name, err)
		}
	}
	fresh, err := b.declareQueue(ctx, s.Queue, queueArguments(s), "spec.queue.name")
	if err != nil {
		return err
	}
	too, err := b.declareQueue(ctx, s.DeadLetter, plainArguments(s), "spec.delivery.deadLetter.queue")
	if err != nil {
		return err
	}
	// A queue that was deleted in use is bound at once: what comes meanwhile had no
	// other place.
	if (too || fresh && !known) && !store.Rest(ctx, b.young) {
		return ctx.Err()
	}
	return b.bind(ctx, s, earlier, known)
}

// queueArguments are those of the queue in which events wait. What the broker
// itself gives up, which we never ask it to, is a dead letter too.
func queueArguments(s dispatch.Subscription) amqp091.Table {
	args := plainArguments(s)
	args["x-dead-letter-exchange"], args["x-dead-letter-routing-key"] = DeadLetterExchange, s.Queue
	if s.Ordered {
		args[amqp091.SingleActiveConsumerArg] = true
	}
	return args
}

// plainArguments are those of the dead-letter queue. RabbitMQ 4 throws away what
// came back 20 times from a quorum queue, and looking at it is such a time.
func plainArguments(s dispatch.Subscription) amqp091.Table {
	args := amqp091.Table{amqp091.QueueTypeArg: s.QueueType}
	if s.QueueType == amqp091.QueueTypeQuorum {
		args["x-delivery-limit"] = int64(math.MaxInt32)
	}
	return args
}

// declareQueue makes sure of a queue; fresh: it was not there, and is young yet.
func (b *Backend) declareQueue(ctx context.Context, name string, args amqp091.Table, field string) (fresh bool, err error) {
	_, _, there, err := b.count(ctx, name)
	if err == nil {
		err = b.take.each(ctx, func(c line) error {
			_, err := c.QueueDeclare(name, true, false, false, false, args)
			return err
		})
	}
	var e *amqp091.Error
	switch {
	case err == nil:
		return !there && args[amqp091.QueueTypeArg] == amqp091.QueueTypeQuorum, nil
	case errors.As(err, &e) && (e.Code == amqp091.PreconditionFailed || e.Code == amqp091.ResourceLocked):
		return false, fmt.Errorf("the broker has a queue %s with other settings, and it is left alone: %s; take what it holds and delete it, or give another name in %s", name, e.Reason, field)
	}
	return false, fmt.Errorf("prepare the broker's queue %s: %w", name, err)
}

// earlier is the subscription as its queue was bound for last; s where it never was.
func (b *Backend) earlier(s dispatch.Subscription) (earlier dispatch.Subscription, known bool, err error) {
	all, err := b.keep.Known()
	if err != nil {
		return s, false, fmt.Errorf("read what queue %s is bound to: %w", s.Queue, err)
	}
	if i := slices.IndexFunc(all, func(k dispatch.Subscription) bool { return k.Queue == s.Queue }); i >= 0 {
		return all[i], true, nil
	}
	return s, false, nil
}

// bind brings the bindings to what s says. What is remembered meanwhile covers what
// was bound and what is being bound, so that an end that comes in between is made
// up for.
func (b *Backend) bind(ctx context.Context, s, earlier dispatch.Subscription, known bool) error {
	cover := earlier
	if earlier.Exchange == s.Exchange {
		cover.Bindings = strings.Join(union(earlier.Patterns(), s.Patterns()), " ")
	}
	if cover != earlier || !known {
		if err := b.remember(cover); err != nil {
			return err
		}
	}
	err := b.take.each(ctx, func(c line) error { return bindings(c, s, earlier) })
	if err != nil {
		return fmt.Errorf("bind the broker's queue %s to exchange %s: %w", s.Queue, s.Exchange, err)
	}
	return b.remember(s)
}

func (b *Backend) remember(s dispatch.Subscription) error {
	if err := b.keep.Remember(s); err != nil {
		return fmt.Errorf("remember what queue %s is bound to: %w", s.Queue, err)
	}
	return nil
}

// bindings makes those of s, then ends those that only earlier had: what both
// want never stops.
func bindings(c line, s, earlier dispatch.Subscription) error {
	for _, p := range s.Patterns() {
		if err := c.QueueBind(s.Queue, p, s.Exchange, false, nil); err != nil {
			return err
		}
	}
	for _, key := range []string{s.Queue, s.DeadLetter} {
		if err := c.QueueBind(s.DeadLetter, key, DeadLetterExchange, false, nil); err != nil {
			return err
		}
	}
	for _, p := range earlier.Patterns() {
		if earlier.Exchange == s.Exchange && slices.Contains(s.Patterns(), p) {
			continue
		}
		if err := c.QueueUnbind(s.Queue, p, earlier.Exchange, nil); err != nil {
			return err
		}
	}
	if earlier.DeadLetter == s.DeadLetter {
		return nil
	}
	for _, key := range []string{s.Queue, earlier.DeadLetter} {
		if err := c.QueueUnbind(earlier.DeadLetter, key, DeadLetterExchange, nil); err != nil {
			return err
		}
	}
	return nil
}

func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}
