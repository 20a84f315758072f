package queues

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"meshlite.dev/internal/events"
)

// settler settles one message. What moves is confirmed in its new place before it
// is acknowledged in the old one: a death in between leaves it in both, under the
// same id. An acknowledgement has no answer: one that did not reach the broker
// brings the event again.
type settler struct {
	q *queue
	item
	event events.Event
}

// Done implements dispatch.Settler.
func (s *settler) Done(ctx context.Context) error {
	if err := within(ctx, s.q.line.conn, func() error { return s.Ack(false) }); err != nil {
		return fmt.Errorf("acknowledge an event: %w", err)
	}
	s.q.edit(func() { s.q.taken-- })
	return nil
}

// Retry implements dispatch.Settler.
func (s *settler) Retry(ctx context.Context, after time.Duration) error {
	next := s.item
	next.attempt++
	if s.q.hold(next, after) {
		return nil
	}
	p, err := s.q.publisher(ctx)
	if err != nil {
		return err
	}
	wait := step(after)
	m := again(s.Delivery, s.event, amqp091.Table{headerAttempt: int64(s.attempt)})
	name := delayQueue(s.q.s.Queue, wait)
	if err = s.q.delay(ctx, wait, false); err == nil {
		err = p.put(ctx, "", name, m)
	}
	if errors.Is(err, errUnroutable) { // somebody deleted it
		if err = s.q.delay(ctx, wait, true); err == nil {
			err = p.put(ctx, "", name, m)
		}
	}
	if err != nil {
		return fmt.Errorf("put an event into the broker's queue %s: %w", name, err)
	}
	return s.Done(ctx)
}

// delay makes sure of a delay queue; anew: also where it was seen.
func (q *queue) delay(ctx context.Context, wait time.Duration, anew bool) error {
	q.Backend.mu.Lock()
	there := q.delays[q.s.Queue][wait]
	q.Backend.mu.Unlock()
	if there && !anew {
		return nil
	}
	if err := q.declareQueue(ctx, delayQueue(q.s.Queue, wait), delayArguments(q.s.Queue, wait), "spec.queue.name"); err != nil {
		return err
	}
	q.seen(q.s.Queue, wait)
	return nil
}

// Dead implements dispatch.Settler.
func (s *settler) Dead(ctx context.Context, attempts int, reason string, told *events.Event) error {
	p, err := s.q.publisher(ctx)
	if err != nil {
		return err
	}
	m := again(s.Delivery, s.event, amqp091.Table{
		headerReason: reason, headerAttempts: int64(attempts), headerSubscription: s.q.s.Key(),
		headerDeadAt: time.Now().UTC().Format(time.RFC3339Nano),
	})
	if err := p.put(ctx, DeadLetterExchange, s.q.s.Queue, m); err != nil {
		return fmt.Errorf("put an event into the broker's queue %s: %w", s.q.s.DeadLetter, err)
	}
	if told != nil {
		if err := s.q.tell([]events.Event{*told}); err != nil {
			return fmt.Errorf("tell of a dead letter: %w", err)
		}
	}
	return s.Done(ctx)
}
