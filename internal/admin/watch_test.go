package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/admin/adminapi"
)

// pipes is a listener on pipes in memory: connections in a bubble's own time.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// dial connects and sends a request.
func (p *pipes) dial(t *testing.T, path string) net.Conn {
	t.Helper()
	client, srv := net.Pipe()
	p.conns <- srv
	if _, err := io.WriteString(client, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return client
}

// running serves cfg on pipes within a bubble; stop ends it and fails the test
// when it does not end well.
func running(t *testing.T, cfg admin.Config) (p *pipes, stop func()) {
	t.Helper()
	log, _ := logs()
	p = newPipes()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- admin.Serve(ctx, p, admin.New(cfg), nil, log) }()
	return p, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// decodeLines reads an answer of JSON lines until it ends.
func decodeLines(t *testing.T, client net.Conn) <-chan adminapi.Event {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(client), nil) //nolint:bodyclose // closed by the goroutine below
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	events := make(chan adminapi.Event, 10)
	go func() {
		defer close(events)
		defer resp.Body.Close()
		for d := json.NewDecoder(resp.Body); ; {
			var e adminapi.Event
			if d.Decode(&e) != nil {
				return
			}
			events <- e
		}
	}()
	return events
}

func TestWatchStreamsEventsForAsLongAsTheClientStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t)
		cfg.Hub = admin.NewHub(nil)
		p, stop := running(t, cfg)
		client := p.dial(t, "/v1/watch?service=orders")
		events := decodeLines(t, client)
		<-time.After(10 * time.Minute) // far beyond every timeout of the server; the idle lines go on
		cfg.Hub.Publish(adminapi.Event{Type: "service.changed", Service: "pay"}, adminapi.Event{Type: "service.changed", Service: "orders", Message: "m"})
		if e := <-events; e.Service != "orders" || e.Message != "m" || e.Time.IsZero() {
			t.Errorf("got %+v, want that of orders alone", e)
		}
		stop() // ends the watch as well
		if _, ok := <-events; ok {
			t.Error("the stream goes on after the server stopped")
		}
		client.Close()
		if n, hungUp := cfg.Hub.Stats(); n != 0 || hungUp != 0 {
			t.Errorf("%d clients, %d hung up; want none", n, hungUp)
		}
	})
}

func TestASlowWatchIsHungUpOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t)
		cfg.Hub = admin.NewHub(nil)
		p, stop := running(t, cfg)
		client := p.dial(t, "/v1/watch") // and never reads
		synctest.Wait()
		for range 1000 {
			cfg.Hub.Publish(adminapi.Event{Type: "service.changed", Service: "orders"})
		}
		if n, hungUp := cfg.Hub.Stats(); n != 0 || hungUp != 1 {
			t.Errorf("%d clients, %d hung up; want none and one", n, hungUp)
		}
		<-time.After(11 * time.Second) // the write that is stuck runs into its deadline
		synctest.Wait()
		client.Close()
		stop()
	})
}

func TestAQueueThatIsFullEndsTheStreamAfterWhatItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t)
		cfg.Hub = admin.NewHub(nil)
		log, out := logs()
		cfg.Log = log
		p, stop := running(t, cfg)
		client := p.dial(t, "/v1/watch")
		reader := bufio.NewReader(client)
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		synctest.Wait()
		burst := make([]adminapi.Event, 300) // within one Publish nobody can read
		for i := range burst {
			burst[i] = adminapi.Event{Type: "service.changed"}
		}
		cfg.Hub.Publish(burst...)
		body, err := io.ReadAll(resp.Body)
		if n := strings.Count(string(body), "service.changed"); err != nil || n < 256 || n >= 300 {
			t.Errorf("%d events before the end (%v), want what the queue held", n, err)
		}
		synctest.Wait()
		if !strings.Contains(out.String(), "too slow") {
			t.Errorf("the log does not say why: %s", out)
		}
		client.Close()
		stop()
	})
}

func TestServeStopsWithItsContext(t *testing.T) {
	log, _ := logs()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- admin.Serve(ctx, lis, admin.New(config(t)), nil, log) }()
	resp, err := http.Get("http://" + lis.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", lis.Addr().String()); err == nil {
		t.Error("the listener is still open")
	}
}
