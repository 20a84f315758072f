package queues

import (
	"context"
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

// Dead implements dispatch.DeadLetters.
func (b *Backend) Dead(_ context.Context, s dispatch.Subscription, most int) (list []dispatch.DeadLetter, total uint64, err error) {
	err = b.log.View(func(tx *bbolt.Tx) error {
		list = nil
		at := find(tx, s.Queue)
		if at == nil {
			return nil
		}
		total = boltfile.Number(at.Get(lettersKey))
		c := at.Bucket(deadBucket).Cursor()
		for key, value := c.First(); key != nil && len(list) < most; key, value = c.Next() {
			letter, err := letterOf(value)
			if err != nil {
				return err
			}
			list = append(list, letter)
		}
		return nil
	})
	return list, total, err
}

func letterOf(value []byte) (l dispatch.DeadLetter, err error) {
	if err := json.Unmarshal(value, &l); err != nil {
		return l, fmt.Errorf("read a dead letter: %w", err)
	}
	return l, nil
}

// Requeue implements dispatch.DeadLetters.
func (b *Backend) Requeue(_ context.Context, s dispatch.Subscription, ids []string) (int, error) {
	defer b.poke(s.Queue)
	return b.take(s, ids, func(at *bbolt.Bucket, l dispatch.DeadLetter) error {
		return putRetry(at, time.Now(), 0, l.Event)
	})
}

// Purge implements dispatch.DeadLetters.
func (b *Backend) Purge(_ context.Context, s dispatch.Subscription, ids []string) (int, error) {
	return b.take(s, ids, func(*bbolt.Bucket, dispatch.DeadLetter) error { return nil })
}

// take removes the dead letters that are meant, and does do with each.
func (b *Backend) take(s dispatch.Subscription, ids []string, do func(*bbolt.Bucket, dispatch.DeadLetter) error) (n int, err error) {
	err = b.log.Settle(func(tx *bbolt.Tx) ([]events.Event, error) {
		n = 0
		at := find(tx, s.Queue)
		if at == nil {
			return nil, nil
		}
		dead := at.Bucket(deadBucket)
		var taken [][]byte
		err := dead.ForEach(func(key, value []byte) error {
			letter, err := letterOf(value)
			if err != nil || ids != nil && !slices.Contains(ids, letter.ID) {
				return err
			}
			taken = append(taken, slices.Clone(key))
			return do(at, letter)
		})
		for _, key := range taken {
			err = errors.Join(err, dead.Delete(key))
		}
		n = len(taken)
		return nil, errors.Join(err, add(at, lettersKey, -n))
	})
	return n, err
}
