package admin

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/events/pauses"
)

// Subscriptions are carried out here. Keys are "NAMESPACE/NAME".
type Subscriptions interface {
	// Status returns those in force, sorted by key.
	Status(ctx context.Context) []dispatch.Status
	// Paused returns why those that are paused are, by key. Shared: do not change it.
	Paused() map[string]pauses.Pause
	// SetPaused pauses one, or ends its pause, on all replicas.
	SetPaused(ctx context.Context, key string, paused bool, reason string) error
	// Letters returns where one keeps its dead letters; false: it is not in force.
	Letters(key string) (dispatch.DeadLetters, dispatch.Subscription, bool)
}

func (a *api) subscriptionPages(mux *http.ServeMux) {
	const one = "/v1/events/subscriptions/{namespace}/{name}"
	for path, page := range map[string]http.Handler{
		"/v1/events/subscriptions":   get(reply(a.subscriptions)),
		one:                          get(reply(a.subscription)),
		one + "/pause":               post(a.audited(maxBody, a.pauseSubscription(true))),
		one + "/resume":              post(a.audited(maxBody, a.pauseSubscription(false))),
		one + "/deadletters":         get(reply(a.deadLetters)),
		one + "/deadletters/requeue": post(a.audited(maxBody, a.settleLetters("requeued", dispatch.DeadLetters.Requeue))),
		one + "/deadletters/purge":   post(a.audited(maxBody, a.settleLetters("purged", dispatch.DeadLetters.Purge))),
	} {
		mux.Handle(path, a.guarded(a.subscribing(page)))
	}
}

// subscribing lets through where subscriptions are carried out.
func (a *api) subscribing(next http.Handler) http.Handler {
	if a.Subscriptions != nil {
		return next
	}
	return reply(func(*http.Request) (any, error) {
		return nil, fail(http.StatusNotImplemented, "start xds-server with --roles xds,admin,events; where it has them, meshctl doctor says what ails its log of events", "this server delivers no events to subscriptions")
	})
}

// countTimeout is how long a page waits for queues to be counted: a broker may hang.
const countTimeout = 3 * time.Second

// subscribed returns those in force, without the depths that take too long.
func (a *api) subscribed(ctx context.Context) []dispatch.Status {
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	return a.Subscriptions.Status(ctx)
}

func (a *api) subscriptions(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	out, paused := adminapi.Subscriptions{Items: []adminapi.Subscription{}}, a.Subscriptions.Paused()
	for _, s := range a.subscribed(r.Context()) {
		out.Items = append(out.Items, subscriptionRow(s, paused))
	}
	return out, nil
}

func (a *api) subscription(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	return a.subscriptionOf(r)
}

// subscriptionOf is the one that the path names.
func (a *api) subscriptionOf(r *http.Request) (adminapi.Subscription, error) {
	key := r.PathValue("namespace") + "/" + r.PathValue("name")
	for _, s := range a.subscribed(r.Context()) {
		if s.Key() == key {
			return subscriptionRow(s, a.Subscriptions.Paused()), nil
		}
	}
	return adminapi.Subscription{}, fail(http.StatusNotFound, "meshctl events subscription list shows those in force; meshctl policy get es shows what became of a document", "no subscription %s is in force", key)
}

func subscriptionRow(s dispatch.Status, paused map[string]pauses.Pause) adminapi.Subscription {
	out := adminapi.Subscription{
		Namespace: s.Namespace, Name: s.Name, State: s.State, Problem: s.Problem,
		Exchange: s.Exchange, Bindings: s.Patterns(), Filter: s.Filter, Service: s.Service, Path: s.Path, Mode: s.Mode,
		Queue: s.Queue, QueueType: s.QueueType, DeadLetter: s.DeadLetter,
		Concurrency: s.Concurrency, Ordered: s.Ordered, Timeout: adminapi.Duration(s.Timeout),
		Attempts: s.Attempts, Base: adminapi.Duration(s.Base), Max: adminapi.Duration(s.Max),
		InFlight: s.InFlight, Delivered: s.Delivered, Failed: s.Retried, DeadLettered: s.Given, Skipped: s.Skipped,
		Unanswered: s.Unanswered,
	}
	if p, ok := paused[s.Key()]; ok {
		out.Paused = &p
	}
	if s.Counted {
		out.Depth = &adminapi.Depth{Waiting: s.Waiting, Dead: s.Dead, Missed: s.Missed}
	}
	if s.LastFailure != "" {
		out.LastFailure = &adminapi.CallFailure{Message: s.LastFailure, At: s.LastFailureAt}
	}
	return out
}

// pauseSubscription answers with the subscription. Calls under way may take some
// seconds more.
func (a *api) pauseSubscription(paused bool) change {
	did := map[bool]string{true: "paused", false: "resumed"}[paused]
	return func(r *http.Request, body []byte) (any, string, error) {
		var req adminapi.PauseRequest
		if err := decode(body, &req); err != nil {
			return nil, "", err
		}
		var faults []string
		for _, err := range []error{saidBy(req.By), said("reason", req.Reason, maxReason)} {
			if err != nil {
				faults = append(faults, err.Error())
			}
		}
		if len(faults) > 0 {
			return nil, "", fail(http.StatusBadRequest, "say it shorter", "%s", strings.Join(faults, "\n"))
		}
		s, err := a.subscriptionOf(r)
		if err != nil {
			return nil, "", err
		}
		if err := a.Subscriptions.SetPaused(r.Context(), s.Key(), paused, req.Reason); err != nil {
			return nil, "", fail(http.StatusServiceUnavailable, "the store that replicas share must answer; try again", "%v", err)
		}
		s, err = a.subscriptionOf(r)
		return s, fmt.Sprintf("subscription %s %s%s%s", s.Key(), did, by(req.By), because(req.Reason)), err
	}
}
