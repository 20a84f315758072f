package queues

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/store/boltfile"
)

// pageSize is how many events of the log are read at a time.
const pageSize = 256

// queue is an open one.
type queue struct {
	dispatch.Subscription
	backend *Backend
	wants   func(typ string) bool
	woken   chan struct{} // holds a token once there may be something to try again

	page  []events.Record // read and not looked at yet; Next's alone
	again bool            // whose turn it is: an event to try again, or a new one

	mu           sync.Mutex
	last         uint64          // looked at: all up to it are settled or held
	stop, resume uint64          // see the layout
	missed       uint64          // not yet in the file
	marked       uint64          // mark as it is in the file
	done         map[uint64]bool // over mark, settled by an earlier opening
	held         map[uint64]bool // events of the log under way
	trying       map[string]bool // keys of retries under way
	counted      uint64          // Depth looked at all up to it
	ahead        uint64          // wanted ones after last, up to counted
}

// read takes over where the queue stands.
func (q *queue) read(at *bbolt.Bucket) {
	q.last = boltfile.Number(at.Get(markKey))
	q.marked = q.last
	q.stop, q.resume = boltfile.Number(at.Get(stopKey)), boltfile.Number(at.Get(resumeKey))
	q.done = map[uint64]bool{}
	_ = at.Bucket(doneBucket).ForEach(func(key, _ []byte) error {
		q.done[boltfile.Number(key)] = true
		return nil
	})
}

// Next implements dispatch.Queue.
func (q *queue) Next(ctx context.Context) (dispatch.Delivery, error) {
	for {
		news := q.backend.log.News()
		q.again = !q.again
		d, due, err := q.retried(q.again)
		if err != nil || d != nil {
			return deref(d), err
		}
		if d, err := q.fresh(); err != nil || d != nil {
			return deref(d), err
		}
		if q.again = false; !due.IsZero() && !due.After(time.Now()) {
			continue // nothing new: its turn
		}
		if err := q.await(ctx, news, due); err != nil {
			return dispatch.Delivery{}, err
		}
	}
}

func deref(d *dispatch.Delivery) dispatch.Delivery {
	if d == nil {
		return dispatch.Delivery{}
	}
	return *d
}

// await waits for something to do. What was passed over is written down first.
func (q *queue) await(ctx context.Context, news <-chan struct{}, due time.Time) error {
	if err := q.remember(); err != nil {
		return err
	}
	var timer <-chan time.Time
	if !due.IsZero() {
		t := time.NewTimer(time.Until(due))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-news:
	case <-q.woken:
	case <-timer:
	}
	return nil
}

// fresh returns the next wanted event of the log; nil: there is none.
func (q *queue) fresh() (*dispatch.Delivery, error) {
	for {
		if len(q.page) == 0 {
			if err := q.turn(); err != nil || len(q.page) == 0 {
				return nil, err
			}
		}
		rec := q.page[0]
		q.page = q.page[1:]
		if !q.look(rec) {
			continue
		}
		d := delivery(rec.JSON, 1)
		d.Settle = settler{q: q, seq: rec.Sequence, raw: rec.JSON, attempt: 1}
		return &d, nil
	}
}

// turn reads the next page. Where the log has lost events they are counted.
func (q *queue) turn() error {
	q.mu.Lock()
	if q.stop != 0 && q.last >= q.stop {
		q.last, q.stop = max(q.last, q.resume), 0
		if q.counted < q.last {
			q.counted, q.ahead = q.last, 0
		}
	}
	after := q.last
	q.mu.Unlock()
	page, err := q.backend.log.Read(after, pageSize)
	if err != nil || len(page) == 0 {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stop == 0 {
		q.missed += page[0].Sequence - after - 1
	}
	q.page = page
	return nil
}

// look passes an event over, or holds it.
func (q *queue) look(rec events.Record) (wanted bool) {
	wanted = q.wants(typeOf(rec.JSON))
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stop != 0 && rec.Sequence > q.stop {
		q.page = nil // they were never for this queue
		q.last = q.stop
		return false
	}
	q.last = rec.Sequence
	if wanted && rec.Sequence <= q.counted && q.ahead > 0 {
		q.ahead--
	}
	if q.counted < q.last {
		q.counted = q.last
	}
	if q.done[rec.Sequence] {
		delete(q.done, rec.Sequence)
		return false
	}
	if wanted {
		q.held[rec.Sequence] = true
	}
	return wanted
}

// retried returns an event that is due for another attempt, or when the first of
// those that wait will be; zero: none waits.
func (q *queue) retried(turn bool) (d *dispatch.Delivery, due time.Time, err error) {
	err = q.backend.log.View(func(tx *bbolt.Tx) error {
		at, err := bucketOf(tx, q.Queue)
		if err != nil {
			return err
		}
		now := time.Now()
		c := at.Bucket(retryBucket).Cursor()
		for key, value := c.First(); key != nil; key, value = c.Next() {
			if q.isTrying(key) {
				continue
			}
			if due = q.due(key, now); due.After(now) || !turn {
				return nil
			}
			if len(value) < attemptSize {
				return fmt.Errorf("queue %s: an event to try again is cut short", q.Queue)
			}
			attempt := attemptOf(value) + 1
			raw := append([]byte(nil), value[attemptSize:]...)
			one := delivery(raw, attempt)
			one.Settle = settler{q: q, retry: string(key), raw: raw, attempt: attempt}
			d = &one
			q.mu.Lock()
			q.trying[string(key)] = true
			q.mu.Unlock()
			return nil
		}
		return nil
	})
	return d, due, err
}

// due is when a key says; now, where that is further off than any pause: the clock
// was put back since.
func (q *queue) due(key []byte, now time.Time) time.Time {
	due := time.Unix(0, int64(boltfile.Number(key[:8])))
	if due.Sub(now) > max(q.Max, dispatch.MaxRetryAfter) {
		return now
	}
	return due
}

func (q *queue) isTrying(key []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.trying[string(key)]
}

func delivery(raw []byte, attempt int) dispatch.Delivery {
	e, err := events.Parse(events.Input{ContentType: events.ContentType, Body: raw})
	d := dispatch.Delivery{Event: e, Body: raw, Attempt: attempt}
	if err != nil {
		d.Event, d.Fault = events.Event{}, err.Error()
	}
	return d
}

// remember writes the mark where events were passed over since.
func (q *queue) remember() error {
	q.mu.Lock()
	idle := q.missed == 0 && (len(q.held) > 0 || q.last == q.marked)
	q.mu.Unlock()
	if idle {
		return nil
	}
	return q.settle(0, func(*bbolt.Bucket) ([]events.Event, error) { return nil, nil })
}

// Close implements dispatch.Queue.
func (q *queue) Close() {
	_ = q.remember() // what is not written down is looked at again
	q.backend.mu.Lock()
	defer q.backend.mu.Unlock()
	if q.backend.open[q.Queue] == q {
		delete(q.backend.open, q.Queue)
	}
}
