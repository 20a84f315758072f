// Package server speaks the xDS protocol with Envoys: aggregated discovery
// over delta and state-of-the-world streams, order and gates between types,
// the ledger of what every proxy acknowledged, and the quarantine of what it
// refused. What to serve comes from xds/cache; the package knows no service,
// no policy and no catalog.
//
// A stream keeps the index it was last brought to and, per name, a note only
// where a proxy differs from that index: a resource in quarantine, held back
// by a gate, withheld, or under way again. In the steady state that is nothing.
//
//	request ─▶ notes (what is due) ─▶ plan: CDS EDS LDS SRDS RDS, removals
//	publish ─▶ notes                        SRDS RDS CDS EDS ─▶ responses
//	answer  ─▶ ledger, quarantine, gates ─▶ notes
//
// Why the stream server is our own: docs/adr/0001-own-stream-server.md.
package server
