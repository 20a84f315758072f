package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/events/dispatch"
)

// How many dead letters a page has, and at most.
const (
	fewLetters  = 100
	mostLetters = 1_000
)

// lettersOf is where the subscription that the path names keeps its dead letters.
func (a *api) lettersOf(r *http.Request) (dispatch.DeadLetters, dispatch.Subscription, error) {
	s, err := a.subscriptionOf(r)
	if err != nil {
		return nil, dispatch.Subscription{}, err
	}
	if s.State == dispatch.Conflicting {
		return nil, dispatch.Subscription{}, fail(http.StatusConflict, "correct the document", "the dead letters of %s are another's: %s", s.Key(), s.Problem)
	}
	letters, of, ok := a.Subscriptions.Letters(s.Key())
	if !ok { // gone meanwhile
		return nil, of, fail(http.StatusNotFound, "meshctl events subscription list shows those in force", "no subscription %s is in force", s.Key())
	}
	return letters, of, nil
}

// deadLetters lists the oldest ones, or shows the one with an id.
func (a *api) deadLetters(r *http.Request) (any, error) {
	q, err := query(r, "limit", "id")
	if err != nil {
		return nil, err
	}
	limit := fewLetters
	if text := q["limit"]; text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > mostLetters {
			return nil, fail(http.StatusBadRequest, fmt.Sprintf("use 1 to %d", mostLetters), "parameter \"limit\": %.80q cannot be used", text)
		}
	}
	letters, of, err := a.lettersOf(r)
	if err != nil {
		return nil, err
	}
	if q["id"] != "" {
		limit = mostLetters
	}
	list, total, err := letters.Dead(r.Context(), of, limit)
	if err != nil {
		return nil, noLetters(of, err)
	}
	out := adminapi.DeadLetters{Subscription: of.Key(), Queue: of.DeadLetter, Total: total, Items: []dispatch.DeadLetter{}}
	for _, l := range list {
		if q["id"] == "" {
			l.Event, l.Body = nil, nil
		} else if l.ID != q["id"] {
			continue
		}
		out.Items = append(out.Items, l)
	}
	if q["id"] != "" && len(out.Items) == 0 {
		looked := ""
		if total > uint64(len(list)) {
			looked = fmt.Sprintf(" among the oldest %d of %d", len(list), total)
		}
		return nil, fail(http.StatusNotFound, "meshctl events dlq list shows them", "%s has no dead letter %.80q%s", of.Key(), q["id"], looked)
	}
	return out, nil
}

func noLetters(of dispatch.Subscription, err error) error {
	return fail(http.StatusServiceUnavailable, "meshctl doctor says more; try again", "the dead-letter queue %s: %v", of.DeadLetter, err)
}

// settleLetters requeues or purges dead letters.
func (a *api) settleLetters(did string, do func(dispatch.DeadLetters, context.Context, dispatch.Subscription, []string) (int, error)) change {
	return func(r *http.Request, body []byte) (any, string, error) {
		var req adminapi.DeadLetterRequest
		if err := decode(body, &req); err != nil {
			return nil, "", err
		}
		switch err := saidBy(req.By); {
		case err != nil:
			return nil, "", fail(http.StatusBadRequest, "say it shorter", "%v", err)
		case req.All == (len(req.IDs) > 0):
			return nil, "", fail(http.StatusBadRequest, `send {"ids": ["…"]} or {"all": true}`, "ids, all: exactly one of them must be given")
		case slices.Contains(req.IDs, ""):
			return nil, "", fail(http.StatusBadRequest, "meshctl events dlq list shows them", "ids[%d]: is empty: must be the id of an event", slices.Index(req.IDs, ""))
		}
		letters, of, err := a.lettersOf(r)
		if err != nil {
			return nil, "", err
		}
		ids := req.IDs
		if req.All {
			ids = nil
		}
		n, err := do(letters, r.Context(), of, ids)
		what := fmt.Sprintf("%s of %s %s%s", plural(n, "dead letter"), of.Key(), did, by(req.By))
		switch {
		case err != nil && n > 0:
			return nil, "", noLetters(of, fmt.Errorf("%s, then: %w", what, err))
		case err != nil:
			return nil, "", noLetters(of, err)
		case n == 0 && !req.All:
			return nil, "", fail(http.StatusNotFound, "meshctl events dlq list shows them", "%s has no such dead letter", of.Key())
		}
		return adminapi.DeadLetterResponse{Count: n}, what, nil
	}
}
