package metrics

import "meshlite.dev/internal/events/dispatch"

// collectSubscriptions shows how events are delivered. Depths of a queue that does
// not answer are left out: 0 would be a lie.
func collectSubscriptions(out emitter, all []dispatch.Status) {
	for i := range all {
		s, key := &all[i], all[i].Key()
		out.counter("meshlite_events_delivered_total", float64(s.Delivered), key)
		out.counter("meshlite_events_delivery_attempts_failed_total", float64(s.Retried), key)
		out.counter("meshlite_events_dead_lettered_total", float64(s.Given), key)
		out.counter("meshlite_events_skipped_total", float64(s.Skipped), key)
		out.gauge("meshlite_subscription_in_flight", float64(s.InFlight), key)
		out.gauge("meshlite_subscription_problem", truth(s.State == dispatch.Interrupted || s.State == dispatch.Conflicting), key)
		out.gauge("meshlite_subscription_paused", truth(s.State == dispatch.Paused), key)
		if s.Counted {
			out.gauge("meshlite_subscription_waiting", float64(s.Waiting), key)
			out.gauge("meshlite_subscription_dead", float64(s.Dead), key)
			out.gauge("meshlite_subscription_missed", float64(s.Missed), key)
		}
	}
}
