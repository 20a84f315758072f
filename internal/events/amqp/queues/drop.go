package queues

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"meshlite.dev/internal/events/dispatch"
)

// Drop implements dispatch.Backend. A queue that is kept, as something waits in it,
// is forgotten like the others: it is for people to empty and delete.
func (b *Backend) Drop(ctx context.Context, s dispatch.Subscription) error {
	err := b.take.each(ctx, func(c line) error {
		for _, p := range s.Patterns() {
			if err := c.QueueUnbind(s.Queue, p, s.Exchange, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !missing(err) { // then nothing is bound
		return fmt.Errorf("unbind the broker's queue %s: %w", s.Queue, err)
	}
	if err := b.remove(ctx, s, b.mayHave(s)); err != nil {
		return err
	}
	b.gone(s.Queue)
	if err := b.keep.Forget(s.Queue); err != nil {
		return fmt.Errorf("forget queue %s: %w", s.Queue, err)
	}
	return nil
}

// remove deletes what is empty. Retries that wait come back to the subscription's
// queue, which stays as long as there are any.
func (b *Backend) remove(ctx context.Context, s dispatch.Subscription, waits []time.Duration) error {
	kept := false
	for _, wait := range waits {
		stays, err := b.removeEmpty(ctx, delayQueue(s.Queue, wait), amqp091.QueueTypeQuorum)
		if err != nil {
			return err
		}
		kept = kept || stays
	}
	queues := []string{s.DeadLetter}
	if !kept {
		queues = append(queues, s.Queue)
	}
	for _, name := range queues {
		stays, err := b.removeEmpty(ctx, name, s.QueueType)
		if err != nil {
			return err
		}
		kept = kept || stays
	}
	if kept {
		b.log.InfoContext(ctx, "queues of a subscription that ended are kept, as events wait in them", "subscription", s.Key(), "queue", s.Queue, "deadLetters", s.DeadLetter)
	}
	return nil
}

// removeEmpty deletes a queue that is empty and that nobody consumes; it reports
// whether there is one that stays. Of classic queues the broker judges that.
func (b *Backend) removeEmpty(ctx context.Context, name, kind string) (stays bool, err error) {
	n, consumers, there, err := b.count(ctx, name)
	if err != nil || !there || n > 0 || consumers > 0 {
		return there, err
	}
	guarded := kind == amqp091.QueueTypeClassic
	err = b.take.each(ctx, func(c line) error {
		_, err := c.QueueDelete(name, guarded, guarded, false)
		return err
	})
	var e *amqp091.Error
	switch {
	case missing(err):
		return false, nil
	case errors.As(err, &e) && e.Code == amqp091.PreconditionFailed:
		return true, nil
	case err != nil:
		return true, fmt.Errorf("delete the broker's queue %s, which is empty: %w", name, err)
	}
	return false, nil
}
