//go:build e2e

package queues_test

import (
	"context"
	"sync"
	"testing"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/amqp"
	"meshlite.dev/internal/events/amqp/queues"
	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/events/dispatch/dispatchtest"
	"meshlite.dev/test/lab"
)

// memory is a Memory, and the log of events of a test.
type memory struct {
	mu    sync.Mutex
	known map[string]dispatch.Subscription
	told  []events.Event
}

func newMemory() *memory { return &memory{known: map[string]dispatch.Subscription{}} }

func (m *memory) Known() (out []dispatch.Subscription, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.known {
		out = append(out, s)
	}
	return out, nil
}

func (m *memory) Remember(s dispatch.Subscription) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known[s.Queue] = s
	return nil
}

func (m *memory) Forget(queue string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, queue)
	return nil
}

func (m *memory) tell(all []events.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = append(m.told, all...)
	return nil
}

func (m *memory) Told() []events.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]events.Event(nil), m.told...)
}

func startRabbit(t *testing.T) *lab.Rabbit {
	t.Helper()
	if err := lab.FindTools(); err != nil {
		t.Fatal(err)
	}
	return lab.New(t).StartRabbit()
}

func broker(r *lab.Rabbit) *amqp.Broker {
	return amqp.NewBroker(amqp.Config{URL: r.URL(""), Name: "test"})
}

// backend makes one that ends with the test, for a broker that nobody kills.
func backend(t *testing.T, r *lab.Rabbit, m *memory) *queues.Backend {
	t.Helper()
	b := lasting(t, r, m)
	b.TrustAtOnce()
	return b
}

// lasting makes one as the server has it.
func lasting(t *testing.T, r *lab.Rabbit, m *memory) *queues.Backend {
	t.Helper()
	b := queues.New(broker(r), m, m.tell, nil)
	t.Cleanup(b.Close)
	return b
}

// publish sends events as the server does, each confirmed.
func publish(t *testing.T, r *lab.Rabbit, all ...events.Event) {
	t.Helper()
	session, err := broker(r).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	records := make([]events.Record, len(all))
	for i, e := range all {
		raw, err := e.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		records[i] = events.Record{Sequence: uint64(i + 1), JSON: raw}
	}
	if n, err := session.Publish(t.Context(), records); err != nil || n != len(all) {
		t.Fatalf("%d of %d published: %v", n, len(all), err)
	}
}

func TestTheContractOnABroker(t *testing.T) {
	r := startRabbit(t)
	for _, kind := range []string{"quorum", "classic"} {
		t.Run(kind, func(t *testing.T) {
			dispatchtest.Run(t, func(t *testing.T) *dispatchtest.Setup {
				m := newMemory()
				var last *queues.Backend
				start := func() dispatch.Backend {
					if last != nil {
						last.Close()
					}
					last = backend(t, r, m)
					return kinded{last, kind}
				}
				return &dispatchtest.Setup{
					Backend: start(), Restart: start, Told: m.Told,
					Publish: func(all ...events.Event) { publish(t, r, all...) },
				}
			})
		})
	}
}

// kinded opens queues of a kind, whatever the subscription says.
type kinded struct {
	dispatch.Backend
	kind string
}

func (k kinded) Open(ctx context.Context, s dispatch.Subscription) (dispatch.Queue, error) {
	s.QueueType = k.kind
	return k.Backend.Open(ctx, s)
}

func (k kinded) Known(ctx context.Context) ([]dispatch.Subscription, error) {
	all, err := k.Backend.Known(ctx)
	for i := range all {
		all[i].QueueType = "quorum"
	}
	return all, err
}

func (k kinded) Drop(ctx context.Context, s dispatch.Subscription) error {
	s.QueueType = k.kind
	return k.Backend.Drop(ctx, s)
}
