//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/amqp"
	"meshlite.dev/test/lab"
)

// subscriber is a plain consumer of the exchange: a durable queue and a channel.
type subscriber struct {
	conn       *amqp091.Connection
	deliveries <-chan amqp091.Delivery
}

// subscribe declares queue and binding as any client would, once there is an
// exchange, and consumes.
func subscribe(t *testing.T, r *lab.Rabbit, queue, binding string) *subscriber {
	t.Helper()
	s := &subscriber{}
	lab.Until(t, 30*time.Second, "the subscriber consumes", func() (err error) {
		if s.conn, err = amqp091.Dial(r.URL("guest:guest")); err != nil {
			return err
		}
		ch, err := s.conn.Channel()
		if err == nil {
			_, err = ch.QueueDeclare(queue, true, false, false, false, nil)
		}
		if err == nil {
			err = ch.QueueBind(queue, binding, amqp.Exchange, false, nil)
		}
		if err == nil {
			s.deliveries, err = ch.Consume(queue, "", false, false, false, false, nil)
		}
		if err != nil {
			_ = s.conn.Close() // its channel is closed already
		}
		return err
	})
	t.Cleanup(func() { _ = s.conn.Close() }) // gone already where the broker was killed
	return s
}

// next waits for a message of a type; "" is any.
func (s *subscriber) next(t *testing.T, typ string) amqp091.Delivery {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case d, ok := <-s.deliveries:
			if !ok {
				t.Fatal("the subscriber's channel has ended")
			}
			if err := d.Ack(false); err != nil {
				t.Fatal(err)
			}
			if typ == "" || d.Type == typ {
				return d
			}
		case <-limit:
			t.Fatalf("no %s within 20s", typ)
		}
	}
}

// brokered starts a broker and a server that publishes there.
func brokered(t *testing.T, l *lab.Lab, flags ...string) (*lab.Rabbit, *lab.Server) {
	t.Helper()
	r := l.StartRabbit()
	s := l.NewServer(append([]string{"--events", "amqp", "--amqp-url", r.URL("")}, flags...)...)
	s.Start()
	s.WaitReady(20 * time.Second)
	return r, s
}

// TestASubscriberHearsOfACheckThatFails within a second, with a stock client.
func TestASubscriberHearsOfACheckThatFails(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	consul := l.UseConsul()
	consul.Register(lab.Instance{ID: "web-1", Name: "web", Address: "127.0.0.1", Port: 9, Check: lab.TTL("web-1")})
	r, s := brokered(t, l)
	untilTold(t, s, events.EndpointAdded, "service/web", 1)
	sub := subscribe(t, r, "watcher", "mesh.endpoint.*")
	var slowest time.Duration
	for range 5 {
		begin := time.Now()
		consul.SetHealth("web-1", "critical")
		d := sub.next(t, events.EndpointUnhealthy)
		slowest = max(slowest, time.Since(begin))
		var envelope struct {
			ID, Type  string
			Timestamp time.Time
			Data      events.Endpoint
		}
		if err := json.Unmarshal(d.Body, &envelope); err != nil || envelope.Type != d.RoutingKey || envelope.ID != d.MessageId || envelope.Data.ID != "web-1" || envelope.Timestamp.IsZero() {
			t.Errorf("%s: %v", d.Body, err)
		}
		if d.DeliveryMode != amqp091.Persistent || d.ContentType != events.ContentType || d.AppId != "meshlite" {
			t.Errorf("%+v", d)
		}
		consul.SetHealth("web-1", "passing")
		sub.next(t, events.EndpointHealthy)
	}
	t.Logf("from the check to the subscriber: %s at most, 5 times", slowest.Round(time.Millisecond))
	if slowest > time.Second {
		t.Error("over a second")
	}
}

var pythonBlock = regexp.MustCompile("(?s)```python\n(.*?)```")

// TestTheGuidesSubscriber runs the Python of docs/events.md as it stands there, on
// another port: it hears of a check that fails.
func TestTheGuidesSubscriber(t *testing.T) {
	t.Parallel()
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "events.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := pythonBlock.FindSubmatch(page)
	if block == nil {
		t.Fatal("the guide has no Python")
	}
	l := lab.New(t)
	consul := l.UseConsul()
	consul.Register(lab.Instance{ID: "web-1", Name: "web", Address: "127.0.0.1", Port: 9, Check: lab.TTL("web-1")})
	r, s := brokered(t, l)
	untilTold(t, s, events.EndpointAdded, "service/web", 1)
	checked(t, s, "ok", "published")
	script := strings.ReplaceAll(string(block[1]), "127.0.0.1:5672", r.Addr)
	python := l.Start("python", []string{"PYTHONUNBUFFERED=1"}, lab.Binaries.PythonPika, "-c", script)
	for i, status := range []string{"critical", "passing"} {
		want := []string{events.EndpointUnhealthy, events.EndpointHealthy}[i] + " 127.0.0.1:9"
		if i == 0 { // it has bound its queue by then
			lab.Until(t, 20*time.Second, "the subscriber is there", func() error {
				conn, err := amqp091.Dial(r.URL("guest:guest"))
				if err != nil {
					return err
				}
				defer conn.Close()
				ch, err := conn.Channel()
				if err != nil {
					return err
				}
				q, err := ch.QueueDeclarePassive("watcher", true, false, false, false, nil)
				if err == nil && q.Consumers == 0 {
					err = fmt.Errorf("it does not consume yet")
				}
				return err
			})
		}
		begin := time.Now()
		consul.SetHealth("web-1", status)
		python.WaitLog(want, 10*time.Second)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("%s came after %s", want, took)
		}
	}
}

// checked waits until doctor's line about the broker holds text.
func checked(t *testing.T, s *lab.Server, status, text string) {
	t.Helper()
	lab.Until(t, 60*time.Second, "doctor says "+text, func() error {
		var d adminapi.Doctor
		if err := s.Try("/v1/doctor", &d); err != nil {
			return err
		}
		i := slices.IndexFunc(d.Checks, func(c adminapi.Check) bool { return c.Name == "broker" })
		if i < 0 || d.Checks[i].Status != status || !strings.Contains(d.Checks[i].Message, text) {
			return fmt.Errorf("%+v", d.Checks)
		}
		return nil
	})
}

// TestWhatIsWrongWithABrokerIsTold, and heals without a restart: credentials, an
// exchange of another kind, the memory alarm. Sidecars are served all the while.
func TestWhatIsWrongWithABrokerIsTold(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	file := filepath.Join(t.TempDir(), "credentials")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("guest:wrong\n")
	r, s := brokered(t, l, "--amqp-credentials-file", file)
	checked(t, s, "error", `user "guest" is refused`)
	client := l.Sidecar("client")
	client.WaitStatus("http://orders/", 200, 20*time.Second)

	conn, err := amqp091.Dial(r.URL("guest:guest"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err == nil {
		err = ch.ExchangeDeclare(amqp.Exchange, "fanout", true, false, false, false, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	write("guest:guest\n")
	checked(t, s, "error", "there is one of another kind, and it is left alone")
	if err := ch.ExchangeDelete(amqp.Exchange, false, false); err != nil {
		t.Fatal(err)
	}
	checked(t, s, "ok", "published to the exchange domain_events")

	sub := subscribe(t, r, "all", "#")
	r.Ctl("eval", "vm_memory_monitor:set_vm_memory_high_watermark(0.00001).")
	l.Registry.Register(lab.Instance{ID: "late-1", Name: "late", Address: "127.0.0.1", Port: 9})
	untilTold(t, s, events.ServiceRegistered, "service/late", 1)
	checked(t, s, "error", "takes nothing")
	client.WaitStatus("http://orders/", 200, 5*time.Second)
	r.Ctl("eval", "vm_memory_monitor:set_vm_memory_high_watermark(0.4).")
	sub.next(t, events.ServiceRegistered)
	checked(t, s, "ok", "published")
	if out := l.Meshctl("events", "replay", "--after", "0", "--type", "mesh.service.*"); out.Code != 0 {
		t.Errorf("replay: %+v", out)
	}
	sub.next(t, events.ServiceRegistered)
}

// TestAConsumerOfTwoReplicas: servers that publish to one exchange take turns; one is
// killed. Who drops what has had its id hears of each milestone once, and misses none.
func TestAConsumerOfTwoReplicas(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	consul := l.UseConsul(l.DataFolder()...)
	l.Service("orders", 1)
	flags := []string{"--policy-source", "consul", "--policy-dir", ""}
	r, first := brokered(t, l, flags...)
	sub := subscribe(t, r, "rollouts", "mesh.rollout.*")
	untilTold(t, first, events.EndpointAdded, "service/orders", 1)
	second := l.StartServer(append(flags, "--events", "amqp", "--amqp-url", r.URL(""), "--state-dir", t.TempDir())...)
	heard, repeats := map[string]string{}, 0
	hear := func(until string) {
		for {
			d := sub.next(t, "")
			var e struct{ ID, Source, Type, Subject string }
			if err := json.Unmarshal(d.Body, &e); err != nil {
				t.Fatalf("%s: %v", d.Body, err)
			}
			what := e.Type + " " + e.Subject
			if before, ok := heard[e.Source+" "+e.ID]; ok && before != what {
				t.Errorf("%s has the id of %s", what, before)
			} else if ok {
				repeats++
			}
			if heard[e.Source+" "+e.ID] = what; what == until {
				return
			}
		}
	}
	edit := editor(t, l, consul)
	edit(1)
	hear(events.RolloutCommitted + " " + edit(2))
	first.Kill()
	begin := time.Now()
	newest := edit(3)
	untilToldIn(t, 60*time.Second, second, events.RolloutCommitted, newest, 1)
	hear(events.RolloutCommitted + " " + newest)
	t.Logf("the consumer heard of the next rollout %s after the kill", time.Since(begin).Round(100*time.Millisecond))
	first.Start()
	first.WaitReady(20 * time.Second)
	hear(events.RolloutCommitted + " " + edit(4))
	times := map[string]int{}
	for _, what := range heard {
		times[what]++
	}
	for _, one := range rollouts(t, l).Items {
		end := events.RolloutCommitted
		if one.State == adminapi.RolledBack {
			end = events.RolloutAborted
		}
		for _, typ := range []string{events.RolloutStarted, end} {
			if n := times[typ+" rollout/"+one.ID]; n != 1 {
				t.Errorf("%s of %s came under %d ids", typ, one.ID, n)
			}
		}
	}
	t.Logf("%d events, and %d again under the same id", len(heard), repeats)
	if repeats == 0 {
		t.Error("the second server told nothing of what the first had told")
	}
}
