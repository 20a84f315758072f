package admin

import (
	"errors"
	"fmt"
	"net/http"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/events"
)

// ErrNoBroker reports that there is nowhere to publish the log to.
var ErrNoBroker = errors.New("this server publishes to no broker")

// replayMost is how much of the log one request goes through.
const replayMost = 5_000

// replayEvents publishes a part of the log to the broker again.
func (a *api) replayEvents(r *http.Request, body []byte) (any, string, error) {
	var req adminapi.ReplayRequest
	if err := decode(body, &req); err != nil {
		return nil, "", err
	}
	t, err := a.replayOf(&req)
	if err != nil {
		return nil, "", err
	}
	out := adminapi.ReplayResponse{Next: t.after, Until: req.Until}
	var again []events.Record
	for seen := 0; seen < replayMost && out.Next < req.Until; {
		page, err := a.Events.Read(out.Next, min(eventPage, replayMost-seen))
		if err != nil {
			return nil, "", noLog(err)
		}
		if len(page) == 0 {
			out.Next = req.Until // the rest is not there
		}
		for _, rec := range page {
			if rec.Sequence <= req.Until && t.match(rec) {
				again = append(again, rec)
			}
			out.Next = min(rec.Sequence, req.Until)
		}
		seen += len(page)
	}
	out.Done = out.Next >= req.Until
	if out.Published, err = a.Events.Republish(r.Context(), again); err != nil {
		return nil, "", notReplayed(err, out.Published)
	}
	return out, fmt.Sprintf("%s published again, up to %d", plural(out.Published, "event"), out.Next), nil
}

// replayOf checks a request and fills in where it ends.
func (a *api) replayOf(req *adminapi.ReplayRequest) (t tail, err error) {
	t.after = req.After
	if req.Type != "" {
		p, err := events.ParsePattern(req.Type)
		if err != nil {
			return t, fail(http.StatusBadRequest, "", "type: %v", err)
		}
		t.pattern = &p
	}
	if req.Since != "" {
		at, ok := sinceOf(req.Since, a.Now())
		if !ok {
			return t, fail(http.StatusBadRequest, "use a duration such as 10m, or a time such as 2026-11-23T14:00:00Z", "since: %.80q cannot be used", req.Since)
		}
		before, err := a.Events.Before(at)
		if err != nil {
			return t, noLog(err)
		}
		t.after = max(t.after, before)
	}
	_, last, err := a.Events.Kept()
	if err != nil {
		return t, noLog(err)
	}
	if req.Until == 0 || req.Until > last {
		req.Until = last
	}
	return t, nil
}

func notReplayed(err error, published int) error {
	if errors.Is(err, ErrNoBroker) {
		return fail(http.StatusNotImplemented, "start it with --events amqp; meshctl events tail shows the log", "%v", err)
	}
	return fail(http.StatusServiceUnavailable, "repeat it: who receives drops what it had already", "after %s: %v", plural(published, "event"), err)
}
