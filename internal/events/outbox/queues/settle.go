package queues

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/store/boltfile"
)

// maxDead is how many dead letters a queue keeps.
const maxDead = 100_000

// attemptSize is that of the attempts before the event's JSON.
const attemptSize = 4

func attemptOf(value []byte) int { return int(binary.BigEndian.Uint32(value)) }

// errDeadFull interrupts a subscription: an event that is given up has a place.
var errDeadFull = fmt.Errorf("the dead-letter queue holds %d events and takes no more: requeue them once the handler is mended, or purge them", maxDead)

// settler is of one event: of the log, or one that was tried again.
type settler struct {
	q       *queue
	seq     uint64 // 0: retry is set
	retry   string // its key
	raw     []byte
	attempt int
}

// Done implements dispatch.Settler.
func (s settler) Done(context.Context) error {
	return s.end(func(*bbolt.Bucket) ([]events.Event, error) { return nil, nil })
}

// Retry implements dispatch.Settler.
func (s settler) Retry(_ context.Context, after time.Duration) error {
	defer s.q.backend.poke(s.q.Queue)
	due := time.Now().Add(after)
	return s.end(func(at *bbolt.Bucket) ([]events.Event, error) { return nil, putRetry(at, due, s.attempt, s.raw) })
}

// Dead implements dispatch.Settler.
func (s settler) Dead(_ context.Context, attempts int, reason string, told *events.Event) error {
	d := delivery(s.raw, s.attempt)
	letter := dispatch.DeadLetter{
		ID: d.Event.ID, Type: d.Event.Type, Source: d.Event.Source, Subject: d.Event.Subject,
		Reason: reason, At: time.Now().UTC(), Attempts: attempts, Event: s.raw,
	}
	raw, err := json.Marshal(letter)
	if err != nil {
		return fmt.Errorf("keep a dead letter: %w", err)
	}
	return s.end(func(at *bbolt.Bucket) ([]events.Event, error) {
		if boltfile.Number(at.Get(lettersKey)) >= maxDead {
			return nil, errDeadFull
		}
		dead := at.Bucket(deadBucket)
		n, err := dead.NextSequence()
		if err == nil {
			err = errors.Join(dead.Put(boltfile.Bytes(n), raw), add(at, lettersKey, 1))
		}
		if told == nil {
			return nil, err
		}
		return []events.Event{*told}, err
	})
}

// end settles, with do in the same transaction.
func (s settler) end(do func(*bbolt.Bucket) ([]events.Event, error)) error {
	if s.seq != 0 {
		return s.q.settle(s.seq, do)
	}
	err := s.q.settle(0, func(at *bbolt.Bucket) ([]events.Event, error) {
		key, retries := []byte(s.retry), at.Bucket(retryBucket)
		if retries.Get(key) == nil {
			return nil, nil // purged
		}
		if err := errors.Join(retries.Delete(key), add(at, retriesKey, -1)); err != nil {
			return nil, err
		}
		return do(at)
	})
	if err == nil {
		s.q.mu.Lock()
		delete(s.q.trying, s.retry)
		s.q.mu.Unlock()
	}
	return err
}

// settle runs do for an event of the log (0: for none) and moves the mark.
func (q *queue) settle(seq uint64, do func(*bbolt.Bucket) ([]events.Event, error)) error {
	var mark, missed uint64
	err := q.backend.log.Settle(func(tx *bbolt.Tx) ([]events.Event, error) {
		at, err := bucketOf(tx, q.Queue)
		if err != nil {
			return nil, err
		}
		told, err := do(at)
		if err != nil {
			return nil, err
		}
		done := at.Bucket(doneBucket)
		if seq != 0 {
			if err := done.Put(boltfile.Bytes(seq), []byte{1}); err != nil {
				return nil, err
			}
		}
		mark, missed, err = q.advance(at, done)
		return told, err
	})
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.held, seq)
	q.marked = max(q.marked, mark)
	q.missed -= min(q.missed, missed)
	return nil
}

// advance moves the mark to the first event that is held and not settled in the
// file, and forgets the settled ones before it. Transactions follow each other, so
// that what one sees in the file is true, whichever was asked for first.
func (q *queue) advance(at, done *bbolt.Bucket) (mark, missed uint64, err error) {
	q.mu.Lock()
	mark, missed = q.last, q.missed
	resume := q.resume
	held := make([]uint64, 0, len(q.held))
	for seq := range q.held {
		held = append(held, seq)
	}
	q.mu.Unlock()
	slices.Sort(held)
	for _, seq := range held {
		if done.Get(boltfile.Bytes(seq)) == nil {
			mark = seq - 1
			break
		}
	}
	if mark = max(mark, boltfile.Number(at.Get(markKey))); missed > 0 {
		err = add(at, missedKey, int(missed))
	}
	if resume != 0 && mark >= resume {
		err = errors.Join(err, at.Delete(stopKey), at.Delete(resumeKey))
	}
	var settled [][]byte
	c := done.Cursor()
	for key, _ := c.First(); key != nil && boltfile.Number(key) <= mark; key, _ = c.Next() {
		settled = append(settled, key)
	}
	for _, key := range settled {
		err = errors.Join(err, done.Delete(key))
	}
	return mark, missed, errors.Join(err, at.Put(markKey, boltfile.Bytes(mark)))
}

// putRetry keeps an event to be tried again.
func putRetry(at *bbolt.Bucket, due time.Time, attempts int, raw []byte) error {
	retries := at.Bucket(retryBucket)
	n, err := retries.NextSequence()
	if err != nil {
		return err
	}
	key := append(boltfile.Bytes(uint64(due.UnixNano())), boltfile.Bytes(n)...)
	value := append(binary.BigEndian.AppendUint32(nil, uint32(attempts)), raw...)
	return errors.Join(retries.Put(key, value), add(at, retriesKey, 1))
}
