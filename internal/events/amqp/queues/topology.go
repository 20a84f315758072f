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
)

// DeadLetterExchange has dead-letter queues bound with the name of the queue that
// they belong to.
const DeadLetterExchange = amqp.Exchange + ".dlx"

// declare makes what a subscription needs, or brings it to what s says. Nothing
// that is there with other settings is made anew.
func (b *Backend) declare(ctx context.Context, s dispatch.Subscription) error {
	conn, err := b.take.connection(ctx)
	if err != nil {
		return err
	}
	for _, x := range []struct{ name, kind string }{{s.Exchange, amqp091.ExchangeTopic}, {DeadLetterExchange, amqp091.ExchangeDirect}} {
		if err := within(ctx, conn, func() error { return amqp.DeclareExchange(conn, x.name, x.kind) }); err != nil {
			return fmt.Errorf("prepare the broker's exchange %s: %w", x.name, err)
		}
	}
	if err := b.declareQueue(ctx, s.Queue, queueArguments(s), "spec.queue.name"); err != nil {
		return err
	}
	if err := b.declareQueue(ctx, s.DeadLetter, plainArguments(s), "spec.delivery.deadLetter.queue"); err != nil {
		return err
	}
	return b.bind(ctx, s)
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

func (b *Backend) declareQueue(ctx context.Context, name string, args amqp091.Table, field string) error {
	err := b.take.each(ctx, func(c line) error {
		_, err := c.QueueDeclare(name, true, false, false, false, args)
		return err
	})
	var e *amqp091.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e) && (e.Code == amqp091.PreconditionFailed || e.Code == amqp091.ResourceLocked):
		return fmt.Errorf("the broker has a queue %s with other settings, and it is left alone: %s; take what it holds and delete it, or give another name in %s", name, e.Reason, field)
	}
	return fmt.Errorf("prepare the broker's queue %s: %w", name, err)
}

// bind brings the bindings to what s says. What is remembered covers what is
// bound at every moment.
func (b *Backend) bind(ctx context.Context, s dispatch.Subscription) error {
	known, err := b.keep.Known()
	if err != nil {
		return fmt.Errorf("read what queue %s is bound to: %w", s.Queue, err)
	}
	earlier := s
	if i := slices.IndexFunc(known, func(k dispatch.Subscription) bool { return k.Queue == s.Queue }); i >= 0 {
		earlier = known[i]
	}
	if earlier != s || !slices.Contains(known, s) {
		cover := s
		if earlier.Exchange == s.Exchange {
			cover.Bindings = strings.Join(union(earlier.Patterns(), s.Patterns()), " ")
		}
		if err := b.remember(cover); err != nil {
			return err
		}
	}
	err = b.take.each(ctx, func(c line) error { return bindings(c, s, earlier) })
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
