package status

import (
	"encoding/json"
	"fmt"
)

// Note is what a replica tells the others of the proxies that are connected to
// it. It stays small whatever the number of documents: most are run by all
// proxies, so only those that differ from the most common count are listed.
type Note struct {
	Revision  string            `json:"revision"` // hash of the one that the counts are about
	Number    uint64            `json:"number"`   // its number
	Connected int               `json:"connected"`
	Usual     Uptake            `json:"usual"`            // of every document that is not listed
	Listed    map[string]Uptake `json:"listed,omitempty"` // by Ask.String

	Delivers bool                `json:"delivers,omitempty"` // it carries out subscriptions
	Troubled map[string]Delivery `json:"troubled,omitempty"` // of these those that it does not deliver, by Key.String
}

// String is "LABEL" or "LABEL SERVICE".
func (a Ask) String() string {
	if a.Service == "" {
		return a.Label
	}
	return a.Label + " " + a.Service
}

// NewNote sums up uptakes, each the answer to the ask of its place, and
// deliveries.
func NewNote(revision string, number uint64, connected int, asks []Ask, uptakes []Uptake, own Deliveries) Note {
	n := Note{Revision: revision, Number: number, Connected: connected, Usual: usual(uptakes)}
	for i, u := range uptakes {
		if !u.Equal(n.Usual) {
			if n.Listed == nil {
				n.Listed = map[string]Uptake{}
			}
			n.Listed[asks[i].String()] = u
		}
	}
	n.deliver(own)
	return n
}

// usual is the most common uptake, the smaller of two that are.
func usual(uptakes []Uptake) (best Uptake) {
	type counts struct{ proxies, running int }
	seen := map[counts]int{}
	for _, u := range uptakes {
		if len(u.Refusals)+len(u.Waiting)+u.Refusing == 0 && !u.Untracked {
			seen[counts{u.Proxies, u.Running}]++
		}
	}
	most := 0
	for c, n := range seen {
		if n > most || n == most && (c.proxies < best.Proxies || c.proxies == best.Proxies && c.running < best.Running) {
			most, best = n, Uptake{Proxies: c.proxies, Running: c.running}
		}
	}
	return best
}

// Of is what the note says of a, to a replica that has revision in force, and a
// since the revision of the number given. One that has not come that far says
// nothing of the document: all of its proxies are then waited for.
func (n Note) Of(a Ask, revision string, since uint64) Uptake {
	if u, ok := n.Listed[a.String()]; ok {
		return u
	}
	if n.Revision == revision || n.Number >= since {
		return n.Usual
	}
	return Uptake{Proxies: n.Usual.Proxies}
}

// Encode writes the note as JSON, the same bytes for the same content.
func (n Note) Encode() ([]byte, error) {
	raw, err := json.Marshal(n)
	if err != nil {
		return nil, fmt.Errorf("encode what other replicas are told: %w", err)
	}
	return raw, nil
}

// DecodeNote reads what Encode wrote, of this release or another.
func DecodeNote(raw []byte) (Note, error) {
	var n Note
	if err := json.Unmarshal(raw, &n); err != nil {
		return Note{}, fmt.Errorf("decode what another replica tells: %w", err)
	}
	return n, nil
}
