package queues

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"meshlite.dev/internal/events/dispatch"
)

// queue is a queue that is open. Its messages come from the broker by themselves,
// at most prefetch at a time, and lie here until they are settled.
type queue struct {
	*Backend
	s    dispatch.Subscription
	line line // consumes and acknowledges

	feed sync.WaitGroup

	mu    sync.Mutex
	wake  chan struct{} // holds one token while something changed for Next
	begun bool          // it consumes
	over  error         // why nothing comes any more; nil: it does
	ready []*item       // come, not handed out yet
	held  []*item       // for another attempt, the one that is due first in front
	taken int           // come from the broker and not acknowledged

	own     sync.Mutex // a lock for itself: a broker may take its time over a channel
	publish *publisher // nil: nothing was published yet
}

// item is a message of the queue.
type item struct {
	amqp091.Delivery
	attempt int
	due     time.Time
}

func newQueue(b *Backend, s dispatch.Subscription, c line) *queue {
	return &queue{Backend: b, s: s, line: c, wake: make(chan struct{}, 1)}
}

// prefetch is how many messages may be here: enough that a call that ends finds
// the next event. In order, it is one.
func (q *queue) prefetch() int {
	if q.s.Ordered {
		return 1
	}
	return 2 * q.s.Concurrency
}

// Next implements dispatch.Queue.
func (q *queue) Next(ctx context.Context) (dispatch.Delivery, error) {
	if err := q.begin(ctx); err != nil {
		return dispatch.Delivery{}, err
	}
	for {
		next, wait, err := q.pop(time.Now())
		switch {
		case err != nil:
			return dispatch.Delivery{}, err
		case next != nil:
			return q.delivery(next), nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-q.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return dispatch.Delivery{}, ctx.Err()
		}
	}
}

// begin consumes, once.
func (q *queue) begin(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.begun {
		return nil
	}
	closed := q.line.NotifyClose(make(chan *amqp091.Error, 1))
	cancelled := q.line.NotifyCancel(make(chan string, 1))
	var came <-chan amqp091.Delivery
	err := within(ctx, q.line.conn, func() (err error) {
		if err = q.line.Qos(q.prefetch(), 0, false); err == nil {
			came, err = q.line.Consume(q.s.Queue, "", false, false, false, false, nil)
		}
		return err
	})
	var e *amqp091.Error
	switch {
	case errors.As(err, &e) && e.Code == amqp091.InternalError:
		return fmt.Errorf("take events from the broker's queue %s: %w%s", q.s.Queue, err, leaderless)
	case err != nil:
		return fmt.Errorf("take events from the broker's queue %s: %w", q.s.Queue, err)
	}
	q.begun = true
	q.feed.Go(func() {
		for m := range came {
			q.edit(func() {
				q.taken++
				q.ready = append(q.ready, &item{Delivery: m, attempt: attemptOf(m)})
			})
		}
		err := q.ended(closed, cancelled)
		q.edit(func() { q.over = err })
	})
	return nil
}

// ended says why no more events come.
func (q *queue) ended(closed <-chan *amqp091.Error, cancelled <-chan string) error {
	select {
	case tag, ok := <-cancelled:
		if ok && tag != "" {
			return fmt.Errorf("the broker's queue %s was deleted while it was in use; it is made again", q.s.Queue)
		}
	default:
	}
	select {
	case err, ok := <-closed:
		if ok && err != nil {
			return fmt.Errorf("the broker ended the connection: %w", err)
		}
	default:
	}
	return errors.New("the connection to the broker is closed")
}

func (q *queue) edit(change func()) {
	q.mu.Lock()
	change()
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// pop takes out what is due, else says how long it is until something may be.
func (q *queue) pop(now time.Time) (next *item, wait time.Duration, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	wait = time.Hour
	from := &q.ready
	if len(q.held) > 0 {
		if wait = q.held[0].due.Sub(now); wait <= 0 {
			from = &q.held
		}
	}
	switch {
	case q.over != nil:
		return nil, 0, q.over
	case len(*from) == 0:
		return nil, wait, nil
	}
	first := (*from)[0]
	*from = slices.Delete(*from, 0, 1)
	return first, 0, nil
}

// hold keeps a message for another attempt where there is room, so that those that
// wait do not hold up the others, or anyhow; it reports whether it does.
func (q *queue) hold(i *item, after time.Duration, anyhow bool) bool {
	room := false
	q.edit(func() {
		room = anyhow || q.s.Ordered || after <= inMemory && (after < shortest || 2*len(q.held) < q.prefetch())
		if !room {
			return
		}
		i.due = time.Now().Add(after)
		at, _ := slices.BinarySearchFunc(q.held, i, func(a, b *item) int {
			if a.due.After(b.due) {
				return 1
			}
			return -1 // behind those that are due at the same time
		})
		q.held = slices.Insert(q.held, at, i)
	})
	return room
}

func (q *queue) delivery(i *item) dispatch.Delivery {
	e, fault := eventOf(i.Delivery)
	return dispatch.Delivery{Event: e, Body: i.Body, Fault: fault, Attempt: i.attempt, Settle: &settler{q, i, e}}
}

// publisher returns the queue's own, made at its first use.
func (q *queue) publisher(ctx context.Context) (*publisher, error) {
	q.own.Lock()
	defer q.own.Unlock()
	if q.publish == nil || q.publish.IsClosed() {
		p, err := q.put.publisher(ctx)
		if err != nil {
			return nil, err
		}
		q.publish = p
	}
	return q.publish, nil
}

// Close implements dispatch.Queue.
func (q *queue) Close() {
	q.line.end()
	q.feed.Wait()
	q.own.Lock()
	defer q.own.Unlock()
	if q.publish != nil {
		q.publish.end()
	}
}
