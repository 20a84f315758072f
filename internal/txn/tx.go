package txn

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of one transaction. Together they keep its record, texts of votes
// included, below MaxRecord whatever happens to it: a decision always fits.
const (
	MaxID      = 128     // bytes of an ID
	MaxKind    = 64      // bytes of a kind
	MaxName    = 256     // bytes of a party's ID or group
	MaxParties = 4_000   // parties
	MaxContent = 192_000 // bytes of all bodies, IDs and groups together
	MaxStage   = 255     // the highest stage

	maxText  = 1_024  // bytes of one text: a vote's, a refusal's, a reason
	maxTexts = 48_000 // bytes of all parties' texts together

	// MaxRecord is the most bytes that an encoded record has; a transaction of
	// Consul takes 512 KiB of base64.
	MaxRecord = 350_000
)

// ID names a transaction: 1 to MaxID letters, digits and "-._~", the first of
// them a letter or digit. Who begins a transaction chooses it.
type ID string

// Validate says what is wrong with id.
func (id ID) Validate() error {
	for i := range len(id) {
		c := id[i]
		plain := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !plain && (i == 0 || !strings.ContainsRune("-._~", rune(c))) {
			return fmt.Errorf("id: %.140q: must begin with a letter or digit and go on with these or -._~", string(id))
		}
	}
	if id == "" || len(id) > MaxID {
		return fmt.Errorf("id: has %d bytes: must have 1 to %d", len(id), MaxID)
	}
	return nil
}

// Tx is what a transaction is about; it never changes once it has begun.
type Tx struct {
	ID   ID
	Kind string // whose participants it has, as the coordinator's user names them; may be ""
	Body []byte // what is to be done; txn does not look into it
	Rule string // the name of the rule that decides
	Hold bool   // commits only after Approve

	Started  time.Time // in milliseconds, UTC, like every time here
	Deadline time.Time // when silence becomes abstention
}

// Party is one participant of a transaction: what was asked of it, what it said,
// and how it ended.
type Party struct {
	ID    string
	Stage uint8  // asked once the earlier stages have passed; 0 first
	Group string // of which one yes speaks for all to a Quorum: an Envoy's build
	Body  []byte // what this one is to do; txn does not look into it

	Vote   Vote
	Ending Ending
	Text   string // the last words of the party itself, or of who resolved it
}

// Vote is a party's answer to Prepare.
type Vote uint8

// The votes; the zero value is Unasked.
const (
	Unasked Vote = iota
	Asked
	Yes     // a promise: the party can commit, and holds what it takes
	No      // the party cannot, and holds nothing
	Abstain // nothing came in time: it may hold something
)

func (v Vote) String() string { return name(v, "unasked", "asked", "yes", "no", "abstain") }

// Ending is how far a party is with the decision.
type Ending uint8

// The endings; the zero value is Open.
const (
	Open     Ending = iota // there is no decision yet
	Owed                   // it has not acknowledged the decision
	Acked                  // it did as decided
	Spared                 // the abort owes it nothing: it was not asked, or said no
	Refused                // it says that it did not, or cannot, do as decided
	Resolved               // a person took it as it is
)

func (e Ending) String() string {
	return name(e, "open", "owed", "acked", "spared", "refused", "resolved")
}

func name[T ~uint8](v T, names ...string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("unknown(%d)", v)
}

// Validate says everything that is wrong with the input, each fault with the
// path and value of its field; nil when a transaction may begin with it.
func (b Begin) Validate() error {
	faults := []error{b.Tx.ID.Validate()}
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if b.Rule == nil {
		fault("rule: is missing: one must decide")
	}
	if len(b.Tx.Kind) > MaxKind || !utf8.ValidString(b.Tx.Kind) {
		fault("kind: %.80q: must be text of at most %d bytes", b.Tx.Kind, MaxKind)
	}
	if b.Tx.Deadline.IsZero() {
		fault("deadline: is missing: no transaction waits for ever")
	}
	if n := len(b.Parties); n > MaxParties {
		fault("parties: are %d: must be at most %d", n, MaxParties)
		return errors.Join(faults...)
	}
	content, seen := len(b.Tx.Body), map[string]int{}
	for i, p := range b.Parties {
		content += len(p.ID) + len(p.Group) + len(p.Body)
		if p.ID == "" || len(p.ID) > MaxName || !utf8.ValidString(p.ID) {
			fault("parties[%d].id: %.80q: must be text of 1 to %d bytes", i, p.ID, MaxName)
		} else if first, ok := seen[p.ID]; ok {
			fault("parties[%d].id: %q: is the id of parties[%d] too: each must differ", i, p.ID, first)
		} else {
			seen[p.ID] = i
		}
		if len(p.Group) > MaxName || !utf8.ValidString(p.Group) {
			fault("parties[%d].group: %.80q: must be text of at most %d bytes", i, p.Group, MaxName)
		}
	}
	if content > MaxContent {
		fault("body: all bodies, ids and groups have %d bytes: must be at most %d", content, MaxContent)
	}
	return errors.Join(faults...)
}

// Same reports whether b asks for what r is about: then a repeated Begin with
// the same ID is a question, not a mistake. Times may differ.
func (b Begin) Same(r Record) bool {
	same := b.Tx.ID == r.ID && b.Tx.Kind == r.Kind && b.Tx.Hold == r.Hold && string(b.Tx.Body) == string(r.Body)
	return same && b.Rule != nil && b.Rule.String() == r.Rule && slices.EqualFunc(b.Parties, r.Parties, func(x, y Party) bool {
		return x.ID == y.ID && x.Stage == y.Stage && x.Group == y.Group && string(x.Body) == string(y.Body)
	})
}
