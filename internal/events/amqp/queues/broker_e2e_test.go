//go:build e2e

package queues_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/amqp/queues"
	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/test/lab"
)

const soon = 10 * time.Second

// subscription has queues of this name and takes NAME.#.
func subscription(name, kind string) dispatch.Subscription {
	return dispatch.Subscription{
		Namespace: "default", Name: name, Exchange: events.Exchange, Bindings: name + ".#", Service: "orders", Path: "/",
		Mode: dispatch.Structured, Queue: name, QueueType: kind, DeadLetter: name + ".dlq",
		Concurrency: 8, Timeout: time.Second, Attempts: 6, Base: 500 * time.Millisecond, Max: time.Minute,
	}
}

func open(t *testing.T, b *queues.Backend, s dispatch.Subscription) dispatch.Queue {
	t.Helper()
	var q dispatch.Queue
	lab.Until(t, 30*time.Second, "the queue opens", func() (err error) {
		q, err = b.Open(t.Context(), s)
		return err
	})
	return q
}

func take(t *testing.T, q dispatch.Queue) dispatch.Delivery {
	t.Helper()
	d, err := next(t, q, soon)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func next(t *testing.T, q dispatch.Queue, limit time.Duration) (dispatch.Delivery, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return q.Next(ctx)
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func numbered(name string, n int) []events.Event {
	out := make([]events.Event, n)
	for i := range out {
		out[i] = events.Event{ID: fmt.Sprintf("%s-%04d", name, i), Source: "/shop", Type: name + ".created", Time: time.Now(), Data: []byte(`{"n":1}`)}
	}
	return out
}

// client is another one's channel on the broker.
func client(t *testing.T, r *lab.Rabbit) *amqp091.Channel {
	t.Helper()
	conn, err := amqp091.Dial(r.URL("guest:guest"))
	ok(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // gone where the broker was killed
	ch, err := conn.Channel()
	ok(t, err)
	return ch
}

func exists(t *testing.T, r *lab.Rabbit, queue string) (n int, there bool) {
	t.Helper()
	q, err := client(t, r).QueueDeclarePassive(queue, true, false, false, false, nil)
	return q.Messages, err == nil
}

// TestOnABroker has what a broker alone can do.
func TestOnABroker(t *testing.T) {
	r := startRabbit(t)
	for _, tc := range []struct {
		name string
		test func(*testing.T, *lab.Rabbit)
	}{
		{"messages of every form become events, and others faults", testForms},
		{"a message keeps what it has on its ways", testKept},
		{"a queue deleted in use is made again", testDeleted},
		{"a queue with other settings is left alone", testMismatch},
		{"an exchange of another kind is left alone", testExchange},
		{"replicas share a queue", testShared},
		{"in order one replica takes, and another after it", testOrdered},
		{"retries that wait do not hold up the others", testPressure},
		{"a delay queue that was deleted is made again", testDelayGone},
		{"what was dropped leaves nothing behind", testDropped},
		{"another dead-letter queue takes over", testDeadLetterQueue},
		{"while the broker is short of memory retries wait", testAlarm},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.test(t, r) })
	}
}

func testForms(t *testing.T, r *lab.Rabbit) {
	m := newMemory()
	b := backend(t, r, m)
	s := subscription("forms", "quorum")
	q := open(t, b, s)
	defer q.Close()
	ch := client(t, r)
	large := []byte(`{"type":"forms.large","data":"` + strings.Repeat("x", 5<<20) + `"}`)
	at := time.Unix(1_800_000_000, 0).UTC()
	for _, tc := range []struct {
		name  string
		m     amqp091.Publishing
		want  events.Event
		fault string
	}{
		{"bare", amqp091.Publishing{MessageId: "7", Timestamp: at, Body: []byte(`{"type":"forms.bare","data":{"a":1}}`)},
			events.Event{ID: "7", Source: "/app", Type: "forms.bare", Time: at, Data: []byte(`{"a":1}`)}, ""},
		{"structured", amqp091.Publishing{ContentType: events.ContentType, MessageId: "other", Headers: amqp091.Table{"ce-id": "no"},
			Body: []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"forms.x","time":"2027-01-15T08:00:00Z","data":[1]}`)},
			events.Event{ID: "1", Source: "/s", Type: "forms.x", Time: at, Data: []byte(`[1]`)}, ""},
		{"binary", amqp091.Publishing{ContentType: "application/json", Body: []byte(`{"b":2}`), Headers: amqp091.Table{
			"cloudEvents:specversion": "1.0", "cloudEvents:id": "a%20b", "cloudEvents:source": "/s", "cloudEvents:type": "forms.y", "cloudEvents:time": at}},
			events.Event{ID: "a%20b", Source: "/s", Type: "forms.y", Time: at, Data: []byte(`{"b":2}`)}, ""},
		{"binary with low lines", amqp091.Publishing{Body: []byte(`{}`), Headers: amqp091.Table{
			"cloudEvents_specversion": "1.0", "cloudEvents_id": "2", "cloudEvents_source": "/s", "cloudEvents_type": "forms.z", "cloudEvents_time": "2027-01-15T08:00:00Z"}},
			events.Event{ID: "2", Source: "/s", Type: "forms.z", Time: at, Data: []byte(`{}`)}, ""},
		{"as HTTP has it", amqp091.Publishing{ContentType: "text/plain", Body: []byte("text"), Headers: amqp091.Table{
			"ce-specversion": "1.0", "ce-id": "a%20b", "ce-source": "/s", "Ce-Type": "forms.h", "ce-time": "2027-01-15T08:00:00Z", "x-nested": amqp091.Table{"a": int32(1)}}},
			events.Event{ID: "a b", Source: "/s", Type: "forms.h", Time: at, DataBase64: []byte("text")}, ""},
		{"no JSON", amqp091.Publishing{Body: []byte("\xff not JSON")}, events.Event{}, "is no JSON object"},
		{"no type", amqp091.Publishing{Body: []byte(`{"data":1}`)}, events.Event{}, "type: is missing"},
		{"too large", amqp091.Publishing{Body: large}, events.Event{}, "must be at most 1048576"},
	} {
		ok(t, ch.PublishWithContext(t.Context(), events.Exchange, "forms.any", true, false, tc.m))
		d := take(t, q)
		e := d.Event
		if (d.Fault == "") != (tc.fault == "") || !strings.Contains(d.Fault, tc.fault) || strings.Contains(d.Fault, "\n") || string(d.Body) != string(tc.m.Body) || d.Attempt != 1 {
			t.Errorf("%s: fault %q", tc.name, d.Fault)
		}
		if e.ID != tc.want.ID || e.Source != tc.want.Source || e.Type != tc.want.Type || !e.Time.Equal(tc.want.Time) ||
			string(e.Data) != string(tc.want.Data) || string(e.DataBase64) != string(tc.want.DataBase64) {
			t.Errorf("%s: %+v, want %+v", tc.name, e, tc.want)
		}
		if tc.fault == "" {
			ok(t, d.Settle.Done(t.Context()))
			continue
		}
		ok(t, d.Settle.Dead(t.Context(), 1, "it is no event: "+d.Fault, nil))
	}
	list, total, err := b.Dead(t.Context(), s, 10)
	ok(t, err)
	if total != 3 || len(list) != 3 || string(list[0].Body) != "\xff not JSON" || list[0].Event != nil || len(list[0].ID) != 32 ||
		string(list[1].Event) != `{"data":1}` || len(list[2].Event) != len(large) || !strings.Contains(list[0].Reason, "is no JSON object") {
		t.Errorf("%d dead letters of %d: %.300v", len(list), total, list)
	}
	if n, err := b.Requeue(t.Context(), s, []string{list[0].ID}); n != 1 || err != nil {
		t.Errorf("requeue what is no event: %d, %v", n, err)
	}
	if d := take(t, q); string(d.Body) != "\xff not JSON" {
		t.Errorf("came %q", d.Body)
	}
}

// testKept sends a message through every queue and looks at it in the end.
func testKept(t *testing.T, r *lab.Rabbit) {
	b := backend(t, r, newMemory())
	s := subscription("kept", "quorum")
	q := open(t, b, s)
	defer q.Close()
	ch := client(t, r)
	_, err := ch.QueueDeclare("kept-elsewhere", true, false, false, false, nil)
	ok(t, err)
	ok(t, ch.PublishWithContext(t.Context(), events.Exchange, "kept.a", true, false, amqp091.Publishing{
		MessageId: "1", Type: "kept.a", AppId: "shop", UserId: "guest", Expiration: "600000", CorrelationId: "c", Priority: 3,
		Headers: amqp091.Table{"traceparent": "00-1", "CC": []any{"kept-elsewhere"}, "mesh-attempt": int64(4)}, Body: []byte(`{"type":"kept.a"}`),
	}))
	d := take(t, q)
	if d.Attempt != 5 {
		t.Errorf("attempt %d of one that had 4", d.Attempt)
	}
	ok(t, d.Settle.Retry(t.Context(), 5100*time.Millisecond))
	d = take(t, q)
	if d.Attempt != 6 {
		t.Errorf("attempt %d", d.Attempt)
	}
	ok(t, d.Settle.Dead(t.Context(), 6, "no", nil))
	var got amqp091.Delivery
	lab.Until(t, soon, "the dead letter is there", func() error {
		var there bool
		if got, there, err = ch.Get(s.DeadLetter, true); err == nil && !there {
			err = errors.New("nothing")
		}
		return err
	})
	for _, name := range []string{"CC", "x-death", "mesh-attempt"} {
		if got.Headers[name] != nil {
			t.Errorf("header %s: %v", name, got.Headers[name])
		}
	}
	if got.MessageId != "1" || got.Type != "kept.a" || got.AppId != "shop" || got.CorrelationId != "c" || got.Priority != 3 || got.Expiration != "" || got.DeliveryMode != amqp091.Persistent ||
		got.Headers["traceparent"] != "00-1" || got.Headers["mesh-reason"] != "no" || got.Headers["mesh-attempts"] != int64(6) || got.Headers["mesh-subscription"] != "default/kept" {
		t.Errorf("%+v", got)
	}
	if at, err := time.Parse(time.RFC3339, fmt.Sprint(got.Headers["mesh-dead-at"])); err != nil || time.Since(at) > time.Minute {
		t.Errorf("dead at %v, %v", got.Headers["mesh-dead-at"], err)
	}
	if n, _ := exists(t, r, "kept-elsewhere"); n != 0 { // where we publish by the name of a queue
		t.Errorf("%d copies elsewhere", n)
	}
}

func testDeleted(t *testing.T, r *lab.Rabbit) {
	b := backend(t, r, newMemory())
	for _, kind := range []string{"quorum", "classic"} {
		s := subscription("deleted-"+kind, kind)
		q := open(t, b, s)
		publish(t, r, numbered(s.Name, 1)...)
		d := take(t, q)
		_, err := client(t, r).QueueDelete(s.Queue, false, false, false)
		ok(t, err)
		if _, err := next(t, q, soon); err == nil || !strings.Contains(err.Error(), s.Queue+" was deleted while it was in use") {
			t.Errorf("%s: Next = %v", kind, err)
		}
		if _, err := next(t, q, soon); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: Next once more = %v", kind, err)
		}
		_ = d.Settle.Done(t.Context()) // whatever it says, it does not hang
		q.Close()
		q = open(t, b, s)
		publish(t, r, numbered(s.Name, 1)...)
		ok(t, take(t, q).Settle.Done(t.Context()))
		q.Close()
	}
}

func testMismatch(t *testing.T, r *lab.Rabbit) {
	m := newMemory()
	b := backend(t, r, m)
	ch := client(t, r)
	_, err := ch.QueueDeclare("mismatch", true, false, false, false, amqp091.Table{"x-max-length": int64(5)})
	ok(t, err)
	ok(t, ch.PublishWithContext(t.Context(), "", "mismatch", true, false, amqp091.Publishing{Body: []byte("theirs")}))
	s := subscription("mismatch", "quorum")
	if _, err := b.Open(t.Context(), s); err == nil || !strings.Contains(err.Error(), "has a queue mismatch with other settings, and it is left alone") || !strings.Contains(err.Error(), "spec.queue.name") {
		t.Errorf("Open = %v", err)
	}
	if known, _ := m.Known(); len(known) != 0 {
		t.Errorf("another one's queue would be dropped with %v", known)
	}
	if n, there := exists(t, r, "mismatch"); n != 1 || !there {
		t.Errorf("%d messages, %t", n, there)
	}
	_, err = ch.QueueDelete("mismatch", false, false, false)
	ok(t, err)
	q := open(t, b, s)
	publish(t, r, numbered(s.Name, 3)...)
	ok(t, take(t, q).Settle.Done(t.Context()))
	q.Close()
	s.Ordered, s.Concurrency = true, 1
	if _, err := b.Open(t.Context(), s); err == nil || !strings.Contains(err.Error(), "x-single-active-consumer") {
		t.Errorf("Open = %v", err)
	}
	s.Ordered, s.Concurrency, s.DeadLetter = false, 8, "mismatch-2"
	_, err = ch.QueueDeclare("mismatch-2", false, false, false, false, nil)
	ok(t, err)
	if _, err := b.Open(t.Context(), s); err == nil || !strings.Contains(err.Error(), "spec.delivery.deadLetter.queue") {
		t.Errorf("Open = %v", err)
	}
	s.DeadLetter = "mismatch.dlq"
	q = open(t, b, s) // nothing is lost of all that
	for range 2 {
		ok(t, take(t, q).Settle.Done(t.Context()))
	}
	q.Close()
}

func testExchange(t *testing.T, r *lab.Rabbit) {
	b := backend(t, r, newMemory())
	ch := client(t, r)
	ok(t, ch.ExchangeDeclare("billing", "fanout", true, false, false, false, nil))
	s := subscription("exchange", "quorum")
	s.Exchange = "billing"
	if _, err := b.Open(t.Context(), s); err == nil || !strings.Contains(err.Error(), "exchange billing: there is one of another kind") {
		t.Errorf("Open = %v", err)
	}
	ok(t, ch.ExchangeDelete("billing", false, false))
	q := open(t, b, s) // it is made
	defer q.Close()
	ok(t, ch.PublishWithContext(t.Context(), "billing", "exchange.a", true, false, amqp091.Publishing{Body: []byte(`{"type":"exchange.a"}`)}))
	ok(t, take(t, q).Settle.Done(t.Context()))
	s.Exchange = events.Exchange
	moved := open(t, b, s)
	moved.Close()
	ok(t, ch.PublishWithContext(t.Context(), "billing", "exchange.a", false, false, amqp091.Publishing{Body: []byte(`{"type":"exchange.old"}`)}))
	publish(t, r, numbered(s.Name, 1)...)
	if d := take(t, q); d.Event.Type != "exchange.created" {
		t.Errorf("came %s from an exchange that is no longer bound", d.Event.Type)
	}
}

func testShared(t *testing.T, r *lab.Rabbit) {
	const n = 300
	s := subscription("shared", "quorum")
	var replicas [2]dispatch.Queue
	for i := range replicas {
		replicas[i] = open(t, backend(t, r, newMemory()), s)
		defer replicas[i].Close()
	}
	got := make(chan string, 2*n)
	counts := [2]int{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan int, len(replicas))
	for i, q := range replicas {
		go func() {
			defer func() { ended <- i }()
			for {
				d, err := q.Next(ctx)
				if err != nil {
					return
				}
				counts[i]++
				if err := d.Settle.Done(ctx); err != nil {
					t.Error(err)
				}
				got <- d.Event.ID
			}
		}()
	}
	publish(t, r, numbered(s.Name, n)...)
	seen := map[string]bool{}
	for len(seen) < n {
		select {
		case id := <-got:
			if seen[id] {
				t.Errorf("%s came twice", id)
			}
			seen[id] = true
		case <-time.After(soon):
			t.Fatalf("%d of %d came", len(seen), n)
		}
	}
	cancel()
	<-ended
	<-ended
	if counts[0] == 0 || counts[1] == 0 {
		t.Errorf("they took %v", counts)
	}
}

func testOrdered(t *testing.T, r *lab.Rabbit) {
	s := subscription("ordered", "quorum")
	s.Ordered, s.Concurrency = true, 1
	b := backend(t, r, newMemory())
	first, second := open(t, b, s), open(t, backend(t, r, newMemory()), s)
	defer second.Close()
	if _, err := next(t, first, 100*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) { // it is the active one now
		t.Fatal(err)
	}
	publish(t, r, numbered(s.Name, 6)...)
	want := func(q dispatch.Queue, id, attempt int) dispatch.Delivery {
		t.Helper()
		d := take(t, q)
		if d.Event.ID != fmt.Sprintf("ordered-%04d", id) || d.Attempt != attempt {
			t.Fatalf("came %s, attempt %d; want %d", d.Event.ID, d.Attempt, id)
		}
		return d
	}
	ok(t, want(first, 0, 1).Settle.Done(t.Context()))
	d := want(first, 1, 1)
	for _, q := range []dispatch.Queue{first, second} {
		if d, err := next(t, q, 200*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("came %q, %v beside another one", d.Event.ID, err)
		}
	}
	ok(t, d.Settle.Retry(t.Context(), 300*time.Millisecond)) // the others wait with it
	d = want(first, 1, 2)

	ok(t, d.Settle.Dead(t.Context(), 6, "no", nil))
	want(first, 2, 1)
	first.Close()
	for i := 2; i < 6; i++ {
		ok(t, want(second, i, 1).Settle.Done(t.Context()))
	}
	if list, _, err := b.Dead(t.Context(), s, 10); err != nil || len(list) != 1 || list[0].Attempts != 6 {
		t.Errorf("dead letters %+v, %v", list, err)
	}
}

func testPressure(t *testing.T, r *lab.Rabbit) {
	const poisoned, good = 40, 40
	s := subscription("pressure", "quorum")
	q := open(t, backend(t, r, newMemory()), s)
	defer q.Close()
	publish(t, r, numbered(s.Name, poisoned)...)
	began := time.Now()
	for range poisoned {
		ok(t, take(t, q).Settle.Retry(t.Context(), 4*time.Second))
	}
	all := numbered("pressure.good", good)
	publish(t, r, all...)
	for range good {
		d := take(t, q)
		if d.Attempt != 1 {
			t.Fatalf("attempt %d came before the others", d.Attempt)
		}
		ok(t, d.Settle.Done(t.Context()))
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("others waited %s", took)
	}
	for range poisoned {
		d := take(t, q)
		if took := time.Since(began); d.Attempt != 2 || took < 4*time.Second-10*time.Millisecond {
			t.Fatalf("attempt %d after %s", d.Attempt, took)
		}
		ok(t, d.Settle.Done(t.Context()))
	}
	t.Logf("%d retries of 4s came back after %s at most", poisoned, time.Since(began))
}

func testDelayGone(t *testing.T, r *lab.Rabbit) {
	s := subscription("gone", "classic")
	q := open(t, backend(t, r, newMemory()), s)
	defer q.Close()
	publish(t, r, numbered(s.Name, 2)...)
	ok(t, take(t, q).Settle.Retry(t.Context(), 6*time.Second))
	_, err := client(t, r).QueueDelete("gone.retry.6192", false, false, false)
	ok(t, err)
	ok(t, take(t, q).Settle.Retry(t.Context(), 6*time.Second))
	if d := take(t, q); d.Attempt != 2 {
		t.Errorf("attempt %d", d.Attempt)
	}
}

func testDropped(t *testing.T, r *lab.Rabbit) {
	for _, kind := range []string{"quorum", "classic"} {
		m := newMemory()
		b := backend(t, r, m)
		s := subscription("dropped-"+kind, kind)
		delay := s.Queue + ".retry.6192"
		q := open(t, b, s)
		publish(t, r, numbered(s.Name, 1)...)
		ok(t, take(t, q).Settle.Retry(t.Context(), 6*time.Second))
		q.Close()
		ok(t, b.Drop(t.Context(), s))
		for name, want := range map[string]bool{s.Queue: true, delay: true, s.DeadLetter: false} {
			if _, there := exists(t, r, name); there != want {
				t.Errorf("%s while a retry waits: there %t", name, there)
			}
		}
		q = open(t, b, s)
		ok(t, take(t, q).Settle.Done(t.Context()))
		q.Close()
		ok(t, backend(t, r, m).Drop(t.Context(), s)) // by another run, which did not see the delay queue
		for _, name := range []string{s.Queue, delay, s.DeadLetter} {
			if _, there := exists(t, r, name); there {
				t.Errorf("%s is still there", name)
			}
		}
	}
}

func testDeadLetterQueue(t *testing.T, r *lab.Rabbit) {
	m := newMemory()
	b := backend(t, r, m)
	s := subscription("graves", "quorum")
	q := open(t, b, s)
	publish(t, r, numbered(s.Name, 2)...)
	ok(t, take(t, q).Settle.Dead(t.Context(), 1, "no", nil))
	q.Close()
	old := s.DeadLetter
	s.DeadLetter = "graves-2"
	q = open(t, b, s)
	defer q.Close()
	ok(t, take(t, q).Settle.Dead(t.Context(), 1, "no", nil))
	lab.Until(t, soon, "the new one has it, and the old one keeps its own", func() error {
		before, _ := exists(t, r, old)
		after, _ := exists(t, r, s.DeadLetter)
		if before != 1 || after != 1 {
			return fmt.Errorf("%d and %d", before, after)
		}
		return nil
	})
}

func testAlarm(t *testing.T, r *lab.Rabbit) {
	s := subscription("alarm", "quorum")
	b := backend(t, r, newMemory())
	q := open(t, b, s)
	defer q.Close()
	publish(t, r, numbered(s.Name, 20)...)
	ok(t, take(t, q).Settle.Retry(t.Context(), 6*time.Second)) // the connection has published
	r.Ctl("eval", "vm_memory_monitor:set_vm_memory_high_watermark(0.00001).")
	lift := func() { r.Ctl("eval", "vm_memory_monitor:set_vm_memory_high_watermark(0.4).") }
	d := take(t, q)
	lab.Until(t, soon, "a retry waits for the broker", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		err := d.Settle.Retry(ctx, 6*time.Second)
		switch {
		case err == nil:
			d = take(t, q)
			return errors.New("it was taken")
		case !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "takes nothing"):
			return fmt.Errorf("another error: %w", err)
		}
		return nil
	})
	for range 5 { // others are taken and acknowledged meanwhile
		ok(t, take(t, q).Settle.Done(t.Context()))
	}
	if depth, err := q.Depth(t.Context()); err != nil || depth.Waiting == 0 {
		t.Errorf("Depth = %+v, %v", depth, err)
	}
	moved := make(chan error, 1)
	go func() { moved <- d.Settle.Retry(t.Context(), 6*time.Second) }()
	lift()
	ok(t, <-moved)
}

// TestABrokerIsKilledWhileRetriesWait at the moment at which they come back: all of
// them do, some perhaps twice.
func TestABrokerIsKilledWhileRetriesWait(t *testing.T) {
	const n, rounds = 300, 3
	r := startRabbit(t)
	b := lasting(t, r, newMemory())
	kinds := []string{"quorum", "classic"}
	for round := range rounds {
		began := time.Time{}
		for _, kind := range kinds {
			s := subscription("killed-"+kind, kind)
			q := open(t, b, s)
			publish(t, r, numbered(s.Name, n)...)
			for i := range n {
				ok(t, take(t, q).Settle.Retry(t.Context(), 5100*time.Millisecond))
				if i == n/3 {
					began = time.Now()
				}
			}
			q.Close()
		}
		moment := began.Add(5160*time.Millisecond + time.Duration(round*150-150)*time.Millisecond)
		<-time.After(time.Until(moment)) // the moment of the kill is what matters
		r.Kill()
		r.Start()
		r.WaitReady(90 * time.Second)
		for _, kind := range kinds {
			s := subscription("killed-"+kind, kind)
			q := open(t, b, s)
			seen, came := map[string]bool{}, 0
			for len(seen) < n {
				d, err := next(t, q, 30*time.Second)
				if err != nil {
					t.Fatalf("%s: %d of %d came back: %v", kind, len(seen), n, err)
				}
				if d.Attempt != 2 {
					t.Fatalf("%s: attempt %d", d.Event.ID, d.Attempt)
				}
				seen[d.Event.ID] = true
				came++
				ok(t, d.Settle.Done(t.Context()))
			}
			for { // whatever is there twice
				d, err := next(t, q, time.Second)
				if err != nil {
					break
				}
				came++
				ok(t, d.Settle.Done(t.Context()))
			}
			t.Logf("round %d, %s: %d of %d came back, %d twice", round+1, kind, len(seen), n, came-n)
			q.Close()
		}
	}
}

// TestABrokerThatRestartsEndsTheQueue and the next one goes on, over new connections.
func TestABrokerThatRestartsEndsTheQueue(t *testing.T) {
	r := startRabbit(t)
	m := newMemory()
	b := lasting(t, r, m)
	s := subscription("restart", "quorum")
	q := open(t, b, s)
	publish(t, r, numbered(s.Name, 10)...)
	ok(t, take(t, q).Settle.Done(t.Context()))
	ok(t, take(t, q).Settle.Dead(t.Context(), 1, "no", &events.Event{ID: "told", Source: "/mesh", Type: events.DeliveryDeadLettered}))
	lost := take(t, q)
	r.Kill()
	if _, err := next(t, q, soon); err == nil || errors.Is(err, context.DeadlineExceeded) {
		for err == nil { // what was here already
			_, err = next(t, q, soon)
		}
	}
	if err := lost.Settle.Done(t.Context()); err == nil {
		t.Error("an acknowledgement without a broker")
	}
	if err := lost.Settle.Dead(t.Context(), 1, "no", nil); err == nil {
		t.Error("a dead letter without a broker")
	}
	q.Close()
	if _, err := b.Open(t.Context(), s); err == nil || !strings.Contains(err.Error(), r.Addr) {
		t.Errorf("Open = %v", err)
	}
	if _, _, err := b.Dead(t.Context(), s, 1); err == nil {
		t.Error("dead letters without a broker")
	}
	r.Start()
	r.WaitReady(90 * time.Second)
	q = open(t, b, s)
	defer q.Close()
	seen := map[string]bool{} // what was acknowledged just before may come again
	for !seen["restart-0009"] || len(seen) < 8 {
		d := take(t, q)
		seen[d.Event.ID] = true
		ok(t, d.Settle.Done(t.Context()))
	}
	for i := range 8 {
		if !seen[fmt.Sprintf("restart-%04d", i+2)] {
			t.Errorf("came %v", seen)
		}
	}
	lab.Until(t, soon, "the dead letter is there", func() error { // once its queue has a leader again
		list, total, err := b.Dead(t.Context(), s, 10)
		if err == nil && (total != 1 || len(list) != 1 || list[0].ID != "restart-0001" || len(m.Told()) != 1) {
			err = fmt.Errorf("dead letters %+v of %d", list, total)
		}
		return err
	})
}
