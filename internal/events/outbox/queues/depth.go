package queues

import (
	"context"

	"go.etcd.io/bbolt"

	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/store/boltfile"
)

// countPage is how many events one Depth counts on.
const countPage = 50_000

// Depth implements dispatch.Queue. Waiting is a lower bound while it counts its
// way through a long log.
func (q *queue) Depth(context.Context) (d dispatch.Depth, err error) {
	q.count()
	err = q.backend.log.View(func(tx *bbolt.Tx) error {
		at, err := bucketOf(tx, q.Queue)
		if err != nil {
			return err
		}
		d.Missed, d.Dead, d.Waiting = boltfile.Number(at.Get(missedKey)), boltfile.Number(at.Get(lettersKey)), boltfile.Number(at.Get(retriesKey))
		return nil
	})
	q.mu.Lock()
	defer q.mu.Unlock()
	d.Missed += q.missed
	d.Waiting += uint64(len(q.held)) + q.ahead
	return d, err
}

// count goes on with what is ahead.
func (q *queue) count() {
	for range countPage / pageSize {
		q.mu.Lock()
		after := q.counted
		q.mu.Unlock()
		page, err := q.backend.log.Read(after, pageSize)
		if err != nil || len(page) == 0 {
			return
		}
		var wanted []uint64
		for _, rec := range page {
			if q.wants(typeOf(rec.JSON)) {
				wanted = append(wanted, rec.Sequence)
			}
		}
		q.mu.Lock()
		if q.counted == after { // else Next was faster
			q.counted = page[len(page)-1].Sequence
			for _, seq := range wanted {
				if seq > q.last && (q.stop == 0 || seq <= q.stop || seq > q.resume) {
					q.ahead++
				}
			}
		}
		q.mu.Unlock()
	}
}
