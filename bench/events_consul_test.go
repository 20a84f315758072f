package bench

import (
	"encoding/json"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"meshlite.dev/internal/events"
	"meshlite.dev/test/lab"
)

// calm is longer than the windows in which the server gathers changes.
const calm = 1100 * time.Millisecond

// BenchmarkEventsOfConsul sets a check in a real Consul and waits until a consumer on
// a real broker has the event that xds-server tells of it, from before the request to
// Consul, whose part is put-ms: after a pause, and at once after the last, where the
// windows count in which changes are gathered. Beside it a plain client publishes on
// the same broker.
func BenchmarkEventsOfConsul(b *testing.B) {
	if err := lab.Build(b.Context(), b.TempDir(), false); err != nil {
		b.Fatal(err)
	}
	if !hasBroker(b) {
		return
	}
	l := lab.New(b)
	consul, r := l.UseConsul(), l.StartRabbit()
	consul.Register(lab.Instance{ID: "web-1", Name: "web", Address: "127.0.0.1", Port: 9, Check: lab.TTL("web-1")})
	conn, err := amqp091.Dial(r.URL("guest:guest"))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	deliveries, err := durable(conn, "mesh.endpoint.*")
	if err != nil {
		b.Fatal(err)
	}
	l.StartServer("--events", "amqp", "--amqp-url", r.URL(""))
	receive(b, deliveries, events.EndpointAdded)
	b.Run("now and then", func(b *testing.B) { benchChecks(b, consul, deliveries, calm) })
	b.Run("without a pause", func(b *testing.B) { benchChecks(b, consul, deliveries, 0) })
	b.Run("plain client", func(b *testing.B) {
		deliveries, err := durable(conn, "bench.*") // in the former one's place
		if err != nil {
			b.Fatal(err)
		}
		publish := plainPublisher(b, conn)()
		var took []time.Duration
		for b.Loop() {
			if err := publish(); err != nil {
				b.Fatal(err)
			}
			var e struct{ Data int64 }
			if err := json.Unmarshal(receive(b, deliveries, "").Body, &e); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(time.Unix(0, e.Data)))
		}
		reportLatency(b, took)
	})
}

// benchChecks fails a check and mends it, b.N times in all.
func benchChecks(b *testing.B, consul *lab.Consul, deliveries <-chan amqp091.Delivery, pause time.Duration) {
	status, want := []string{"critical", "passing"}, []string{events.EndpointUnhealthy, events.EndpointHealthy}
	var put time.Duration
	var took []time.Duration
	set := func(n int) {
		begin := time.Now()
		consul.SetHealth("web-1", status[n%2])
		put += time.Since(begin)
		receive(b, deliveries, want[n%2])
		took = append(took, time.Since(begin))
	}
	for n := 0; b.Loop(); n++ {
		set(n)
		<-time.After(pause)
	}
	reportLatency(b, took)
	b.ReportMetric(put.Seconds()*1e3/float64(len(took)), "put-ms")
	b.ReportMetric(0, "ns/op")
	if len(took)%2 == 1 {
		set(1) // as it was
	}
}

// receive waits for a message of a type; "" is any.
func receive(b *testing.B, deliveries <-chan amqp091.Delivery, typ string) amqp091.Delivery {
	b.Helper()
	limit := time.After(30 * time.Second)
	for {
		select {
		case d, ok := <-deliveries:
			if !ok {
				b.Fatal("the consumer's channel has ended")
			}
			if typ == "" || d.RoutingKey == typ {
				return d
			}
		case <-limit:
			b.Fatalf("no message %s within 30 s", typ)
		}
	}
}
