package queues

import (
	"encoding/json"
	"fmt"

	"go.etcd.io/bbolt"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/events/outbox"
)

// brokerBucket has, under each queue that was made on a broker, JSON of
// dispatch.Subscription as it was opened last.
var brokerBucket = []byte("events-broker-queues")

// Memory is what this process made on a broker, which itself does not tell: it
// outlives a restart, so that what a document that is gone left there is found.
type Memory struct{ Log *outbox.Outbox }

// Known returns the subscriptions that were remembered and not forgotten.
func (m Memory) Known() (all []dispatch.Subscription, err error) {
	err = m.Log.View(func(tx *bbolt.Tx) error {
		all = nil
		at := tx.Bucket(brokerBucket)
		if at == nil {
			return nil
		}
		return at.ForEach(func(name, raw []byte) error {
			var s dispatch.Subscription
			if err := json.Unmarshal(raw, &s); err != nil {
				return fmt.Errorf("read what is known of queue %s: %w", name, err)
			}
			all = append(all, s)
			return nil
		})
	})
	return all, err
}

// Remember keeps a subscription under its queue's name.
func (m Memory) Remember(s dispatch.Subscription) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("remember queue %s: %w", s.Queue, err)
	}
	return m.edit(func(at *bbolt.Bucket) error { return at.Put([]byte(s.Queue), raw) })
}

// Forget takes it away; one that is not there is no error.
func (m Memory) Forget(queue string) error {
	return m.edit(func(at *bbolt.Bucket) error { return at.Delete([]byte(queue)) })
}

func (m Memory) edit(do func(*bbolt.Bucket) error) error {
	return m.Log.Settle(func(tx *bbolt.Tx) ([]events.Event, error) {
		at, err := tx.CreateBucketIfNotExists(brokerBucket)
		if err != nil {
			return nil, err
		}
		return nil, do(at)
	})
}
