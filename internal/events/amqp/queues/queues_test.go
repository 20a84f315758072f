package queues

import (
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/amqp"
	"meshlite.dev/internal/events/dispatch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStepsAreAFifthLongerAtMost(t *testing.T) {
	for d := time.Millisecond; d < 30*24*time.Hour; d += d/7 + time.Millisecond {
		got := step(d)
		if got < d || d > shortest && got > d+d/5+2*time.Millisecond || got < shortest || got%time.Millisecond != 0 {
			t.Errorf("%s waits for %s", d, got)
		}
	}
	if got := step(1000 * 24 * time.Hour); got.Milliseconds() != 1<<32-1 {
		t.Errorf("a thousand days are %s", got)
	}
	all := steps(inMemory+time.Millisecond, time.Minute)
	if len(all) != 15 || all[0] != 5160*time.Millisecond || all[len(all)-1] < time.Minute {
		t.Errorf("the pauses up to a minute are %s", all)
	}
	for _, wait := range all {
		found := false
		for _, other := range steps(shortest, askedFor) {
			found = found || other == wait
		}
		if !found {
			t.Errorf("%s is none of all steps", wait)
		}
	}
}

func TestPlannedWaits(t *testing.T) {
	s := dispatch.Subscription{Max: time.Minute}
	if got := planned(s); len(got) != 15 {
		t.Errorf("%s", got)
	}
	s.Ordered = true // keeps its event at hand
	if got := planned(s); got != nil {
		t.Errorf("in order: %s", got)
	}
	if got := planned(dispatch.Subscription{Max: inMemory}); got != nil {
		t.Errorf("short ones: %s", got)
	}
}

func TestHeadersThatAreNumbers(t *testing.T) {
	for _, tc := range []struct {
		value any
		want  int
	}{
		{int64(3), 3}, {int32(3), 3}, {uint8(3), 3}, {"3", 3}, {[]byte("3"), 3}, {nil, 0}, {"three", 0}, {int64(-1), 0},
		{int64(1) << 40, 0}, {3.5, 0}, {amqp091.Table{}, 0}, {true, 0}, {time.Now(), 0},
	} {
		if got := number(amqp091.Table{"n": tc.value}, "n"); got != tc.want {
			t.Errorf("%v (%T) is %d", tc.value, tc.value, got)
		}
	}
	if got := attemptOf(amqp091.Delivery{Headers: amqp091.Table{headerAttempt: int64(1<<31 - 1)}}); got <= 0 {
		t.Errorf("attempt %d", got)
	}
}

func TestAMessageOnceMore(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	m := amqp091.Delivery{
		Headers: amqp091.Table{"x-death": []any{}, "x-first-death-reason": "expired", "BCC": "q", "trace": "1", headerReason: "old", headerAttempt: int64(7)},
		UserId:  "joe", Expiration: "10", Body: []byte("{}"),
	}
	got := again(m, events.Event{ID: "1", Time: at}, amqp091.Table{headerAttempt: int64(1)})
	if len(got.Headers) != 2 || got.Headers["trace"] != "1" || got.Headers[headerAttempt] != int64(1) || got.UserId != "" || got.Expiration != "" ||
		got.DeliveryMode != amqp091.Persistent || got.MessageId != "1" || !got.Timestamp.Equal(at) {
		t.Errorf("%+v", got)
	}
	if m.Headers["x-death"] == nil {
		t.Error("the message itself was changed")
	}
	if got := again(amqp091.Delivery{Body: []byte("x")}, events.Event{}, nil); len(got.MessageId) != 32 {
		t.Errorf("id %q", got.MessageId)
	}
}

func TestDeadLettersOfTheBrokersOwn(t *testing.T) {
	d := deadLetterOf(amqp091.Delivery{Headers: amqp091.Table{"x-first-death-reason": "delivery_limit"}, Body: []byte(`{"type":"a"}`), MessageId: "1"})
	if d.ID != "1" || d.Type != "a" || d.Reason != "the broker gave it up: delivery_limit" || !d.At.IsZero() || len(d.Event) == 0 {
		t.Errorf("%+v", d)
	}
	d = deadLetterOf(amqp091.Delivery{Body: []byte(`[1]`)})
	if len(d.ID) != 32 || string(d.Event) != "[1]" || d.Body != nil || d.Reason == "" {
		t.Errorf("%+v", d)
	}
}

// nothing remembers nothing.
type nothing struct{}

func (nothing) Known() ([]dispatch.Subscription, error) { return nil, nil }
func (nothing) Remember(dispatch.Subscription) error    { return nil }
func (nothing) Forget(string) error                     { return nil }

func TestABrokerThatIsAway(t *testing.T) {
	b := New(amqp.NewBroker(amqp.Config{URL: "amqp://127.0.0.1:1"}), nothing{}, nil, nil)
	defer b.Close()
	s := dispatch.Subscription{Queue: "q", DeadLetter: "q.dlq", QueueType: "quorum", Bindings: "a.*"}
	_, opened := b.Open(t.Context(), s)
	_, _, listed := b.Dead(t.Context(), s, 1)
	_, requeued := b.Requeue(t.Context(), s, nil)
	_, purged := b.Purge(t.Context(), s, nil)
	for what, err := range map[string]error{"Open": opened, "Dead": listed, "Requeue": requeued, "Purge": purged, "Drop": b.Drop(t.Context(), s)} {
		if err == nil || !strings.Contains(err.Error(), "connect to the broker at 127.0.0.1:1") {
			t.Errorf("%s = %v", what, err)
		}
	}
}
