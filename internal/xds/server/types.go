package server

import "time"

// Status says how far a proxy is with a type or a resource.
type Status string

// The states, best first.
const (
	Synced  Status = "SYNCED"   // all that was sent is acknowledged
	NotSent Status = "NOT SENT" // the proxy has not asked for it
	Stale   Status = "STALE"    // sent and not acknowledged, or held back
	Error   Status = "ERROR"    // refused by the Envoy
)

// rank orders states from best to worst.
func (s Status) rank() int {
	switch s {
	case Synced:
		return 0
	case NotSent:
		return 1
	case Stale:
		return 2
	default:
		return 3
	}
}

// Worse returns the graver of two states.
func (s Status) Worse(o Status) Status {
	if o.rank() > s.rank() {
		return o
	}
	return s
}

// Proxy is what the ledger knows of one Envoy.
type Proxy struct {
	Node
	Address     string // of its end of the stream, HOST:PORT
	Protocol    string // "delta" or "sotw"
	ConnectedAt time.Time
	Connected   bool      // false: gone, and not yet forgotten
	GoneAt      time.Time // zero while connected
	Status      Status    // the worst of its types, types not asked for apart
	Types       []TypeStatus
	Errors      []Rejection // by type and name
	Held        []Held      // by type and name
}

// TypeStatus is one type on one proxy.
type TypeStatus struct {
	Type      string // CDS, EDS, LDS, SRDS, RDS
	Status    Status
	Resources int       // that the proxy holds, as far as acknowledged
	InFlight  int       // responses without an answer
	LastSent  time.Time // zero: never
	LastAcked time.Time // zero: never
}

// Rejection is a resource in quarantine; the last good version serves.
type Rejection struct {
	Type     string // CDS, …
	Resource string
	Service  string   // whose change made it
	Policies []string // the documents that the content comes from
	Message  string   // Envoy's words
	Version  string   // that was refused
	LastGood string   // version that the proxy keeps; "" when it has none
	At       time.Time
}

// Held is a change that waits for something of the proxy.
type Held struct {
	Type     string // SRDS or RDS; CDS for a removal
	Resource string
	Waits    string // "CDS ACK of orders"
	Since    time.Time
}

// ResourceState is one resource on one proxy: what the proxy acknowledged
// against what the server holds for it.
type ResourceState struct {
	Type     string // type URL
	Name     string
	Service  string
	Status   Status
	Policies []string // of Wanted, else of Acked
	Message  string   // Envoy's words, or what a held change waits for

	// Acked is the version that the proxy acknowledged, "" when none. Body is
	// its content; nil when the proxy brought the version along and the index
	// has moved on since.
	Acked string
	Body  []byte
	// Wanted is what the proxy should have; "" when it should have nothing, or
	// when what it has must stay. WantedBody is its content.
	Wanted     string
	WantedBody []byte

	At time.Time // when the state was entered; zero when not known
}
