package app

import (
	"cmp"
	"context"
	"time"

	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/status"
)

// scrapeTimeout is how long a scrape waits for a broker to count.
const scrapeTimeout = 2 * time.Second

// deliveries is what statuses say of subscriptions; nil without the role.
func (a *app) deliveries() status.Deliveries {
	if !a.events.taking() {
		return nil
	}
	out := status.Deliveries{}
	if a.events.subscriptions == nil { // without a log nothing is
		if v := a.view(); v != nil {
			for _, d := range v.Revision.Documents {
				if d.Subscription != nil {
					out[d.Key] = status.Delivery{Reason: status.ReasonInterrupted, Message: a.events.problem()}
				}
			}
		}
		return out
	}
	paused := a.events.subscriptions.Paused()
	for _, s := range a.events.subscriptions.States() {
		key := policy.Key{Kind: policy.KindEventSubscription, Namespace: s.Namespace, Name: s.Name}
		out[key] = deliveryOf(s, cmp.Or(paused[s.Key()].Reason, "meshctl events subscription resume ends it"))
	}
	return out
}

// deliveryOf is how one is carried out, in the words of conditions.
func deliveryOf(s dispatch.Status, paused string) status.Delivery {
	switch s.State {
	case dispatch.Conflicting:
		return status.Delivery{Reason: string(compile.Conflicted), Message: s.Problem}
	case dispatch.Interrupted:
		return status.Delivery{Reason: status.ReasonInterrupted, Message: s.Problem}
	case dispatch.Paused:
		return status.Delivery{Reason: status.ReasonPaused, Message: "paused: " + paused}
	}
	return status.Delivery{}
}

// carried is read by a scrape.
func (a *app) carried() []dispatch.Status {
	if a.events == nil || a.events.subscriptions == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	return a.events.subscriptions.Status(ctx)
}
