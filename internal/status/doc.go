// Package status says what became of every policy document: from the compiled
// mesh, the revision in force and the fleet's uptake it works out conditions,
// and it tells a transition from a mere change of words. Pure: time comes in.
// The goroutine that keeps statuses up to date and has them written stands in
// status/report.
//
//	compile.Result, policy.Revision ─▶ Documents ─┐
//	xds/server, other replicas ─────▶ Fleet ──────┴▶ Of ─▶ policy.Status ─▶ Carry, Transition
package status
