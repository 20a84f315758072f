package metrics

import "github.com/prometheus/client_golang/prometheus"

// descriptions of what a scrape reads, by name.
func descriptions() map[string]*prometheus.Desc {
	out := map[string]*prometheus.Desc{}
	for _, d := range []struct {
		name, help string
		labels     []string
	}{
		{"meshlite_frozen", "1 while nothing but endpoints changes (meshctl freeze).", nil},
		{"meshlite_transactions_open", "Transactions of applications that are not settled, by status: COMMITTED and ROLLED_BACK while participants are told.", []string{"status"}},
		{"meshlite_transactions_oldest_age_seconds", "Age of the oldest transaction that is not settled; 0 without any.", nil},
		{"meshlite_transactions_calls_in_vain", "Calls that participants of open transactions have not taken yet.", nil},
		{"meshlite_ready", "1 once this replica has served its first complete state.", nil},
		{"meshlite_xds_streams", "Open xDS streams, by protocol (delta or sotw).", []string{"protocol"}},
		{"meshlite_xds_proxies", "Connected proxies by the worst state of their types.", []string{"status"}},
		{"meshlite_xds_quarantined_resources", "Resources that a proxy rejected and that stay at their last good version there.", nil},
		{"meshlite_xds_held_resources", "Changes that wait for something of a proxy.", nil},
		{"meshlite_catalog_watch_age_seconds", "Time since the last successful answer: of the name list, and of the service that waits longest.", []string{"watch"}},
		{"meshlite_catalog_watches", "Watches on the catalog, the name list among them.", nil},
		{"meshlite_catalog_stale_watches", "Watches without an answer, with an error, or silent for ten minutes.", nil},
		{"meshlite_catalog_connected", "1 when the last read of the name list succeeded.", nil},
		{"meshlite_catalog_last_known_good", "1 while the catalog served is the one of an earlier run.", nil},
		{"meshlite_catalog_holds", "Services of which the guard holds instances back from removal.", nil},
		{"meshlite_catalog_held_instances", "Instances that the guard holds back from removal.", nil},
		{"meshlite_catalog_skipped", "Names in the catalog that are not served.", nil},
		{"meshlite_services", "Services served.", nil},
		{"meshlite_services_not_synced", "Services that the catalog has not answered for yet.", nil},
		{"meshlite_endpoints", "Instances served, by health.", []string{"health"}},
		{"meshlite_policy_revision", "Number of the policy revision in force.", nil},
		{"meshlite_policy_documents", "Policy documents in force.", nil},
		{"meshlite_policy_refused_documents", "Policy documents whose newest version was refused.", nil},
		{"meshlite_policy_condition", "Policy documents by condition (Accepted, ResolvedRefs, Programmed, Enforced) and its status (True, False, Unknown), proxies of all replicas counted.", []string{"condition", "status"}},
		{"meshlite_findings", "Findings by severity.", []string{"severity"}},
		{"meshlite_load_report_streams", "Open load report streams.", nil},
		{"meshlite_load_reports_total", "Load reports received.", nil},
		{"meshlite_load_samples_ignored_total", "Samples left out because too many pairs of services call each other.", nil},
		{"meshlite_edge_requests_total", "Tries from one service to another by outcome; dropped: a circuit breaker was open.", []string{"from", "to", "outcome"}},
		{"meshlite_edge_requests_in_progress", "Tries under way at the last load report.", []string{"from", "to"}},
		{"meshlite_admin_watch_clients", "Open /v1/watch streams.", nil},
		{"meshlite_admin_watch_hangups_total", "Clients of /v1/watch cut off because they were too slow.", nil},
		{"meshlite_events_outbox_depth", "Events that the outbox keeps.", nil},
		{"meshlite_events_outbox_bytes", "Size of the events that the outbox keeps, as JSON.", nil},
		{"meshlite_events_kept_total", "Events kept since the outbox was made, those not kept any more too.", nil},
		{"meshlite_events_told_total", "Events of the mesh itself that were kept since the start.", nil},
		{"meshlite_events_problem", "1 while events of the mesh are not told; they are not lost.", nil},
		{"meshlite_events_waiting", "Events that the broker has not confirmed, with --events amqp.", nil},
		{"meshlite_events_published_total", "Events that the broker confirmed since the start.", nil},
		{"meshlite_events_unroutable_total", "Events of those for which no queue was bound.", nil},
		{"meshlite_events_broker_connected", "1 while the broker is connected and takes events.", nil},
		{"meshlite_events_delivered_total", "Events that a subscription's handler took from this replica.", []string{"subscription"}},
		{"meshlite_events_delivery_attempts_failed_total", "Attempts to deliver an event of a subscription that failed here.", []string{"subscription"}},
		{"meshlite_events_dead_lettered_total", "Events of a subscription that this replica gave up.", []string{"subscription"}},
		{"meshlite_events_skipped_total", "Events that a subscription's filter did not let pass here.", []string{"subscription"}},
		{"meshlite_subscription_in_flight", "Calls of a subscription's handler under way, by this replica.", []string{"subscription"}},
		{"meshlite_subscription_waiting", "Events in a subscription's queue for their first or another attempt.", []string{"subscription"}},
		{"meshlite_subscription_dead", "Events in a subscription's dead-letter queue.", []string{"subscription"}},
		{"meshlite_subscription_missed", "Events that a bounded log dropped before a subscription tried them.", []string{"subscription"}},
		{"meshlite_subscription_problem", "1 while a subscription is interrupted, or its queue is another's.", []string{"subscription"}},
		{"meshlite_subscription_paused", "1 while a subscription is paused.", []string{"subscription"}},
		{"meshlite_tls_certificate_expiry_timestamp_seconds", "When the certificate of a listener ends.", []string{"listener"}},
	} {
		out[d.name] = prometheus.NewDesc(d.name, d.help, d.labels, nil)
	}
	return out
}

// emitter sends values of described metrics.
type emitter struct {
	ch   chan<- prometheus.Metric
	desc map[string]*prometheus.Desc
}

func (e emitter) gauge(name string, v float64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(e.desc[name], prometheus.GaugeValue, v, labels...)
}

func (e emitter) counter(name string, v float64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(e.desc[name], prometheus.CounterValue, v, labels...)
}
