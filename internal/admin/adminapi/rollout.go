package adminapi

import (
	"encoding/json"
	"errors"
	"time"
)

// Errors of what keeps the rollouts, for the API's answer.
var (
	ErrNoRollout  = errors.New("no such rollout")  // 404
	ErrNoRevision = errors.New("no such revision") // 404
	ErrNotNow     = errors.New("not possible now") // 409: wrapped with what stands in the way
	ErrElsewhere  = errors.New("not the leader")   // 503: another replica leads, and was not reached
	ErrUnsure     = errors.New("not answered")     // 504: it may have been done, or yet be
)

// States of a rollout, as its users know them.
const (
	Pending    = "PENDING"     // not decided
	Committed  = "COMMITTED"   // in force
	RolledBack = "ROLLED_BACK" // never came in force
	Heuristic  = "HEURISTIC"   // decided, and afterwards not all of it held: an operator should look
)

// Phases of a rollout, in this order; "" when nothing more happens to it.
const (
	PhaseWaiting    = "waiting"    // for its turn, the end of a freeze, or its next try
	PhaseStaging    = "staging"    // the candidate is compiled and stored
	PhaseVoting     = "voting"     // proxies try it
	PhaseCanary     = "canary"     // some proxies serve it
	PhaseHeld       = "held"       // voted; a person commits
	PhasePushing    = "pushing"    // committed; proxies are sent it
	PhaseConfirming = "confirming" // committed; undone unless a person confirms
)

// Answers of a proxy.
const (
	VoteYes     = "yes"
	VoteNo      = "no"
	VoteAbstain = "abstain" // nothing came in time, or the proxy cannot be asked
	VoteWaiting = "waiting" // not answered yet, or not asked
)

// Rollouts is GET /v1/rollouts: the history, newest first, at most 100.
type Rollouts struct {
	InForce  RevisionRef     `json:"inForce"`
	Proxies  RevisionUptake  `json:"proxies"`          // connected to any replica, and how far with what is in force
	Settings RolloutSettings `json:"settings"`         // of rollouts that begin by themselves
	Next     *RolloutOptions `json:"next,omitempty"`   // of the next one alone; POST /v1/rollouts set them
	Queued   int             `json:"queued,omitempty"` // changed documents that wait for the next rollout
	Waits    string          `json:"waits,omitempty"`  // why that does not begin; "": the open one
	// Pinned are documents that stay as they are in force because a rollout
	// refused what was proposed in their place.
	Pinned []PinnedDocument `json:"pinned,omitempty"`
	Items  []Rollout        `json:"items"`
}

// RevisionRef names a revision; people see "12 (3f9c2a1b)".
type RevisionRef struct {
	Number uint64 `json:"number"`         // 0: not in force yet, or the built-in policy alone
	Hash   string `json:"hash,omitempty"` // "": the built-in policy alone
}

// RevisionUptake says how many proxies run the revision in force.
type RevisionUptake struct {
	Connected int      `json:"connected"`
	Running   int      `json:"running"`        // have acknowledged all that they are subscribed to
	Refusing  int      `json:"refusing"`       // have refused some of it
	Late      []string `json:"late,omitempty"` // the others, the first few by id
}

// PinnedDocument is a document whose newest version a rollout refused.
type PinnedDocument struct {
	Document   string   `json:"document"`             // "ResiliencePolicy/default/orders"
	Generation int64    `json:"generation,omitempty"` // of the refused version; 0: its deletion, or not known
	Hash       string   `json:"hash,omitempty"`       // of the refused version's canonical form, SHA-256; "": its deletion
	Reason     string   `json:"reason"`
	Rollout    string   `json:"rollout"` // the one that refused it
	Proxies    []string `json:"proxies,omitempty"`
}

// Rollout is one row of GET /v1/rollouts, and each line of
// GET /v1/rollouts/{id}/watch.
type Rollout struct {
	ID      string          `json:"id"`
	State   string          `json:"state"`            // PENDING, COMMITTED, ROLLED_BACK, HEURISTIC
	Phase   string          `json:"phase,omitempty"`  // "": nothing more happens to it
	Reason  string          `json:"reason,omitempty"` // why it was decided so, or what it waits for
	From    RevisionRef     `json:"from"`
	To      RevisionRef     `json:"to"` // the number is there once it is in force
	Changes []RolloutChange `json:"changes"`
	Source  string          `json:"source,omitempty"` // who proposed it: "dir", "consul", "kube", "undo"
	By      string          `json:"by,omitempty"`     // the person who started it, as they said
	// Confirmed is when a person confirmed it, ConfirmedBy who; only where it would
	// have been undone.
	Confirmed   *time.Time `json:"confirmed,omitempty"`
	ConfirmedBy string     `json:"confirmedBy,omitempty"`
	Undoes      string     `json:"undoes,omitempty"` // the rollout that this one takes back
	UndoneBy    string     `json:"undoneBy,omitempty"`
	// ResolvedBy looked at a HEURISTIC one and closed it.
	ResolvedBy string          `json:"resolvedBy,omitempty"`
	Settings   RolloutSettings `json:"settings"`
	Votes      VoteCount       `json:"votes"`
	Pushed     *PushCount      `json:"pushed,omitempty"` // once committed
	Canary     *CanaryCount    `json:"canary,omitempty"` // while and after proxies served it on trial
	Blamed     []string        `json:"blamed,omitempty"` // documents that it was refused for

	Started   time.Time  `json:"started"`
	Deadline  *time.Time `json:"deadline,omitempty"`  // of the votes, or of a hold
	Decided   *time.Time `json:"decided,omitempty"`   // committed or rolled back
	ConfirmBy *time.Time `json:"confirmBy,omitempty"` // unless confirmed by then it is undone
	Ended     *time.Time `json:"ended,omitempty"`     // nothing more happens to it
	// Skew is from the commit to the last proxy's acknowledgement.
	Skew Duration `json:"skew,omitempty"`
}

// Open reports whether something more happens to the rollout by itself or is
// awaited of a person.
func (r *Rollout) Open() bool { return r.Phase != "" }

// RolloutChange is what a rollout does with one document.
type RolloutChange struct {
	Document string `json:"document"`       // "ResiliencePolicy/default/orders"
	Change   string `json:"change"`         // add, change, remove
	From     int64  `json:"from,omitempty"` // generations
	To       int64  `json:"to,omitempty"`
}

// VoteCount sums up the votes of all replicas' proxies.
type VoteCount struct {
	Voters  int `json:"voters"` // proxies that the change set reaches
	Yes     int `json:"yes"`
	No      int `json:"no"`
	Abstain int `json:"abstain"`
	// Excused are those of Abstain that count for no quorum: they cannot be asked,
	// or refused what they refuse already of what is in force.
	Excused int `json:"excused,omitempty"`
	// Builds counts them by what decides how an Envoy validates.
	Builds []BuildVotes `json:"builds,omitempty"`
}

// Waiting counts those that have not answered.
func (v VoteCount) Waiting() int { return max(v.Voters-v.Yes-v.No-v.Abstain, 0) }

// BuildVotes are the votes of the proxies of one build.
type BuildVotes struct {
	Build   string `json:"build"`
	Voters  int    `json:"voters"`
	Yes     int    `json:"yes"`
	No      int    `json:"no"`
	Abstain int    `json:"abstain"`
	Excused int    `json:"excused,omitempty"`
}

// PushCount says how far the proxies that it reaches are with it.
type PushCount struct {
	Proxies int `json:"proxies"`
	Acked   int `json:"acked"`
	Refused int `json:"refused"` // after the commit: on these the earlier resource serves
}

// CanaryCount is what the load reports say about a trial.
type CanaryCount struct {
	Proxies  int        `json:"proxies"`
	Until    *time.Time `json:"until,omitempty"` // the end of the bake time
	Requests uint64     `json:"requests"`        // through the proxies of the trial
	Errors   uint64     `json:"errors"`
	// Baseline is the same of the others meanwhile.
	BaselineRequests uint64 `json:"baselineRequests"`
	BaselineErrors   uint64 `json:"baselineErrors"`
}

// RolloutDetail is GET /v1/rollouts/{id}.
type RolloutDetail struct {
	Rollout
	Log []RolloutEntry `json:"log"`
	// Proxies are the votes one by one: every no and abstention, then as many
	// others as are kept.
	Proxies []ProxyVote `json:"proxies"`
}

// RolloutVotes is GET /v1/rollouts/{id}/votes.
type RolloutVotes struct {
	ID       string      `json:"id"`
	State    string      `json:"state"`
	Votes    VoteCount   `json:"votes"`
	Items    []ProxyVote `json:"items"`
	Unlisted int         `json:"unlisted,omitempty"` // voters that Items does not name
}

// ProxyVote is what one proxy said.
type ProxyVote struct {
	Proxy    string          `json:"proxy"`
	Service  string          `json:"service,omitempty"`
	Build    string          `json:"build,omitempty"`
	Replica  string          `json:"replica,omitempty"` // of xds-server, that asked it
	Answer   string          `json:"answer"`            // yes, no, abstain, waiting
	Text     string          `json:"text,omitempty"`    // why it abstained, or Envoy's first words
	At       *time.Time      `json:"at,omitempty"`
	Excused  bool            `json:"excused,omitempty"` // as in VoteCount
	Refusals []BallotRefusal `json:"refusals,omitempty"`
}

// BallotRefusal is one message that an Envoy would not take.
type BallotRefusal struct {
	Type     string   `json:"type"` // CDS, RDS
	Resource string   `json:"resource"`
	Policies []string `json:"policies,omitempty"` // what it came from: "rp/default/orders@3"
	Message  string   `json:"message"`            // Envoy's words
}

// RolloutLog is GET /v1/rollouts/{id}/log.
type RolloutLog struct {
	ID    string         `json:"id"`
	State string         `json:"state"`
	Items []RolloutEntry `json:"items"`
}

// RolloutEntry is something that happened to a rollout, oldest first.
type RolloutEntry struct {
	At    time.Time `json:"at"`
	Phase string    `json:"phase,omitempty"`
	Party string    `json:"party,omitempty"` // whom it is about: "revision", "fleet", "canary", a proxy
	By    string    `json:"by,omitempty"`    // the person behind it
	Text  string    `json:"text"`
}

// Revision is one row of GET /v1/revisions, newest first.
type Revision struct {
	RevisionRef
	InForce bool            `json:"inForce,omitempty"`
	Rollout string          `json:"rollout,omitempty"` // that brought it
	Source  string          `json:"source,omitempty"`
	By      string          `json:"by,omitempty"`
	At      time.Time       `json:"at"` // when it came in force
	Changes []RolloutChange `json:"changes"`
}

// Revisions is GET /v1/revisions.
type Revisions struct {
	Items []Revision `json:"items"`
}

// RevisionDocuments is GET /v1/revisions/{revision}: a number, a hash or the
// first eight or more digits of one.
type RevisionDocuments struct {
	RevisionRef
	Documents []RevisionDocument `json:"documents"` // sorted by name
}

// RevisionDocument is a document as a revision has it.
type RevisionDocument struct {
	Document   string          `json:"document"` // "ResiliencePolicy/default/orders"
	Generation int64           `json:"generation"`
	Content    json.RawMessage `json:"content"` // canonical
}

// StartRequest is the body of POST /v1/rollouts: begin a rollout with what
// waits, or set how the next one goes.
type StartRequest struct {
	// ID is the rollout's name, so that a repeated request starts nothing twice;
	// "": the server makes one. 1 to 64 letters, digits, "-", ".", "_".
	ID string `json:"id,omitempty"`
	By string `json:"by,omitempty"`
	// Retry takes what rollouts refused into the next one once more.
	Retry   bool           `json:"retry,omitempty"`
	Options RolloutOptions `json:"options"`
}

// StartResponse says which of the two became of it.
type StartResponse struct {
	Rollout *Rollout `json:"rollout,omitempty"` // begun now
	// Next is set when nothing waits: they hold for the next change set.
	Next *RolloutOptions `json:"next,omitempty"`
}

// UndoRequest is the body of POST /v1/rollouts/undo: a rollout to an earlier
// revision.
type UndoRequest struct {
	ID string `json:"id,omitempty"` // as in StartRequest
	By string `json:"by,omitempty"`
	// ToRevision is a number or a hash; "" is the one before that in force.
	ToRevision string         `json:"toRevision,omitempty"`
	Options    RolloutOptions `json:"options"`
}

// RolloutVerb is what a person decides about a rollout.
type RolloutVerb string

// The verbs of POST /v1/rollouts/{id}/VERB.
const (
	VerbCommit  RolloutVerb = "commit"  // what is held
	VerbConfirm RolloutVerb = "confirm" // what would be undone
	VerbAbort   RolloutVerb = "abort"   // what is not committed; undoes what is not confirmed
	VerbResolve RolloutVerb = "resolve" // close a HEURISTIC one as it is
)

// DecideRequest is the body of POST /v1/rollouts/{id}/VERB.
type DecideRequest struct {
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
}
