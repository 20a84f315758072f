package queues

import (
	"context"
	"errors"
	"fmt"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"meshlite.dev/internal/events/dispatch"
)

// count returns how many messages are ready in a queue, those that somebody has
// and did not acknowledge not among them, and by how many it is consumed.
func (b *Backend) count(ctx context.Context, queue string) (n, consumers int, there bool, err error) {
	err = b.look.each(ctx, func(c line) error {
		found, err := c.QueueDeclarePassive(queue, true, false, false, false, nil)
		n, consumers = found.Messages, found.Consumers
		return err
	})
	switch {
	case missing(err):
		return 0, 0, false, nil
	case err != nil:
		return 0, 0, false, fmt.Errorf("count the broker's queue %s: %w", queue, err)
	}
	return n, consumers, true, nil
}

// counts does so for many queues, over one channel as long as they are there.
func (b *Backend) counts(ctx context.Context, queues []string) (map[string]int, error) {
	out := map[string]int{}
	for len(queues) > 0 {
		err := b.look.each(ctx, func(c line) error {
			for len(queues) > 0 {
				found, err := c.QueueDeclarePassive(queues[0], true, false, false, false, nil)
				out[queues[0]] = found.Messages
				queues = queues[1:]
				if err == nil {
					err = ctx.Err()
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil && !missing(err) {
			return nil, fmt.Errorf("count the broker's queues: %w", err)
		}
	}
	return out, nil
}

// missing reports whether the broker has no such queue.
func missing(err error) bool {
	var e *amqp091.Error
	return errors.As(err, &e) && e.Code == amqp091.NotFound
}

// Depth implements dispatch.Queue. It knows the delay queues that this process
// has seen, and not what other replicas have under way.
func (q *queue) Depth(ctx context.Context) (dispatch.Depth, error) {
	waits, err := q.waits(ctx, q.s)
	if err != nil {
		return dispatch.Depth{}, err
	}
	names := []string{q.s.DeadLetter, q.s.Queue}
	for _, wait := range waits {
		names = append(names, delayQueue(q.s.Queue, wait))
	}
	counts, err := q.counts(ctx, names)
	if err != nil {
		return dispatch.Depth{}, err
	}
	n, dead := 0, counts[q.s.DeadLetter]
	for _, name := range names[1:] {
		n += counts[name]
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.over == nil { // else they are back
		n += q.taken
	}
	return dispatch.Depth{Waiting: uint64(n), Dead: uint64(dead)}, nil
}
