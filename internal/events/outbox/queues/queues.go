// Package queues has the events of subscriptions wait in the outbox itself, where
// there is no broker. A queue is a place in the log, and a few events beside it:
// those to try again and those given up. Its main type is Backend.
package queues

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/bbolt"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/events/outbox"
	"meshlite.dev/internal/store/boltfile"
)

// The layout, version 1: the outbox's bucket "events-queues" has a bucket under
// each queue's name, and in it
//   - "subscription": JSON of dispatch.Subscription as it was opened last;
//   - "mark": all events of the log up to this one are settled;
//   - "stop" and "resume", while a queue catches up that was dropped meanwhile:
//     after stop it goes on at resume, what lies between was never for it;
//   - "dropped": there while its subscription is no more;
//   - "missed", "retries", "letters": counts of lost ones and of the buckets below;
//   - bucket "done": sequence numbers over mark that are settled;
//   - bucket "retry": under the time when it is due (nanoseconds since 1970) and a
//     count, the attempts made (4 bytes) and the event's JSON;
//   - bucket "dead": under a count, JSON of dispatch.DeadLetter.
//
// Numbers are 8 bytes, big endian, but where another size is named.
var (
	queuesBucket    = []byte("events-queues")
	subscriptionKey = []byte("subscription")
	markKey         = []byte("mark")
	stopKey         = []byte("stop")
	resumeKey       = []byte("resume")
	droppedKey      = []byte("dropped")
	missedKey       = []byte("missed")
	retriesKey      = []byte("retries")
	lettersKey      = []byte("letters")
	doneBucket      = []byte("done")
	retryBucket     = []byte("retry")
	deadBucket      = []byte("dead")
)

// Backend keeps queues in an outbox. Make one with New.
type Backend struct {
	log *outbox.Outbox

	mu   sync.Mutex
	open map[string]*queue // by queue
}

var _ dispatch.Backend = (*Backend)(nil)

// New returns the queues of log.
func New(log *outbox.Outbox) *Backend { return &Backend{log: log, open: map[string]*queue{}} }

// Open implements dispatch.Backend.
func (b *Backend) Open(_ context.Context, s dispatch.Subscription) (dispatch.Queue, error) {
	if s.Exchange != events.Exchange {
		return nil, fmt.Errorf("spec.exchange: %q: events of other exchanges than %s come from a broker, with --events amqp", s.Exchange, events.Exchange)
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("open queue %s: %w", s.Queue, err)
	}
	q := &queue{Subscription: s, backend: b, wants: s.Wants(), held: map[uint64]bool{}, trying: map[string]bool{}, woken: make(chan struct{}, 1)}
	last := b.log.Stats().Last
	err = b.log.Settle(func(tx *bbolt.Tx) ([]events.Event, error) {
		at, err := prepare(tx, s.Queue, last)
		if err != nil {
			return nil, err
		}
		q.read(at)
		return nil, at.Put(subscriptionKey, raw)
	})
	if err != nil {
		return nil, fmt.Errorf("open queue %s: %w", s.Queue, err)
	}
	q.counted = q.last
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[s.Queue] = q
	return q, nil
}

// prepare makes a queue that begins after last, or lets a dropped one go on.
func prepare(tx *bbolt.Tx, name string, last uint64) (*bbolt.Bucket, error) {
	all, err := tx.CreateBucketIfNotExists(queuesBucket)
	if err != nil {
		return nil, err
	}
	at := all.Bucket([]byte(name))
	if at != nil {
		if at.Get(droppedKey) == nil {
			return at, nil
		}
		err := errors.Join(at.Put(resumeKey, boltfile.Bytes(last)), at.Delete(droppedKey))
		return at, err
	}
	if at, err = all.CreateBucket([]byte(name)); err != nil {
		return nil, err
	}
	for _, part := range [][]byte{doneBucket, retryBucket, deadBucket} {
		if _, err := at.CreateBucket(part); err != nil {
			return nil, err
		}
	}
	err = at.Put(markKey, boltfile.Bytes(last))
	return at, err
}

// Known implements dispatch.Backend.
func (b *Backend) Known(context.Context) (all []dispatch.Subscription, err error) {
	err = b.log.View(func(tx *bbolt.Tx) error {
		all = nil
		queues := tx.Bucket(queuesBucket)
		if queues == nil {
			return nil
		}
		return queues.ForEachBucket(func(name []byte) error {
			at := queues.Bucket(name)
			if at.Get(droppedKey) != nil {
				return nil
			}
			var s dispatch.Subscription
			if err := json.Unmarshal(at.Get(subscriptionKey), &s); err != nil {
				return fmt.Errorf("read queue %s: %w", name, err)
			}
			all = append(all, s)
			return nil
		})
	})
	return all, err
}

// Drop implements dispatch.Backend.
func (b *Backend) Drop(_ context.Context, s dispatch.Subscription) error {
	return b.log.Settle(func(tx *bbolt.Tx) ([]events.Event, error) {
		queues := tx.Bucket(queuesBucket)
		if queues == nil {
			return nil, nil
		}
		at := queues.Bucket([]byte(s.Queue))
		if at == nil || at.Get(droppedKey) != nil {
			return nil, nil
		}
		stop := b.log.Stats().Last
		if had := boltfile.Number(at.Get(stopKey)); had != 0 {
			stop = had
		}
		if boltfile.Number(at.Get(retriesKey)) == 0 && boltfile.Number(at.Get(lettersKey)) == 0 && !b.waits(tx, s, boltfile.Number(at.Get(markKey)), stop) {
			return nil, queues.DeleteBucket([]byte(s.Queue))
		}
		return nil, errors.Join(at.Put(droppedKey, []byte{1}), at.Put(stopKey, boltfile.Bytes(stop)))
	})
}

// waits reports whether the log has an event for s after mark, up to stop.
func (b *Backend) waits(tx *bbolt.Tx, s dispatch.Subscription, mark, stop uint64) bool {
	wants, found := s.Wants(), false
	_ = outbox.Scan(tx, mark, func(rec events.Record) bool {
		found = rec.Sequence <= stop && wants(typeOf(rec.JSON))
		return !found && rec.Sequence < stop
	})
	return found
}

// typeOf reads the type alone.
func typeOf(raw []byte) string {
	var e struct {
		Type string `json:"type"`
	}
	_ = json.Unmarshal(raw, &e) // the log holds what MarshalJSON wrote
	return e.Type
}

// poke tells an open queue that there is something to try again.
func (b *Backend) poke(name string) {
	b.mu.Lock()
	q := b.open[name]
	b.mu.Unlock()
	if q != nil {
		select {
		case q.woken <- struct{}{}:
		default:
		}
	}
}

// find returns a queue's bucket; nil where there is none.
func find(tx *bbolt.Tx, name string) *bbolt.Bucket {
	if queues := tx.Bucket(queuesBucket); queues != nil {
		return queues.Bucket([]byte(name))
	}
	return nil
}

func bucketOf(tx *bbolt.Tx, name string) (*bbolt.Bucket, error) {
	if at := find(tx, name); at != nil {
		return at, nil
	}
	return nil, fmt.Errorf("there is no queue %s any more", name)
}

// add changes a count.
func add(at *bbolt.Bucket, key []byte, by int) error {
	return at.Put(key, boltfile.Bytes(uint64(max(int64(boltfile.Number(at.Get(key)))+int64(by), 0))))
}
