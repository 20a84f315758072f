package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/web"
)

// keeper keeps events in memory.
type keeper struct {
	mu   sync.Mutex
	all  []events.Event
	fail error
	hold chan struct{} // nil: at once
}

func (k *keeper) publish(_ context.Context, all []events.Event) ([]events.Event, error) {
	if k.hold != nil {
		<-k.hold
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return nil, k.fail
	}
	k.all = append(k.all, all...)
	return all, nil
}

func post(h http.Handler, contentType, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, web.Path, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestEveryFormIsTaken(t *testing.T) {
	k := &keeper{}
	h := web.New(k.publish)
	for _, tc := range []struct {
		name, contentType, body string
		headers                 []string
		want                    string // ids, sources and types
	}{
		{"structured", "application/cloudevents+json", `{"specversion":"1.0","id":"1","source":"/shop","type":"order.created"}`, nil, "1 /shop order.created"},
		{"binary", "application/json", `{"n":1}`, []string{"Ce-Specversion", "1.0", "Ce-Id", "2", "Ce-Source", "/shop", "Ce-Type", "order.paid"}, "2 /shop order.paid"},
		{"binary, an array", "application/json", `[1]`, []string{"Ce-Specversion", "1.0", "Ce-Id", "3", "Ce-Source", "/shop", "Ce-Type", "order.paid"}, "3 /shop order.paid"},
		{"bare, as curl sends it", "application/x-www-form-urlencoded", `{"type":"order.created","id":"4","data":{}}`, nil, "4 /app order.created"},
		{"a batch", "application/cloudevents-batch+json", `[{"specversion":"1.0","id":"5","source":"/a","type":"b"},{"specversion":"1.0","id":"6","source":"/a","type":"c"}]`, nil, "5 /a b, 6 /a c"},
		{"an array", "application/json", `[{"type":"b","id":"7"}]`, nil, "7 /app b"},
	} {
		w := post(h, tc.contentType, tc.body, tc.headers...)
		var out events.Receipts
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != http.StatusAccepted {
			t.Errorf("%s: %d %s", tc.name, w.Code, w.Body)
			continue
		}
		var got []string
		for _, e := range out.Events {
			got = append(got, e.ID+" "+e.Source+" "+e.Type)
		}
		if strings.Join(got, ", ") != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	if len(k.all) != 7 {
		t.Errorf("%d kept", len(k.all))
	}
}

func TestWhatIsNotTaken(t *testing.T) {
	k := &keeper{}
	h := web.New(k.publish)
	big := `{"type":"a","data":"` + strings.Repeat("x", events.MaxEvent) + `"}`
	many := "[" + strings.Repeat(`{"type":"a"},`, events.MaxBatch) + `{"type":"a"}]`
	for _, tc := range []struct {
		name, contentType, body string
		code                    int
		want                    string
	}{
		{"not JSON", "application/json", "hello", 400, "no JSON object"},
		{"all faults", "application/json", `{"type":"a..b","id":1}`, 400, "id: 1: must be a string"},
		{"the mesh's own", "application/json", `{"type":"mesh.service.registered"}`, 400, "are the mesh's own"},
		{"the mesh's own in a batch", "application/json", `[{"type":"a"},{"type":"mesh.x"}]`, 400, "are the mesh's own"},
		{"no batch", "application/cloudevents-batch+json", `{"type":"a"}`, 400, "no JSON array"},
		{"an empty batch", "application/cloudevents-batch+json", `[]`, 400, "batch is empty"},
		{"a large batch", "application/json", many, 400, "has 1001 events"},
		{"too large", "application/json", big, 413, "at most 1048576 bytes"},
	} {
		w := post(h, tc.contentType, tc.body)
		if w.Code != tc.code || !strings.Contains(w.Body.String(), tc.want) || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s, want %d with %q", tc.name, w.Code, w.Body, tc.code, tc.want)
		}
	}
	r := httptest.NewRequest(http.MethodPost, web.Path, struct{ *strings.Reader }{strings.NewReader(big)}) // its length is not told
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != 413 {
		t.Errorf("too large, in chunks: %d", w.Code)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, web.Path, nil))
	if w.Code != 405 || w.Header().Get("Allow") != "POST" {
		t.Errorf("GET: %d", w.Code)
	}
	if len(k.all) != 0 {
		t.Errorf("%d kept", len(k.all))
	}
	k.fail = errors.New("no space left on device")
	if w := post(h, "application/json", `{"type":"a"}`); w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "no space left") {
		t.Errorf("a full disk: %d %s", w.Code, w.Body)
	}
	k.fail = fmt.Errorf("write: %w", web.ErrFull)
	if w := post(h, "application/json", `{"type":"a"}`); w.Code != 429 || w.Header().Get("Retry-After") == "" {
		t.Errorf("a full outbox: %d %s", w.Code, w.Body)
	}
}

func TestTooManyAtOnceAreSentAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{hold: make(chan struct{})}
		h := web.New(k.publish)
		const clients = 100
		codes := make(chan *httptest.ResponseRecorder, clients)
		for range clients {
			go func() { codes <- post(h, "application/json", `{"type":"a"}`) }()
		}
		sent := 0
		for range clients - 64 {
			w := <-codes
			if w.Code != 429 || w.Header().Get("Retry-After") != "1" {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			sent++
		}
		close(k.hold)
		for range clients - sent {
			if w := <-codes; w.Code != http.StatusAccepted {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		}
	})
}
