//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"meshlite.dev/test/lab"
)

// pause lets a random time pass, up to most: the moment of a fault is what varies.
func pause(least, most time.Duration) { <-time.After(least + rand.N(most-least)) }

// underway is a broker with a queue, a server that publishes there, and publishers
// of 200 events a second.
type underway struct {
	r      *lab.Rabbit
	s      *lab.Server
	client *lab.Sidecar
	*publishers
}

// begin has a server reach the broker at addr, "" for its own address.
func begin(t *testing.T, l *lab.Lab, r *lab.Rabbit, addr string) underway {
	t.Helper()
	l.Service("orders", 1)
	u := underway{r: r, s: l.NewServer("--events", "amqp", "--amqp-url", "amqp://"+addr, "--roles", "xds,admin,events",
		"--app-addr", fmt.Sprint("127.0.0.1:", lab.FreePort(t)))}
	u.s.Start()
	u.s.WaitReady(20 * time.Second)
	u.client = l.Sidecar("client")
	untilTaken(t, u.client)
	checked(t, u.s, "ok", "published")
	subscribe(t, r, "orders", "order.*").conn.Close() // the queue stays
	u.publishers = startPublishers(u.client, 4, 20*time.Millisecond)
	return u
}

// arrive waits until the server has had 50 events more confirmed.
func (u underway) arrive(t *testing.T) {
	t.Helper()
	const confirmed = "meshlite_events_published_total"
	first := metric(t, u.s, confirmed)
	lab.Until(t, 60*time.Second, "events reach the broker", func() error {
		if n := metric(t, u.s, confirmed) - first; n < 50 {
			return fmt.Errorf("%g more are confirmed", n)
		}
		return nil
	})
}

// finish ends the publishers and looks for what was answered for.
func (u underway) finish(t *testing.T) {
	t.Helper()
	checked(t, u.s, "ok", "published")
	u.end()
	u.allArrive(t, subscribe(t, u.r, "orders", "order.*"))
}

// TestABrokerThatDiesOnlyDelays: killed and started again while 200 events a second
// come, and the server too, nothing that was answered for is lost, and what one
// publisher tells of one subject comes in its order.
func TestABrokerThatDiesOnlyDelays(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	r := l.StartRabbit()
	u := begin(t, l, r, r.Addr)
	for range 3 {
		pause(500*time.Millisecond, 2*time.Second)
		u.r.Kill()
		pause(0, 1500*time.Millisecond)
		u.s.Kill()
		u.s.Start()
		u.s.WaitReady(20 * time.Second)
		u.r.Start()
		u.r.WaitReady(90 * time.Second)
	}
	u.finish(t)
}

// TestABrokerCutOffOnlyDelays: while the network between server and broker swallows
// every byte publishing goes on, and sidecars are served. A cut that lasts is found
// without a word from the network.
func TestABrokerCutOffOnlyDelays(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	r := l.StartRabbit()
	relay := l.Relay(r.Addr)
	u := begin(t, l, r, relay.Addr)
	load := u.client.Load(20, "GET", "http://orders/")
	for range 5 {
		pause(200*time.Millisecond, time.Second)
		relay.Cut()
		pause(0, 1500*time.Millisecond)
		relay.Mend()
		u.arrive(t)
	}
	relay.Cut()
	begun := time.Now()
	u.more(t, 500)
	checked(t, u.s, "error", "broker")
	t.Logf("a cut is found after %s", time.Since(begun).Round(time.Second))
	for body, want := range map[string]string{
		"hello": "400 the event is no JSON object",
		`{"type":"order.created","data":"` + strings.Repeat("x", 5<<20) + `"}`: "413 a request has at most 1048576 bytes",
	} {
		status, words, _ := strings.Cut(want, " ")
		if got, answer, err := publish(u.client, body); err != nil || fmt.Sprint(got) != status || !strings.Contains(answer, words) {
			t.Errorf("%.30s: %d %s, %v; want %s", body, got, answer, err, want)
		}
	}
	u.more(t, 100)
	relay.Mend()
	begun = time.Now()
	u.arrive(t)
	t.Logf("events go on %s after it is mended", time.Since(begun).Round(100*time.Millisecond))
	u.finish(t)
	clean(t, load.Finish())
}

// TestTheServerDiesUnderPublishing: killed at random moments, it goes on where it was.
// `make soak` kills it fifty times.
func TestTheServerDiesUnderPublishing(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	r := l.StartRabbit()
	u := begin(t, l, r, r.Addr)
	load := u.client.Load(20, "GET", "http://orders/")
	n := kills(t, 6)
	for range n {
		u.more(t, 20)
		pause(0, time.Second)
		u.s.Kill()
		u.s.Start()
		u.s.WaitReady(20 * time.Second)
	}
	u.more(t, 20)
	u.finish(t)
	clean(t, load.Finish())
	t.Logf("%d kills of the server", n)
}
