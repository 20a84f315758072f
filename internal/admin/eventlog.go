package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"meshlite.dev/internal/events"
)

// Events is the log of domain events. Its methods may be called by many
// goroutines.
type Events interface {
	// Read returns events after a sequence number, oldest first; none are left
	// when it returns none.
	Read(after uint64, most int) ([]events.Record, error)
	// Before returns the sequence number after which events were received at a
	// time or later.
	Before(at time.Time) (after uint64, err error)
	// Kept returns the sequence numbers of the first and the last event kept;
	// first is over last where there are none.
	Kept() (first, last uint64, err error)
	// News returns a channel that is closed when there are more.
	News() <-chan struct{}
	// Publish keeps events durably and returns them with their places.
	Publish(ctx context.Context, all []events.Event) ([]events.Event, error)
	// Republish sends events of the log to the broker again and returns how many
	// it has; ErrNoBroker where there is none.
	Republish(ctx context.Context, all []events.Record) (int, error)
}

// eventPage is how many events are read from the log at once.
const eventPage = 500

// maxLast is the most events that last= may ask for.
const maxLast = 10_000

func (a *api) eventPages(mux *http.ServeMux) {
	if a.Events == nil {
		mux.Handle("/v1/events", a.guarded(reply(func(*http.Request) (any, error) {
			return nil, fail(http.StatusNotImplemented, "start xds-server without --events off", "this server keeps no events")
		})))
		return
	}
	mux.Handle("GET /v1/events", a.guarded(get(http.HandlerFunc(a.tailEvents))))
	mux.Handle("POST /v1/events", a.guarded(post(a.audited(events.MaxEvent, a.publishEvents))))
	mux.Handle("/v1/events/replay", a.guarded(post(a.audited(maxBody, a.replayEvents))))
	mux.Handle("/v1/events", a.guarded(method(nil, http.MethodGet, http.MethodPost)))
}

// tail is what a client wants to see of the log.
type tail struct {
	pattern *events.Pattern // nil: every type
	service string
	after   uint64
	last    int // events before the end, if over 0; after is then set by it
	follow  bool
}

func (a *api) tailOf(r *http.Request) (t tail, err error) {
	q, err := query(r, "type", "service", "since", "after", "last", "follow")
	if err != nil {
		return t, err
	}
	bad := func(name, right string) error {
		return fail(http.StatusBadRequest, right, "parameter %q: %.80q cannot be used", name, q[name])
	}
	if q["type"] != "" {
		p, err := events.ParsePattern(q["type"])
		if err != nil {
			return t, fail(http.StatusBadRequest, "", "parameter \"type\": %v", err)
		}
		t.pattern = &p
	}
	t.service, t.follow = q["service"], q["follow"] == "true"
	if f := q["follow"]; f != "" && f != "true" && f != "false" {
		return t, bad("follow", "use true or false")
	}
	if q["after"] != "" {
		if t.after, err = strconv.ParseUint(q["after"], 10, 63); err != nil {
			return t, bad("after", "use a sequence number")
		}
	}
	if q["last"] != "" {
		if t.last, err = strconv.Atoi(q["last"]); err != nil || t.last < 0 || t.last > maxLast {
			return t, bad("last", fmt.Sprintf("use 0 to %d", maxLast))
		}
		if t.last == 0 {
			if _, t.after, err = a.Events.Kept(); err != nil {
				return t, noLog(err)
			}
		}
	}
	if q["since"] != "" {
		at, ok := sinceOf(q["since"], a.Now())
		if !ok {
			return t, bad("since", "use a duration such as 10m, or a time such as 2026-11-23T14:00:00Z")
		}
		before, err := a.Events.Before(at)
		if err != nil {
			return t, noLog(err)
		}
		t.after = max(t.after, before)
	}
	return t, nil
}

func sinceOf(text string, now time.Time) (time.Time, bool) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), true
	}
	at, err := time.Parse(time.RFC3339, text)
	return at, err == nil
}

// tailEvents writes events as JSON lines, oldest first; with follow also those
// that come, until the client goes.
func (a *api) tailEvents(w http.ResponseWriter, r *http.Request) {
	t, err := a.tailOf(r)
	if err == nil {
		err = a.findEvents(&t)
	}
	if err != nil {
		writeFailure(w, err)
		return
	}
	out, err := startLines(w)
	if err != nil {
		return
	}
	idle := time.NewTicker(watchIdle)
	defer idle.Stop()
	for {
		news := a.Events.News()
		if err := a.writeEvents(out, &t); err != nil {
			a.Log.DebugContext(r.Context(), "tail ended", "remote", r.RemoteAddr, "err", err)
			return
		}
		if !t.follow {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-idle.C:
			if out.line(nil) != nil {
				return
			}
		case <-news:
		}
	}
}

// writeEvents writes all there is after t.after, and moves it.
func (a *api) writeEvents(out lines, t *tail) error {
	for {
		first, _, err := a.Events.Kept()
		if err != nil {
			return err
		}
		if t.after > 0 && t.after+1 < first {
			if err := out.line(notKept(t.after, first, a.Now())); err != nil {
				return err
			}
			t.after = first - 1
		}
		page, err := a.Events.Read(t.after, eventPage)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, rec := range page {
			t.after = rec.Sequence
			if !t.match(rec) {
				continue
			}
			if err := out.line(rec.JSON); err != nil {
				return err
			}
		}
	}
}

// notKept tells a reader who asked for more than there is.
func notKept(after, first uint64, now time.Time) json.RawMessage {
	data, err := json.Marshal(events.GapData{Reason: fmt.Sprintf("events %d to %d are not kept any more", after+1, first-1), Scope: "log"})
	if err != nil { // a bug: it is plain data
		return json.RawMessage("{}")
	}
	e := events.Event{
		ID: events.ID("", events.Gap, "events", strconv.FormatUint(first, 10), data), Source: "/mesh/log",
		Type: events.Gap, Subject: "events", Time: now, Data: data,
	}
	raw, err := e.MarshalJSON()
	if err != nil { // the same
		return json.RawMessage("{}")
	}
	return raw
}

func noLog(err error) error {
	return fail(http.StatusServiceUnavailable, "meshctl doctor says more", "the log of events cannot be read: %v", err)
}

// findEvents moves t to where the last few begin, where those are asked for.
func (a *api) findEvents(t *tail) error {
	first, last, err := a.Events.Kept()
	if err == nil && t.last > 0 {
		t.after, err = a.lastEvents(*t, first, last)
	}
	if err != nil {
		return noLog(err)
	}
	return nil
}

// lastEvents goes through the log by pages, from its end.
func (a *api) lastEvents(t tail, first, last uint64) (after uint64, err error) {
	var found []uint64 // newest first
	for end := last; end >= first && end > 0; {
		begin := max(first, end-min(end, eventPage)+1)
		var matched []uint64
		for at := begin - 1; at < end; {
			page, err := a.Events.Read(at, eventPage)
			if err != nil {
				return 0, err
			}
			if len(page) == 0 {
				break
			}
			for _, rec := range page {
				at = rec.Sequence
				if rec.Sequence <= end && t.match(rec) {
					matched = append(matched, rec.Sequence)
				}
			}
		}
		for i := len(matched) - 1; i >= 0; i-- {
			found = append(found, matched[i])
		}
		if len(found) >= t.last {
			return max(found[t.last-1]-1, t.after), nil
		}
		end = begin - 1
	}
	return max(first-1, t.after), nil
}

// match reports whether a client wants to see an event.
func (t *tail) match(rec events.Record) bool {
	if t.pattern == nil && t.service == "" {
		return true
	}
	var e struct {
		Type    string          `json:"type"`
		Subject string          `json:"subject"`
		Data    json.RawMessage `json:"data"`
	}
	if json.Unmarshal(rec.JSON, &e) != nil {
		return false
	}
	if t.pattern != nil && !t.pattern.Match(e.Type) {
		return false
	}
	if t.service == "" || e.Subject == "service/"+t.service {
		return true
	}
	var data struct {
		Service string `json:"service"`
	}
	return json.Unmarshal(e.Data, &data) == nil && data.Service == t.service
}
