package outbox

import (
	"encoding/json"
	"fmt"
	"sort"
	"time"

	"go.etcd.io/bbolt"

	"meshlite.dev/internal/events"
)

// pageBytes bounds what one Read returns, beyond its first event.
const pageBytes = 1 << 20

// Read returns events after a sequence number, oldest first, most at a time, and
// fewer where they are large. None are left when it returns none.
func (o *Outbox) Read(after uint64, most int) ([]events.Record, error) {
	var out []events.Record
	err := o.update(o.db.View, func(tx *bbolt.Tx) error {
		size := 0
		c := tx.Bucket(logBucket).Cursor()
		for key, value := c.Seek(bytesOf(after + 1)); key != nil && len(out) < most && size < pageBytes; key, value = c.Next() {
			if len(value) <= timeSize {
				return fmt.Errorf("event %d is cut short", number(key))
			}
			out = append(out, events.Record{
				Sequence: number(key), Received: time.Unix(0, int64(number(value[:timeSize]))),
				JSON: append(json.RawMessage(nil), value[timeSize:]...),
			})
			size += len(value)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	return out, nil
}

// Before returns the sequence number after which events were received at a time
// or later: for Read.
func (o *Outbox) Before(at time.Time) (after uint64, err error) {
	err = o.update(o.db.View, func(tx *bbolt.Tx) error {
		s, log := statsOf(tx), tx.Bucket(logBucket)
		i := sort.Search(int(s.Depth()), func(i int) bool {
			value := log.Get(bytesOf(s.First + uint64(i)))
			return len(value) > timeSize && int64(number(value[:timeSize])) >= at.UnixNano()
		})
		after = s.First + uint64(i) - 1
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("read the outbox: %w", err)
	}
	return after, nil
}
