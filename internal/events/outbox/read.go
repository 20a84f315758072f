package outbox

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"go.etcd.io/bbolt"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/store/boltfile"
)

// pageBytes bounds what one Read returns, beyond its first event.
const pageBytes = 1 << 20

// Read returns events after a sequence number, oldest first, most at a time, and
// fewer where they are large. None are left when it returns none.
func (o *Outbox) Read(after uint64, most int) ([]events.Record, error) {
	var out []events.Record
	err := o.update(o.db.View, func(tx *bbolt.Tx) error {
		size := 0
		return Scan(tx, after, func(rec events.Record) bool {
			rec.JSON = slices.Clone(rec.JSON)
			out = append(out, rec)
			size += len(rec.JSON)
			return len(out) < most && size < pageBytes
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	return out, nil
}

// Scan calls each, with the events of the log after a sequence number, until it
// returns false. JSON is the transaction's: it ends with it.
func Scan(tx *bbolt.Tx, after uint64, each func(events.Record) bool) error {
	c := tx.Bucket(logBucket).Cursor()
	for key, value := c.Seek(boltfile.Bytes(after + 1)); key != nil; key, value = c.Next() {
		if len(value) <= timeSize {
			return fmt.Errorf("event %d is cut short", boltfile.Number(key))
		}
		at := time.Unix(0, int64(boltfile.Number(value[:timeSize])))
		if !each(events.Record{Sequence: boltfile.Number(key), Received: at, JSON: value[timeSize:]}) {
			return nil
		}
	}
	return nil
}

// Before returns the sequence number after which events were received at a time
// or later: for Read.
func (o *Outbox) Before(at time.Time) (after uint64, err error) {
	err = o.update(o.db.View, func(tx *bbolt.Tx) error {
		s, log := statsOf(tx), tx.Bucket(logBucket)
		i := sort.Search(int(s.Depth()), func(i int) bool {
			value := log.Get(boltfile.Bytes(s.First + uint64(i)))
			return len(value) > timeSize && int64(boltfile.Number(value[:timeSize])) >= at.UnixNano()
		})
		after = s.First + uint64(i) - 1
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("read the outbox: %w", err)
	}
	return after, nil
}
