package admin

import (
	"fmt"
	"net/http"

	"meshlite.dev/internal/events"
)

// publishEvents keeps events of whoever may write here.
func (a *api) publishEvents(r *http.Request, body []byte) (any, string, error) {
	all, err := events.Take(events.Input{Body: body, Source: "/mesh/admin", Received: a.Now()})
	if err != nil {
		return nil, "", fail(http.StatusBadRequest, `send {"type": "order.created", "data": {}}, a CloudEvent, or an array of them`, "%v", err)
	}
	kept, err := a.Events.Publish(r.Context(), all)
	if err != nil {
		return nil, "", fail(http.StatusServiceUnavailable, "send it again later, with the same id", "the events are not kept: %v", err)
	}
	return events.ReceiptsOf(kept), fmt.Sprintf("%s published, the first %s %s", plural(len(kept), "event"), kept[0].Type, kept[0].ID), nil
}
