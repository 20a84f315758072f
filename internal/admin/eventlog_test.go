package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/events"
)

// eventLog keeps events in memory, from a first place on.
type eventLog struct {
	mu    sync.Mutex
	first uint64
	log   []events.Record
	news  chan struct{}
	fault error
	again []uint64 // republished
	lost  error    // the broker, after one event
}

func newEventLog(first uint64) *eventLog { return &eventLog{first: first, news: make(chan struct{})} }

func (l *eventLog) Read(after uint64, most int) (out []events.Record, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rec := range l.log {
		if rec.Sequence > after && len(out) < most {
			out = append(out, rec)
		}
	}
	return out, l.fault
}

func (l *eventLog) Before(at time.Time) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	after := l.first - 1
	for _, rec := range l.log {
		if rec.Received.Before(at) {
			after = rec.Sequence
		}
	}
	return after, l.fault
}

func (l *eventLog) Kept() (first, last uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first, l.first + uint64(len(l.log)) - 1, l.fault
}

func (l *eventLog) News() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.news
}

func (l *eventLog) Publish(_ context.Context, all []events.Event) ([]events.Event, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fault != nil {
		return nil, l.fault
	}
	for i := range all {
		n := l.first + uint64(len(l.log))
		all[i].Sequence = fmt.Sprintf("%010d", n)
		raw, err := all[i].MarshalJSON()
		if err != nil {
			return nil, err
		}
		l.log = append(l.log, events.Record{Sequence: n, Received: now.Add(time.Duration(n) * time.Second), JSON: raw})
	}
	close(l.news)
	l.news = make(chan struct{})
	return all, nil
}

func (l *eventLog) Republish(_ context.Context, all []events.Record) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost != nil {
		return min(1, len(all)), l.lost
	}
	for _, rec := range all {
		l.again = append(l.again, rec.Sequence)
	}
	return len(all), nil
}

func (l *eventLog) add(t *testing.T, typ, subject, data string) {
	t.Helper()
	e := events.Event{ID: "x", Source: "/t", Type: typ, Subject: subject, Time: now, Data: json.RawMessage(data)}
	if _, err := l.Publish(t.Context(), []events.Event{e}); err != nil {
		t.Fatal(err)
	}
}

// sequences are the places of the events of an answer; a gap is "gap".
func sequences(t *testing.T, body string) (out []string) {
	t.Helper()
	for line := range strings.Lines(body) {
		var e struct{ Type, Sequence string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if e.Type == events.Gap {
			e.Sequence = "gap"
		}
		out = append(out, strings.TrimLeft(e.Sequence, "0"))
	}
	return out
}

func withEvents(t *testing.T, l *eventLog) http.Handler {
	t.Helper()
	cfg := config(t)
	cfg.Events = l
	return admin.New(cfg)
}

func TestTheLogIsReadAsAskedFor(t *testing.T) {
	l := newEventLog(1001) // those before are not kept any more
	for i := range 1300 {
		typ := "noise.made"
		if i%400 == 0 {
			typ = "order.created"
		}
		l.add(t, typ, "", fmt.Sprintf(`{"service": "s%d"}`, i%2))
	}
	l.add(t, "mesh.endpoint.added", "service/s7", `{}`)
	h := withEvents(t, l)
	for _, tc := range []struct {
		query string
		want  []string
	}{
		{"?last=2", []string{"2300", "2301"}},
		{"?last=0", nil},
		{"?type=order.*", []string{"1001", "1401", "1801", "2201"}},
		{"?type=order.*&last=3", []string{"1401", "1801", "2201"}},
		{"?type=order.*&last=9", []string{"1001", "1401", "1801", "2201"}},
		{"?type=order.*&after=1401", []string{"1801", "2201"}},
		{"?type=order.*&after=1401&last=1", []string{"2201"}},
		{"?type=order.*&after=700", []string{"gap", "1001", "1401", "1801", "2201"}},
		{"?service=s7", []string{"2301"}},
		{"?service=s0&type=order.%23&last=1", []string{"2201"}},
		{"?service=s1&type=order.%23", nil},
		{"?since=2026-11-24T12:38:18Z", []string{"2298", "2299", "2300", "2301"}},
		{"?after=9999", nil},
	} {
		w := ask(h, "GET", "/v1/events"+tc.query, "")
		if got := sequences(t, w.Body.String()); w.Code != 200 || !slices.Equal(got, tc.want) {
			t.Errorf("%s: %d %q, want %q", tc.query, w.Code, got, tc.want)
		}
	}
	if got := sequences(t, ask(h, "GET", "/v1/events", "").Body.String()); len(got) != 1301 {
		t.Errorf("all: %d", len(got))
	}
}

func TestWhatCannotBeAskedOfTheLog(t *testing.T) {
	l := newEventLog(1)
	h := withEvents(t, l)
	for query, want := range map[string]string{
		"?type=a..b": "no pattern", "?after=-1": `"after": "-1"`, "?last=100000": `"last": "100000"`, "?since=soon": `"since": "soon"`,
		"?follow=yes": `"follow": "yes"`, "?kind=x": "does not know",
	} {
		if w := ask(h, "GET", "/v1/events"+query, ""); w.Code != 400 || !strings.Contains(strings.ReplaceAll(w.Body.String(), `\"`, `"`), want) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	l.fault = errors.New("its pages are damaged")
	for _, query := range []string{"", "?last=0", "?last=3", "?since=1h"} {
		if w := ask(h, "GET", "/v1/events"+query, ""); w.Code != 503 || !strings.Contains(w.Body.String(), "pages are damaged") {
			t.Errorf("%q: %d %s", query, w.Code, w.Body)
		}
	}
	if w := ask(admin.New(config(t)), "GET", "/v1/events", ""); w.Code != 501 || !strings.Contains(w.Body.String(), "--events off") {
		t.Errorf("without a log: %d %s", w.Code, w.Body)
	}
	if w := ask(h, "DELETE", "/v1/events", ""); w.Code != 405 {
		t.Errorf("DELETE: %d", w.Code)
	}
}

func TestEventsArePublished(t *testing.T) {
	l := newEventLog(1)
	h := withEvents(t, l)
	w := ask(h, "POST", "/v1/events", ` [{"type":"order.created","data":1},{"specversion":"1.0","id":"7","source":"/shop","type":"order.paid"}]`)
	var out events.Receipts
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != 200 || len(out.Events) != 2 || out.Events[1] != (events.Receipt{ID: "7", Source: "/shop", Type: "order.paid", Sequence: "0000000002"}) {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	if w := ask(h, "POST", "/v1/events", `{"type":"order.shipped"}`); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for body, want := range map[string]string{
		`{"type":"mesh.service.registered"}`: "the mesh's own", `[]`: "batch is empty", `{}`: "type: is missing", `[{"type":"a"},{}]`: "event 1", `nothing`: "no JSON object",
	} {
		if w := ask(h, "POST", "/v1/events", body); w.Code != 400 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	if got := sequences(t, ask(h, "GET", "/v1/events", "").Body.String()); len(got) != 3 {
		t.Errorf("%q kept", got)
	}
	l.fault = errors.New("no space left on device")
	if w := ask(h, "POST", "/v1/events", `{"type":"a"}`); w.Code != 503 || !strings.Contains(w.Body.String(), "no space left") {
		t.Errorf("a full disk: %d %s", w.Code, w.Body)
	}
}

func TestAPartOfTheLogIsPublishedAgain(t *testing.T) {
	l := newEventLog(101)
	for i := range 12_000 {
		l.add(t, []string{"order.created", "noise.made"}[i%2], "", `1`)
	}
	h := withEvents(t, l)
	replay := func(body string) (out adminapi.ReplayResponse) {
		t.Helper()
		w := ask(h, "POST", "/v1/events/replay", body)
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %s", body, w.Code, w.Body)
		}
		return out
	}
	if out := replay(`{"after": 200, "until": 210, "type": "order.*"}`); out != (adminapi.ReplayResponse{Published: 5, Next: 210, Until: 210, Done: true}) || !slices.Equal(l.again, []uint64{201, 203, 205, 207, 209}) {
		t.Errorf("%+v %v", out, l.again)
	}
	if out := replay(`{"after": 12090}`); out.Published != 10 || !out.Done || out.Until != 12_100 {
		t.Errorf("the end: %+v", out)
	}
	if out := replay(`{"since": "2026-11-24T15:21:40Z"}`); out.Published != 1 || !out.Done { // the last one was received then
		t.Errorf("since: %+v", out)
	}
	l.again = nil
	for out, parts := (adminapi.ReplayResponse{}), 0; !out.Done; parts++ {
		if out = replay(fmt.Sprintf(`{"after": %d, "until": %d}`, out.Next, out.Until)); parts > 3 {
			t.Fatalf("it does not end: %+v", out)
		}
	}
	if len(l.again) != 12_000 || !slices.IsSorted(l.again) {
		t.Errorf("%d published again", len(l.again))
	}
	for body, want := range map[string]string{`{"type": "a..b"}`: "no pattern", `{"since": "soon"}`: "since", `{"from": 1}`: "unknown field"} {
		if w := ask(h, "POST", "/v1/events/replay", body); w.Code != 400 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	l.lost = errors.New("the broker ended the connection")
	if w := ask(h, "POST", "/v1/events/replay", `{}`); w.Code != 503 || !strings.Contains(w.Body.String(), "after 1 event") {
		t.Errorf("a broker that dies: %d %s", w.Code, w.Body)
	}
	l.lost = admin.ErrNoBroker
	if w := ask(h, "POST", "/v1/events/replay", `{}`); w.Code != 501 {
		t.Errorf("no broker: %d %s", w.Code, w.Body)
	}
}

func TestATailFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, l := config(t), newEventLog(1)
		cfg.Events = l
		l.add(t, "order.created", "", `1`)
		p, stop := running(t, cfg)
		client := p.dial(t, "/v1/events?follow=true&type=order.*")
		lines := decodeLines(t, client)
		if e := <-lines; e.Type != "order.created" {
			t.Errorf("got %+v", e)
		}
		<-time.After(10 * time.Minute)
		l.add(t, "noise.made", "", `1`)
		l.add(t, "order.paid", "", `1`)
		if e := <-lines; e.Type != "order.paid" {
			t.Errorf("got %+v", e)
		}
		stop() // ends the tail as well
		if _, ok := <-lines; ok {
			t.Error("the stream goes on after the server stopped")
		}
		client.Close()
	})
}
