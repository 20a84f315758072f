package rollout

import (
	"context"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy"
)

// Fleet is this replica's proxies.
type Fleet interface {
	// Stage works out what a candidate would change on the proxies, from what base
	// came to; tx is 1 to 40 letters, digits or "-". Until something is served
	// there is nobody to ask.
	Stage(ctx context.Context, tx string, base, candidate policy.Revision) (Ballots, error)
	// Uptake says how far the proxies are with a revision that was put in force at
	// since: those of among, or all where it is empty.
	Uptake(rev policy.Revision, since time.Time, among []string) Uptake
	// Running counts the connected ones that run all that they are sent.
	Running() adminapi.RevisionUptake
}

// Ballots are what the proxies are asked.
type Ballots interface {
	Voters() []Voter
	// Poll asks one and waits for its answer or the end of ctx.
	Poll(ctx context.Context, proxy string) Vote
	// Serve lets some proxies serve the candidate until stop is called.
	Serve(proxies []string) (stop func())
	// Calls are what proxies called so far, by id, as they report it.
	Calls() map[string]Calls
}

// Calls count requests, those answered with an error or not let out among Errors.
type Calls struct{ Requests, Errors uint64 }

// Voter is a proxy that a candidate reaches.
type Voter struct {
	ID, Service string
	Label       func(key string) string // nil: it has none
	Build       string                  // proxies of one build judge alike
	Mute        string                  // why it cannot be asked; "": it can
}

// Vote is the answer of a proxy: yes, no with refusals, or neither with the reason.
type Vote struct {
	Yes      bool
	Refusals []Refusal
	// Excused is why a no tells nothing of the candidate: what it refuses, it refuses
	// already of what is in force.
	Excused string
	Text    string
}

// Refusal is a message that an Envoy would not take.
type Refusal struct {
	Type, Resource string   // "RDS", "orders"
	Policies       []string // that it comes from, as mesh.DocumentRef.String has them
	Message        string   // Envoy's words
}

// Uptake counts the proxies that a revision reaches.
type Uptake struct {
	Published bool // the revision is compiled and on its way
	Proxies   int
	Acked     int
	Refused   []ProxyRefusal // since it was put in force
}

// ProxyRefusal is what a proxy refused although the fleet had said yes.
type ProxyRefusal struct {
	Proxy   string `json:"proxy"`
	Message string `json:"message"`
}
