package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/amqp"
	"meshlite.dev/internal/events/outbox"
	"meshlite.dev/test/lab"
)

// BenchmarkEvents brings events from many publishers to a consumer on a real
// broker: through the outbox and its relay, as xds-server does, and beside it with
// a plain client, each event until its confirm. Both make every event durable
// before the publisher goes on. p50-ms and p99-ms are from publisher to consumer.
func BenchmarkEvents(b *testing.B) {
	if err := lab.FindTools(); err != nil {
		b.Fatal(err)
	}
	if !hasBroker(b) {
		return
	}
	r := lab.New(b).StartRabbit()
	for _, publishers := range []int{1, 64} {
		b.Run(fmt.Sprintf("outbox and relay/%d", publishers), func(b *testing.B) { benchRelay(b, r, publishers) })
		b.Run(fmt.Sprintf("plain client/%d", publishers), func(b *testing.B) { benchPlain(b, r, publishers) })
	}
}

// hasBroker reports whether RabbitMQ is here, and says so where it is not.
func hasBroker(b *testing.B) bool {
	_, err := os.Stat(lab.Binaries.RabbitMQ)
	if err != nil {
		b.Log("without RabbitMQ: ", err)
	}
	return err == nil
}

// eventNow says when it was published.
func eventNow() events.Event {
	now := time.Now()
	return events.Event{ID: "b", Source: "/bench", Type: "bench.made", Time: now, Data: json.RawMessage(strconv.FormatInt(now.UnixNano(), 10))}
}

func benchRelay(b *testing.B, r *lab.Rabbit, publishers int) {
	limits := outbox.DefaultLimits()
	limits.Broker = true
	box, err := outbox.Open(filepath.Join(b.TempDir(), "outbox.db"), limits)
	if err != nil {
		b.Fatal(err)
	}
	defer box.Close()
	ctx, stop := context.WithCancel(b.Context())
	relay := amqp.New(box, amqp.NewBroker(amqp.Config{URL: r.URL("")}).Dial, nil)
	done := make(chan error)
	go func() { done <- relay.Run(ctx) }()
	lab.Until(b, 20*time.Second, "the broker is connected", func() error {
		if p := relay.Problem(); p != "" {
			return fmt.Errorf("%s", p)
		}
		return nil
	})
	deliver(b, r, publishers, func() func() error {
		return func() error {
			_, err := box.Append(func(uint64) []events.Event { return []events.Event{eventNow()} }, nil)
			return err
		}
	})
	stop()
	if err := <-done; err != nil {
		b.Error(err)
	}
}

// benchPlain has a channel per publisher, as the client's guide has it.
func benchPlain(b *testing.B, r *lab.Rabbit, publishers int) {
	conn, err := amqp091.Dial(r.URL("guest:guest"))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	deliver(b, r, publishers, plainPublisher(b, conn))
}

func plainPublisher(b *testing.B, conn *amqp091.Connection) func() func() error {
	return func() func() error {
		ch, err := conn.Channel()
		if err == nil {
			err = ch.Confirm(false)
		}
		if err != nil {
			b.Fatal(err)
		}
		return func() error {
			e := eventNow()
			raw, err := e.MarshalJSON()
			if err != nil {
				return err
			}
			c, err := ch.PublishWithDeferredConfirm(amqp.Exchange, e.Type, true, false, amqp091.Publishing{DeliveryMode: amqp091.Persistent, MessageId: e.ID, Body: raw})
			if err == nil && !c.Wait() {
				err = fmt.Errorf("not confirmed")
			}
			return err
		}
	}
}

// deliver has b.N events published and waits until a consumer has them all.
func deliver(b *testing.B, r *lab.Rabbit, publishers int, publisher func() func() error) {
	conn, err := amqp091.Dial(r.URL("guest:guest"))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	deliveries, err := durable(conn, "bench.*")
	if err != nil {
		b.Fatal(err)
	}
	made := make([]func() error, publishers)
	for i := range made {
		made[i] = publisher()
	}
	took := make([]time.Duration, 0, b.N)
	b.ResetTimer()
	begin := time.Now()
	var crew sync.WaitGroup
	for i, publish := range made {
		crew.Go(func() {
			for n := i; n < b.N; n += publishers {
				if err := publish(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	for len(took) < b.N {
		select {
		case d := <-deliveries:
			var e struct{ Data int64 }
			if err := json.Unmarshal(d.Body, &e); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(time.Unix(0, e.Data)))
		case <-time.After(30 * time.Second):
			b.Fatalf("%d of %d events came", len(took), b.N)
		}
	}
	b.StopTimer()
	crew.Wait()
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "events/s")
	reportLatency(b, took)
}

func reportLatency(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1e3, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1e3, "p99-ms")
}

// durable binds a durable queue, new and empty, and consumes it.
func durable(conn *amqp091.Connection, binding string) (<-chan amqp091.Delivery, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.ExchangeDeclare(amqp.Exchange, amqp091.ExchangeTopic, true, false, false, false, nil); err != nil {
		return nil, err
	}
	if _, err := ch.QueueDelete("bench", false, false, false); err != nil {
		return nil, err
	}
	if _, err := ch.QueueDeclare("bench", true, false, false, false, nil); err != nil {
		return nil, err
	}
	if err := ch.QueueBind("bench", binding, amqp.Exchange, false, nil); err != nil {
		return nil, err
	}
	return ch.Consume("bench", "", true, false, false, false, nil)
}

// BenchmarkEventsWaiting fills an outbox with a million events for a broker that
// is away: what that takes of memory and disk.
func BenchmarkEventsWaiting(b *testing.B) {
	const waiting, batch = 1_000_000, 1_000
	for b.Loop() {
		path := filepath.Join(b.TempDir(), "outbox.db")
		limits := outbox.DefaultLimits()
		limits.Broker = true
		box, err := outbox.Open(path, limits)
		if err != nil {
			b.Fatal(err)
		}
		for range waiting / batch {
			all := make([]events.Event, batch)
			for i := range all {
				all[i] = eventNow()
			}
			if _, err := box.Append(func(uint64) []events.Event { return slices.Clone(all) }, nil); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := box.Append(func(uint64) []events.Event { return []events.Event{eventNow()} }, nil); !errors.Is(err, outbox.ErrFull) {
			b.Fatalf("one more: %v, want ErrFull", err)
		}
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		file, err := os.Stat(path)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MiB")
		b.ReportMetric(float64(file.Size())/(1<<20), "file-MiB")
		if err := box.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
