// Package report keeps the status of every policy document up to date and has
// transitions written where the carrier's users look. Its main type is
// Reporter. What a status is and when it has changed says package status; this
// one owns the goroutines and the clock:
//
//	published, acknowledged, refused ─▶ loop ─▶ Statuses (API, metrics) ─▶ writer ─▶ policy.StatusSink
//	other replicas ─▶ store.Board ─────▲  │                                  │ under the lock "status"
//	                ◀───────── note ──────┘◀─────── what stands there ───────┘
//
// Every replica works out all statuses, from its own proxies and what the
// others tell of theirs; the one that holds the lock writes.
package report
