package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"meshlite.dev/internal/events/amqp"
	"meshlite.dev/test/lab"
)

// BenchmarkDelivery brings events from POST to a plain HTTP handler: through the
// publisher's sidecar, the server, its queue and its own sidecar, with the log as
// the queue and with a broker; and beside it through a plain client of the same
// broker, whose consumer calls the handler itself, eight at a time as the
// subscription does. p50-ms and p99-ms are from publisher to handler.
func BenchmarkDelivery(b *testing.B) {
	if err := lab.Build(b.Context(), b.TempDir(), false); err != nil {
		b.Fatal(err)
	}
	h := newTimed(b)
	kinds := map[string][]string{"local": {"--events", "local"}}
	if _, err := os.Stat(lab.Binaries.RabbitMQ); err != nil {
		b.Log("without RabbitMQ: ", err)
	} else {
		r := lab.New(b).StartRabbit()
		kinds["amqp"] = []string{"--events", "amqp", "--amqp-url", r.URL("")}
		for _, at := range []int{1, 32} {
			b.Run(fmt.Sprintf("plain client/%d", at), func(b *testing.B) { h.measure(b, at, h.plain(b, r)) })
		}
	}
	for _, kind := range []string{"local", "amqp"} {
		if flags, ok := kinds[kind]; ok {
			post := h.mesh(b, flags)
			for _, at := range []int{1, 32} {
				b.Run(fmt.Sprintf("%s/%d", kind, at), func(b *testing.B) { h.measure(b, at, post) })
			}
		}
	}
}

// timed is a handler that notes how old events are.
type timed struct {
	url  string
	addr *net.TCPAddr

	mu   sync.Mutex
	took []time.Duration
	came chan struct{} // one for each
}

func newTimed(b *testing.B) *timed {
	h := &timed{came: make(chan struct{}, 1<<20)}
	srv := httptest.NewServer(h)
	b.Cleanup(srv.Close)
	h.url, h.addr = srv.URL, srv.Listener.Addr().(*net.TCPAddr)
	return h
}

// mesh starts a server with its sidecar, and a publisher's; it returns how that
// publishes.
func (h *timed) mesh(b *testing.B, flags []string) func(body []byte) error {
	l := lab.New(b)
	l.Registry.Register(lab.Instance{ID: "timed-1", Name: "timed", Address: h.addr.IP.String(), Port: h.addr.Port})
	l.Policies.Write("timed.yaml", `apiVersion: meshlite.dev/v1alpha1
kind: EventSubscription
metadata: {name: timed}
spec: {bindings: ["bench.*"], handler: {service: timed}}
`)
	own := lab.FreePort(b)
	l.StartServer(append([]string{
		"--roles", "xds,admin,events", "--app-addr", fmt.Sprint("127.0.0.1:", lab.FreePort(b)), "--app-proxy", fmt.Sprint("http://127.0.0.1:", own),
	}, flags...)...)
	c := l.NewSidecar("dispatcher", "dispatcher-1", "--outbound-port", strconv.Itoa(own))
	c.Start()
	c.WaitReady(20 * time.Second)
	client := l.Sidecar("client").Client()
	post := func(body []byte) error {
		resp, err := client.Post("http://events.mesh/v1/events", "application/json", bytes.NewReader(body))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusAccepted {
			return errors.New(resp.Status)
		}
		return nil
	}
	lab.Until(b, 30*time.Second, "the subscription delivers", func() error {
		if err := post([]byte(`{"type":"bench.warm","data":0}`)); err != nil {
			return err
		}
		select {
		case <-h.came:
			return nil
		case <-time.After(time.Second):
			return errors.New("nothing came")
		}
	})
	return post
}

// ServeHTTP implements http.Handler.
func (h *timed) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var e struct{ Data int64 }
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
		return // what is not counted fails the benchmark
	}
	h.mu.Lock()
	h.took = append(h.took, time.Since(time.Unix(0, e.Data)))
	h.mu.Unlock()
	h.came <- struct{}{}
}

// measure has b.N events posted, at of them at a time, and waits until they came.
func (h *timed) measure(b *testing.B, at int, post func(body []byte) error) {
	h.mu.Lock()
	h.took = nil
	h.mu.Unlock()
	begin := time.Now()
	n := share(b, at, func(int) error {
		return post([]byte(`{"type":"bench.made","source":"/bench","id":"` + strconv.FormatInt(time.Now().UnixNano(), 36) + `","data":` + strconv.FormatInt(time.Now().UnixNano(), 10) + `}`))
	})
	for i := range n {
		select {
		case <-h.came:
		case <-time.After(30 * time.Second):
			b.Fatalf("%d of %d events came", i, n)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.Sort(h.took)
	b.ReportMetric(float64(n)/time.Since(begin).Seconds(), "events/s")
	b.ReportMetric(h.took[len(h.took)/2].Seconds()*1e3, "p50-ms")
	b.ReportMetric(h.took[len(h.took)*99/100].Seconds()*1e3, "p99-ms")
}

// plain has a durable queue and a consumer that posts to the handler; it returns
// how to publish, each event until its confirm.
func (h *timed) plain(b *testing.B, r *lab.Rabbit) func(body []byte) error {
	conn, err := amqp091.Dial(r.URL("guest:guest"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() }) // the broker ends with the benchmark
	deliveries, err := durable(conn, "bench.*")
	if err != nil {
		b.Fatal(err)
	}
	for range 8 {
		go func() {
			for d := range deliveries {
				if resp, err := http.Post(h.url, "application/json", bytes.NewReader(d.Body)); err == nil {
					resp.Body.Close()
				}
			}
		}()
	}
	channels := make(chan *amqp091.Channel, 32)
	for range cap(channels) {
		ch, err := conn.Channel()
		if err == nil {
			err = ch.Confirm(false)
		}
		if err != nil {
			b.Fatal(err)
		}
		channels <- ch
	}
	return func(body []byte) error {
		ch := <-channels
		defer func() { channels <- ch }()
		c, err := ch.PublishWithDeferredConfirm(amqp.Exchange, "bench.made", true, false, amqp091.Publishing{DeliveryMode: amqp091.Persistent, Body: body})
		if err == nil && !c.Wait() {
			err = errors.New("not confirmed")
		}
		return err
	}
}
