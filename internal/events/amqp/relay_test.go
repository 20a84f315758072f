package amqp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"meshlite.dev/internal/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// queue is a log of numbers in memory.
type queue struct {
	mu        sync.Mutex
	last      uint64
	published uint64
	news      chan struct{}
	fail      error
}

func newQueue() *queue { return &queue{news: make(chan struct{})} }

func (q *queue) Read(after uint64, most int) (out []events.Record, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for n := after + 1; n <= q.last && len(out) < most; n++ {
		out = append(out, events.Record{Sequence: n})
	}
	return out, q.fail
}

func (q *queue) News() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.news
}

func (q *queue) Published() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.published
}

func (q *queue) Publish(n uint64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.published = n
	return nil
}

func (q *queue) add(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last += uint64(n)
	close(q.news)
	q.news = make(chan struct{})
}

// broker answers as its script says, then confirms everything.
type broker struct {
	mu     sync.Mutex
	dials  int
	away   error
	script []answer
	got    []uint64
}

type answer struct {
	confirmed int
	err       error
}

func (b *broker) dial(context.Context) (Session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dials++
	if b.away != nil {
		return nil, b.away
	}
	return b, nil
}

func (b *broker) Publish(_ context.Context, all []events.Record) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, rec := range all {
		b.got = append(b.got, rec.Sequence)
	}
	if len(b.script) == 0 {
		return len(all), nil
	}
	a := b.script[0]
	b.script = b.script[1:]
	return min(a.confirmed, len(all)), a.err
}

func (b *broker) Idle(ctx context.Context, wake <-chan struct{}) error {
	select {
	case <-ctx.Done():
	case <-wake:
	}
	return nil
}

func (b *broker) Close() {}

func (b *broker) set(away error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = away
}

// running starts a relay; stop ends it and waits.
func running(t *testing.T, q *queue, b *broker) (r *Relay, stop func()) {
	t.Helper()
	r = New(q, b.dial, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	return r, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func pass(d time.Duration) {
	<-time.After(d) // of the bubble
	synctest.Wait()
}

func TestEventsGoInOrderAndAreMarked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, b := newQueue(), &broker{}
		r, stop := running(t, q, b)
		defer stop()
		q.add(3)
		pass(time.Second)
		q.add(1200)
		pass(time.Second)
		if len(b.got) != 1203 || !slices.IsSorted(b.got) || q.Published() != 1203 || r.Sent() != 1203 || r.Problem() != "" {
			t.Errorf("%d sent, %d marked, %q", len(b.got), q.Published(), r.Problem())
		}
	})
}

func TestWhatIsNotConfirmedIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, b := newQueue(), &broker{script: []answer{{2, errors.New("the broker did not confirm")}, {0, errors.New("closed")}, {1, nil}}}
		_, stop := running(t, q, b)
		defer stop()
		q.add(4)
		pass(time.Minute)
		if want := []uint64{1, 2, 3, 4, 3, 4, 3, 4, 4}; !slices.Equal(b.got, want) || q.Published() != 4 {
			t.Errorf("sent %v, want %v; %d marked", b.got, want, q.Published())
		}
	})
}

func TestAReplayLeavesTheMarkAlone(t *testing.T) {
	q, b := newQueue(), &broker{}
	q.add(1000)
	r := New(q, b.dial, nil)
	all, err := q.Read(0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.Republish(t.Context(), all); n != 1000 || err != nil || len(b.got) != 1000 || !slices.IsSorted(b.got) || q.Published() != 0 {
		t.Errorf("%d, %v; %d marked", n, err, q.Published())
	}
	b.script = []answer{{confirmed: window}, {3, errors.New("closed")}}
	if n, err := r.Republish(t.Context(), all); n != window+3 || err == nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := r.Republish(t.Context(), nil); n != 0 || err != nil || b.dials != 2 {
		t.Errorf("nothing: %d, %v, %d connections", n, err, b.dials)
	}
	b.set(errors.New("connection refused"))
	if _, err := r.Republish(t.Context(), all); err == nil {
		t.Error("no broker, and no error")
	}
}

func TestABrokerThatIsAwayOnlyDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, b := newQueue(), &broker{away: errors.New("connection refused")}
		r, stop := running(t, q, b)
		defer stop()
		q.add(5)
		pass(10 * time.Minute)
		if b.dials < 20 || b.dials > 60 || r.Problem() != "connection refused" { // every 15 to 30 s in the end
			t.Errorf("%d tries, %q", b.dials, r.Problem())
		}
		b.set(nil)
		pass(31 * time.Second)
		if q.Published() != 5 || r.Problem() != "" {
			t.Errorf("%d marked, %q", q.Published(), r.Problem())
		}
	})
}

func TestALogThatCannotBeReadIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, b := newQueue(), &broker{}
		q.fail = errors.New("its pages are damaged")
		r, stop := running(t, q, b)
		defer stop()
		pass(time.Second)
		if r.Problem() != "its pages are damaged" {
			t.Errorf("problem %q", r.Problem())
		}
	})
}

func TestAMessage(t *testing.T) {
	at := time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)
	e := events.Event{ID: "1", Source: "/s", Type: "order.created", Time: at, Extensions: map[string]any{"correlationid": "c"}}
	raw, err := e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	key, m, err := messageOf(events.Record{Sequence: 1, JSON: raw})
	if err != nil || key != "order.created" || m.MessageId != "1" || m.Type != key || m.DeliveryMode != amqp091.Persistent || m.CorrelationId != "c" ||
		m.ContentType != "application/cloudevents+json" || !m.Timestamp.Equal(at) || string(m.Body) != string(raw) {
		t.Errorf("%s %+v %v", key, m, err)
	}
	if _, _, err := messageOf(events.Record{Sequence: 7, JSON: []byte("{")}); err == nil || !strings.Contains(err.Error(), "event 7") {
		t.Errorf("messageOf = %v", err)
	}
}

func TestHints(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("dial: %w", amqp091.ErrCredentials), `user "joe" is refused`},
		{&amqp091.Error{Code: amqp091.AccessRefused}, `user "joe" is refused`},
		{amqp091.ErrVhost, "check the virtual host"},
		{&amqp091.Error{Code: amqp091.NotAllowed}, "check the virtual host"},
		{fmt.Errorf("dial: %w", x509.UnknownAuthorityError{}), "check --amqp-ca-file"},
		{fmt.Errorf("dial: %w", x509.HostnameError{Certificate: &x509.Certificate{}}), "a name that the broker's certificate has"},
		{fmt.Errorf("dial: %w", tls.RecordHeaderError{}), "does not speak TLS"},
		{&amqp091.Error{Code: 501, Reason: "remote error: tls: certificate required"}, "check --amqp-cert-file"},
	} {
		if got := hint(tc.err, "joe"); !strings.Contains(got, tc.want) {
			t.Errorf("%v: %q, want %q", tc.err, got, tc.want)
		}
	}
	if got := hint(errors.New("connection refused"), "joe"); got != "" {
		t.Errorf("a hint for what needs none: %q", got)
	}
}

func TestSettings(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  Config
		want string // "" is no fault
	}{
		{"plain", Config{URL: "amqp://broker:5672/shop"}, ""},
		{"TLS", Config{URL: "amqps://broker", CAFile: "ca", CertFile: "c", KeyFile: "k"}, ""},
		{"none", Config{}, "use amqp://HOST"},
		{"another scheme", Config{URL: "http://broker"}, `--amqp-url is "http://broker"`},
		{"no URL", Config{URL: "amqp://u:secret@broker:x"}, "is no URL"},
		{"a password in the URL", Config{URL: "amqp://u:secret@broker"}, "--amqp-credentials-file"},
		{"a CA without TLS", Config{URL: "amqp://broker", CAFile: "ca"}, "go with amqps://"},
		{"half a pair", Config{URL: "amqps://broker", KeyFile: "k"}, "go together"},
	} {
		err := tc.cfg.Validate()
		if (err == nil) != (tc.want == "") || err != nil && (!strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestCredentialsAreReadAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials")
	for content, want := range map[string]string{"joe:a:b\n": "joe a:b", "joe": "", ":x": "", "joe:x\ny": "", "": ""} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		user, password, err := Config{CredentialsFile: file}.credentials()
		if want == "" && (err == nil || strings.Contains(err.Error(), content+"x")) || want != "" && user+" "+password != want {
			t.Errorf("%q: %s %s %v", content, user, password, err)
		}
	}
	if user, password, err := (Config{}).credentials(); user != "guest" || password != "guest" || err != nil {
		t.Errorf("without a file: %s %s %v", user, password, err)
	}
	if _, _, err := (Config{CredentialsFile: file + "x"}).credentials(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is missing: %v", err)
	}
	for _, c := range []Config{{CAFile: file}, {CAFile: file + "x"}, {CertFile: file, KeyFile: file}} {
		if _, err := c.tls("broker"); err == nil || !strings.Contains(err.Error(), "--amqp-") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
