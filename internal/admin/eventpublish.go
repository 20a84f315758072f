package admin

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/events"
)

// publishEvents keeps events of whoever may write here.
func (a *api) publishEvents(r *http.Request, body []byte) (any, string, error) {
	in := events.Input{ContentType: "application/json", Body: body, Source: "/mesh/admin", Received: a.Now()}
	all := make([]events.Event, 1)
	var err error
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		all, err = events.ParseBatch(in)
	} else {
		all[0], err = events.Parse(in)
	}
	for i := range all {
		if err == nil && strings.HasPrefix(all[i].Type, events.Reserved) {
			err = fmt.Errorf("type: %.80q: types under %s are the mesh's own", all[i].Type, events.Reserved)
		}
	}
	if err == nil && len(all) == 0 {
		err = errors.New("the batch is empty")
	}
	if err != nil {
		return nil, "", fail(http.StatusBadRequest, `send {"type": "order.created", "data": {}}, a CloudEvent, or an array of them`, "%v", err)
	}
	kept, err := a.Events.Publish(r.Context(), all)
	if err != nil {
		return nil, "", fail(http.StatusServiceUnavailable, "send it again later, with the same id", "the events are not kept: %v", err)
	}
	out := adminapi.PublishResponse{Events: make([]adminapi.PublishedEvent, len(kept))}
	for i, e := range kept {
		out.Events[i] = adminapi.PublishedEvent{ID: e.ID, Source: e.Source, Type: e.Type, Sequence: e.Sequence}
	}
	return out, fmt.Sprintf("%s published, the first %s %s", plural(len(kept), "event"), kept[0].Type, kept[0].ID), nil
}
