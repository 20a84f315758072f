package queues

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/store"
)

// settler settles one message. What moves is confirmed in its new place before it
// is acknowledged in the old one: a death in between leaves it in both, under the
// same id. An acknowledgement has no answer: one that did not reach the broker
// brings the event again.
type settler struct {
	q *queue
	*item
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
	q := s.q
	if err := q.prepare(ctx, q.s); err != nil { // before the delay queues are needed
		return err
	}
	if s.hold(after, false) {
		return nil
	}
	m := again(s.Delivery, s.event, amqp091.Table{headerAttempt: int64(s.attempt)})
	err := s.delay(ctx, after, false, m)
	if errors.Is(err, errUnroutable) { // somebody deleted the delay queue
		err = s.delay(ctx, after, true, m)
	}
	if err != nil {
		return fmt.Errorf("put an event into the broker's queue %s: %w", delayQueue(q.s.Queue, step(after)), err)
	}
	return nil
}

// delay puts the message into a delay queue, also made anew, once that is old
// enough; a wait that is too short for that is spent here.
func (s *settler) delay(ctx context.Context, after time.Duration, anew bool, m amqp091.Publishing) error {
	wait := step(after)
	from, err := s.q.delay(ctx, s.q.s, wait, anew)
	if err != nil {
		return err
	}
	if rest := time.Until(from); rest > 0 {
		if after <= inMemory && s.hold(after, true) {
			return nil
		}
		if !store.Rest(ctx, rest) {
			return ctx.Err()
		}
	}
	p, err := s.q.publisher(ctx)
	if err != nil {
		return err
	}
	if err := p.put(ctx, "", delayQueue(s.q.s.Queue, wait), m); err != nil {
		return err
	}
	return s.Done(ctx)
}

// hold keeps the message here for another attempt.
func (s *settler) hold(after time.Duration, anyhow bool) bool {
	next := &item{Delivery: s.Delivery, attempt: s.attempt + 1}
	return s.q.hold(next, after, anyhow)
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
