package queues

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/store"
)

const (
	restoreTimeout = 2 * time.Second
	restorePause   = 10 * time.Millisecond
)

// alone waits until nobody else looks through dead letters here.
func (b *Backend) alone(ctx context.Context) (done func(), err error) {
	select {
	case <-b.turn:
		return func() { b.turn <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// walk takes dead letters one by one, at most as many as there were at the
// beginning, and finishes, which says how many it has taken out for good. The
// others go back to where they were, before walk returns.
func (b *Backend) walk(ctx context.Context, queue string, most int, do func(amqp091.Delivery) error, finish func() (int, error)) (total int, err error) {
	done, err := b.alone(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	gone := 0
	err = b.look.each(ctx, func(c line) error {
		q, err := c.QueueDeclarePassive(queue, true, false, false, false, nil)
		if err != nil {
			return err
		}
		total = q.Messages
		for range min(most, total) {
			m, ok, err := c.Get(queue, false)
			if err == nil && !ok { // another replica looks too
				break
			}
			if err == nil {
				err = do(m)
			}
			if err != nil {
				return err
			}
		}
		gone, err = finish()
		return err
	})
	switch {
	case missing(err):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("read the broker's queue %s: %w", queue, err)
	}
	return total, b.restored(ctx, queue, total-gone)
}

// restored waits until a queue has what was taken and given back, as the next one
// who looks expects: the broker does that by and by. Others may take from it
// meanwhile, so there is a limit.
func (b *Backend) restored(ctx context.Context, queue string, want int) error {
	limit := time.Now().Add(restoreTimeout)
	for {
		n, _, _, err := b.count(ctx, queue)
		if err != nil || n >= want || time.Now().After(limit) {
			return err
		}
		if !store.Rest(ctx, restorePause) {
			return ctx.Err()
		}
	}
}

// Dead implements dispatch.DeadLetters.
func (b *Backend) Dead(ctx context.Context, s dispatch.Subscription, most int) (list []dispatch.DeadLetter, total uint64, err error) {
	n, err := b.walk(ctx, s.DeadLetter, most, func(m amqp091.Delivery) error {
		list = append(list, deadLetterOf(m))
		return ctx.Err()
	}, func() (int, error) { return 0, nil })
	if err != nil {
		return nil, 0, err
	}
	return list, uint64(n), nil
}

// all is more than any queue has.
const all = int(^uint(0) >> 1)

// wanted reports whether ids, nil is all, have that of a dead letter.
func wanted(ids []string, m amqp091.Delivery) bool {
	if ids == nil {
		return true
	}
	e, _ := eventOf(m)
	return slices.Contains(ids, idOf(e, m.Body))
}

// Requeue implements dispatch.DeadLetters. A count with an error is of those that
// were moved before it.
func (b *Backend) Requeue(ctx context.Context, s dispatch.Subscription, ids []string) (moved int, err error) {
	p, err := b.put.publisher(ctx)
	if err != nil {
		return 0, err
	}
	defer p.end() //nolint:contextcheck // a channel is closed, whatever became of ctx
	r := &requeuing{publisher: p, queue: s.Queue}
	_, err = b.walk(ctx, s.DeadLetter, all, func(m amqp091.Delivery) error {
		if !wanted(ids, m) {
			return ctx.Err()
		}
		return r.move(ctx, m)
	}, func() (int, error) {
		err := r.finish(ctx)
		return r.moved, err
	})
	if errors.Is(err, errUnroutable) {
		err = fmt.Errorf("the broker has no queue %s, as its subscription has ended or only begins: %w", s.Queue, err)
	}
	return r.moved, err
}

// requeuing moves dead letters back in order, many at a time.
type requeuing struct {
	*publisher
	queue string
	under []moving
	moved int
}

// moving is a dead letter whose copy waits for its confirm.
type moving struct {
	pending
	dead amqp091.Delivery
}

func (r *requeuing) move(ctx context.Context, m amqp091.Delivery) error {
	e, _ := eventOf(m)
	c, err := r.send(ctx, "", r.queue, again(m, e, nil))
	if err != nil {
		return err
	}
	r.under = append(r.under, moving{c, m})
	if len(r.under) < window {
		return nil
	}
	return r.finish(ctx)
}

// finish acknowledges what is confirmed in its new place.
func (r *requeuing) finish(ctx context.Context) error {
	for _, one := range r.under {
		if err := r.wait(ctx, one.pending); err != nil {
			return err
		}
		if err := one.dead.Ack(false); err != nil {
			return err
		}
		r.moved++
	}
	r.under = r.under[:0]
	return nil
}

// Purge implements dispatch.DeadLetters.
func (b *Backend) Purge(ctx context.Context, s dispatch.Subscription, ids []string) (n int, err error) {
	if ids == nil {
		err := b.look.each(ctx, func(c line) (err error) {
			n, err = c.QueuePurge(s.DeadLetter, false)
			return err
		})
		if err != nil && !missing(err) {
			return 0, fmt.Errorf("purge the broker's queue %s: %w", s.DeadLetter, err)
		}
		return n, nil
	}
	_, err = b.walk(ctx, s.DeadLetter, all, func(m amqp091.Delivery) error {
		if !wanted(ids, m) {
			return ctx.Err()
		}
		n++
		return m.Ack(false)
	}, func() (int, error) { return n, nil })
	return n, err
}
