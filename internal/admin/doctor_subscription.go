package admin

import (
	"context"
	"fmt"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/events/dispatch"
)

// checkSubscriptions looks for what is not delivered, and for what was given up or
// lost. A pause is meant so, and yet somebody may have forgotten it.
func (a *api) checkSubscriptions(ctx context.Context) (out []adminapi.Check) {
	if a.Subscriptions == nil {
		return nil
	}
	all, pauses := a.subscribed(ctx), a.Subscriptions.Paused()
	var stopped, given, missed, paused []string
	for _, s := range all {
		if s.State == dispatch.Interrupted || s.State == dispatch.Conflicting {
			stopped = append(stopped, s.Key()+": "+s.Problem)
		}
		if s.Dead > 0 {
			given = append(given, fmt.Sprintf("%s has %d", s.Key(), s.Dead))
		}
		if s.Missed > 0 {
			missed = append(missed, fmt.Sprintf("%s has missed %d", s.Key(), s.Missed))
		}
		if p, ok := pauses[s.Key()]; ok {
			paused = append(paused, fmt.Sprintf("%s since %s ago%s", s.Key(), since(a.Now(), p.Since), because(p.Reason)))
		}
	}
	if len(stopped) > 0 {
		out = append(out, fault("subscriptions", "their events wait; meshctl events subscription get NAME shows more", "%s", some(stopped)))
	}
	if len(given) > 0 {
		out = append(out, warning("dead letters", "meshctl events dlq list says why; mend the handler, then meshctl events dlq requeue", "%s", some(given)))
	}
	if len(missed) > 0 {
		out = append(out, warning("missed events", "the log was full before they were tried: mend the handler, or deliver from a broker (--events amqp)", "%s", some(missed)))
	}
	if len(paused) > 0 {
		out = append(out, warning("paused subscriptions", "meshctl events subscription resume ends it", "%s", some(paused)))
	}
	if len(out) == 0 {
		out = append(out, ok("subscriptions", "%s, nothing given up", plural(len(all), "subscription")))
	}
	return out
}
