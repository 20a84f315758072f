// Package outbox keeps events in a bbolt file before anyone hears of them: a
// bounded log that can be read again, and in the same transactions the cursor,
// which says what was told last of each subject. A crash at any moment leaves
// both at the same point.
package outbox

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/store/boltfile"
)

// The file's layout, version 1: bucket "events-meta" has "format" (the version),
// "uid" (text, another one in each file), "bytes" (of all events in the log) and
// "published" (the last one that a broker has, where there is one);
// bucket "events-log" has under each sequence number the time of receipt, in
// nanoseconds since 1970, and the event's JSON; bucket "events-cursor" has what
// was told last under each subject. Numbers are 8 bytes, big endian.
var (
	metaBucket   = []byte("events-meta")
	logBucket    = []byte("events-log")
	cursorBucket = []byte("events-cursor")
	formatKey    = []byte("format")
	uidKey       = []byte("uid")
	bytesKey     = []byte("bytes")
	publishedKey = []byte("published")
)

const (
	formatVersion = 1
	advice        = "restore it from a copy, or move it away to start without it: events that it holds are lost then, and the state of the mesh is told anew"
	// batchDelay is how long a write waits for others to share its fsync.
	batchDelay = time.Millisecond
	timeSize   = 8
)

// ErrFull reports that nothing was kept, as the log is full of events that wait
// for the broker.
var ErrFull = errors.New("the outbox is full of events that wait for the broker")

// Limits bound the log; the oldest events go. Each over 0.
type Limits struct {
	Events uint64
	Bytes  uint64 // of the events' JSON
	// Broker keeps what is not published yet: once the log is full of it, nothing
	// more is taken.
	Broker bool
}

// DefaultLimits are a million events, or 1 GiB of them.
func DefaultLimits() Limits { return Limits{Events: 1_000_000, Bytes: 1 << 30} }

// Outbox is an open file. Methods may be called by many goroutines.
type Outbox struct {
	db     *bbolt.DB
	limits Limits
	now    func() time.Time
	uid    string

	mu    sync.Mutex
	stats Stats
	news  chan struct{} // closed when the log grows
}

// Stats sum up the log.
type Stats struct {
	First, Last uint64 // sequence numbers kept; First is over Last where there are none
	Bytes       uint64 // of their JSON
	Published   uint64 // the last that the broker has; without one it means nothing
}

// Depth is how many events are kept.
func (s Stats) Depth() uint64 { return s.Last + 1 - s.First }

// Open opens the file at path or makes it; its folder must exist.
func Open(path string, limits Limits) (*Outbox, error) {
	db, err := boltfile.Open(path, advice)
	if err != nil {
		return nil, fmt.Errorf("open the outbox: %w", err)
	}
	db.MaxBatchDelay = batchDelay
	o := &Outbox{db: db, limits: limits, now: time.Now, news: make(chan struct{})}
	if err := o.update(db.Update, o.prepare); err != nil {
		return nil, fmt.Errorf("open the outbox: %w", errors.Join(err, db.Close()))
	}
	return o, nil
}

func (o *Outbox) prepare(tx *bbolt.Tx) error {
	for _, name := range [][]byte{metaBucket, logBucket, cursorBucket} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(metaBucket)
	if v := boltfile.Number(meta.Get(formatKey)); v != formatVersion && v != 0 {
		return fmt.Errorf("the format of %s is %d, this release reads %d", o.db.Path(), v, formatVersion)
	}
	o.uid = string(meta.Get(uidKey))
	if o.uid == "" {
		o.uid = rand.Text()
	}
	// A broker that is new to this log gets what comes from now on.
	if o.limits.Broker && meta.Get(publishedKey) == nil {
		if err := meta.Put(publishedKey, boltfile.Bytes(tx.Bucket(logBucket).Sequence())); err != nil {
			return err
		}
	}
	o.stats = statsOf(tx)
	return errors.Join(meta.Put(formatKey, boltfile.Bytes(formatVersion)), meta.Put(uidKey, []byte(o.uid)))
}

// Close lets the file go.
func (o *Outbox) Close() error { return o.db.Close() }

// UID is another one in each file: one that was lost and made anew shows by it.
func (o *Outbox) UID() string { return o.uid }

// Stats returns the state of the log.
func (o *Outbox) Stats() Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stats
}

// News returns a channel that is closed once the log has grown past what it was
// at the call.
func (o *Outbox) News() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.news
}

// Cursor returns what was told last, by subject.
func (o *Outbox) Cursor() (map[string][]byte, error) {
	out := map[string][]byte{}
	err := o.update(o.db.View, func(tx *bbolt.Tx) error {
		clear(out)
		return tx.Bucket(cursorBucket).ForEach(func(subject, value []byte) error {
			out[string(subject)] = append([]byte(nil), value...)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the cursor: %w", err)
	}
	return out, nil
}

// Append keeps the events that make returns for the sequence number of the
// first of them, and moves the cursor of these subjects (nil: to nothing told),
// all or none, durably before it returns. It sets Sequence. make may be called
// more than once.
func (o *Outbox) Append(make func(first uint64) []events.Event, moved map[string][]byte) (kept []events.Event, err error) {
	commit := o.db.Batch
	if len(moved) > 0 { // one caller moves the cursor, and it gathers by itself
		commit = o.db.Update
	}
	err = o.update(commit, func(tx *bbolt.Tx) (err error) {
		if kept, err = o.put(tx, make); err != nil {
			return err
		}
		for subject, value := range moved {
			if err := move(tx.Bucket(cursorBucket), []byte(subject), value); err != nil {
				return err
			}
		}
		return o.trim(tx)
	})
	if err != nil {
		return nil, fmt.Errorf("write to the outbox: %w", err)
	}
	return kept, nil
}

// Settle runs do in a transaction, with others that settle at the same time, and
// keeps the events that it returns in the log: all or none, durably before it
// returns. do may be called more than once.
func (o *Outbox) Settle(do func(tx *bbolt.Tx) ([]events.Event, error)) error {
	err := o.update(o.db.Batch, func(tx *bbolt.Tx) error {
		told, err := do(tx)
		if err != nil || len(told) == 0 {
			return err
		}
		if _, err := o.put(tx, func(uint64) []events.Event { return slices.Clone(told) }); err != nil {
			return err
		}
		return o.trim(tx)
	})
	if err != nil {
		return fmt.Errorf("write to the outbox: %w", err)
	}
	return nil
}

// View runs do in a transaction that reads.
func (o *Outbox) View(do func(tx *bbolt.Tx) error) error {
	if err := o.update(o.db.View, do); err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	return nil
}

func (o *Outbox) put(tx *bbolt.Tx, make func(uint64) []events.Event) ([]events.Event, error) {
	log, meta := tx.Bucket(logBucket), tx.Bucket(metaBucket)
	size := boltfile.Number(meta.Get(bytesKey))
	at := boltfile.Bytes(uint64(o.now().UnixNano()))
	kept := make(log.Sequence() + 1)
	for i := range kept {
		seq, err := log.NextSequence()
		if err != nil {
			return nil, err
		}
		kept[i].Sequence = fmt.Sprintf("%010d", seq)
		raw, err := kept[i].MarshalJSON()
		if err != nil {
			return nil, err
		}
		size += uint64(len(raw))
		if err := log.Put(boltfile.Bytes(seq), append(at[:timeSize:timeSize], raw...)); err != nil {
			return nil, err
		}
	}
	return kept, meta.Put(bytesKey, boltfile.Bytes(size))
}

func move(cursor *bbolt.Bucket, subject, value []byte) error {
	if value == nil {
		return cursor.Delete(subject)
	}
	return cursor.Put(subject, value)
}

// trim takes the oldest events away until the limits are kept.
func (o *Outbox) trim(tx *bbolt.Tx) error {
	s := statsOf(tx)
	for c := tx.Bucket(logBucket).Cursor(); s.Depth() > o.limits.Events || s.Bytes > o.limits.Bytes && s.Depth() > 1; s.First++ {
		if o.limits.Broker && s.First > s.Published {
			return ErrFull
		}
		_, value := c.First()
		s.Bytes -= min(s.Bytes, uint64(max(len(value)-timeSize, 0)))
		if err := c.Delete(); err != nil {
			return err
		}
	}
	if err := tx.Bucket(metaBucket).Put(bytesKey, boltfile.Bytes(s.Bytes)); err != nil {
		return err
	}
	tx.OnCommit(func() { o.grown(s) })
	return nil
}

// Publish says that the broker has an event and all before it.
func (o *Outbox) Publish(sequence uint64) error {
	err := o.update(o.db.Update, func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if sequence <= boltfile.Number(meta.Get(publishedKey)) {
			return nil
		}
		tx.OnCommit(func() { o.published(sequence) })
		return meta.Put(publishedKey, boltfile.Bytes(sequence))
	})
	if err != nil {
		return fmt.Errorf("write to the outbox: %w", err)
	}
	return nil
}

func (o *Outbox) published(sequence uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stats.Published = sequence
}

// Published returns the last event that the broker has.
func (o *Outbox) Published() uint64 { return o.Stats().Published }

func (o *Outbox) grown(s Stats) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s.Last > o.stats.Last {
		close(o.news)
		o.news = make(chan struct{})
	}
	o.stats = s
}

func statsOf(tx *bbolt.Tx) Stats {
	log := tx.Bucket(logBucket)
	meta := tx.Bucket(metaBucket)
	s := Stats{Last: log.Sequence(), Bytes: boltfile.Number(meta.Get(bytesKey)), Published: boltfile.Number(meta.Get(publishedKey))}
	s.First = s.Last + 1
	if key, _ := log.Cursor().First(); key != nil {
		s.First = boltfile.Number(key)
	}
	return s
}

// update runs a transaction; a damaged page is an error.
func (o *Outbox) update(run func(func(*bbolt.Tx) error) error, do func(*bbolt.Tx) error) (err error) {
	defer boltfile.Caught(&err)()
	return run(do)
}
