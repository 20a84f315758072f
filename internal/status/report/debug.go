package report

import (
	"time"

	"meshlite.dev/internal/status"
)

// Debug is GET /debug/status: what statuses are made of. It may change with any
// release.
type Debug struct {
	Revision  uint64                 `json:"revision"`
	At        time.Time              `json:"at"`
	Took      string                 `json:"took"`   // the last run
	Writes    bool                   `json:"writes"` // this replica holds the lock
	Connected int                    `json:"connected"`
	Replicas  map[string]status.Note `json:"replicas"` // the others, by name
	Documents []DebugDocument        `json:"documents"`
}

// DebugDocument is one document.
type DebugDocument struct {
	Document string        `json:"document"`
	Fleet    status.Uptake `json:"fleet"` // summed over replicas
	Own      status.Uptake `json:"own"`   // of this replica's proxies
	Waits    bool          `json:"waits"` // Enforced says less than Fleet, for a while
}

// Debug returns what the statuses of the last run are made of; nil before it.
func (r *Reporter) Debug() *Debug {
	s := r.latest.Load()
	if s == nil {
		return nil
	}
	out := &Debug{
		Revision: s.Revision, At: s.made.at, Took: s.made.took.String(), Writes: r.holding.Load(),
		Connected: s.Connected, Replicas: s.made.peers, Documents: []DebugDocument{},
	}
	own := make(map[status.Ask]status.Uptake, len(s.made.asks))
	for i, a := range s.made.asks {
		own[a] = s.made.own[i]
	}
	for i := range s.made.docs {
		doc := &s.made.docs[i]
		if doc.Label == "" {
			continue
		}
		a := status.Ask{Label: doc.Label}
		out.Documents = append(out.Documents, DebugDocument{doc.Label, s.made.sum[a], own[a], s.made.told[doc.Key].waits})
	}
	return out
}
