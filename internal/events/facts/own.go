package facts

import (
	"time"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/mesh"
)

// milestones are the states of kinds that pass through several, in their order.
var milestones = map[Kind][]string{
	Rollout: {"started", "prepared", "committed", "aborted", "confirmed", "heuristic", "rolledback"},
	Tx:      {"started", "committed", "rolledback", "heuristic"},
}

// States of rollouts and transactions, in their users' words.
const (
	pending    = "PENDING"
	committed  = "COMMITTED"
	rolledBack = "ROLLED_BACK"
	heuristic  = "HEURISTIC"
)

// path gathers the milestones that one object has passed, its own version being
// when it began: an id may be that of another object, later.
type path struct {
	kind    Kind
	version string
	out     Subject
}

// pathOf begins with what was told of the same object: a milestone stays passed,
// even if whoever looks now knows less.
func pathOf(kind Kind, began time.Time, before Subject) path {
	p := path{kind, moment(began), Subject{}}
	for name, f := range before {
		if f.Once && f.Kind == kind && f.Version == p.version {
			p.out[name] = f
		}
	}
	return p
}

// pass adds a milestone; data is made only where it is not told yet.
func (p path) pass(name string, at time.Time, data func() any) {
	if _, ok := p.out[name]; ok {
		return
	}
	f := fact(p.kind, name, p.version, data())
	f.Once, f.At = true, at
	p.out[name] = f
}

// moment is a time as versions have it.
func moment(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// RolloutSubject names a rollout.
func RolloutSubject(id string) string { return "rollout/" + id }

// Change is a rollout as it stands.
type Change struct {
	ID, State string // State is PENDING, COMMITTED, ROLLED_BACK or HEURISTIC
	Revision  uint64 // 0 until it was in force
	UndoneBy  string // the rollout that took it back
	Asked     bool   // sidecars are asked
	Held      bool   // they have voted, and a person commits
	Started   time.Time
	Decided   time.Time
	Confirmed time.Time // zero: nobody did, or need not
	// Detail is all that is known of it.
	Detail func() events.Rollout
}

// OfRollout returns the milestones that a rollout has passed; before is what was
// told of it.
func OfRollout(c Change, before Subject) Subject {
	p := pathOf(Rollout, c.Started, before)
	pass := func(milestone string, at time.Time, state string) {
		p.pass(milestone, at, func() any { return c.at(milestone, state) })
	}
	pass("started", c.Started, pending)
	if c.Asked && (c.Held || c.Revision > 0 || c.State == heuristic) {
		pass("prepared", c.Decided, pending)
	}
	if c.Revision > 0 {
		pass("committed", c.Decided, committed)
	}
	if c.State == rolledBack {
		pass("aborted", c.Decided, rolledBack)
	}
	if !c.Confirmed.IsZero() {
		pass("confirmed", c.Confirmed, committed)
	}
	if c.State == heuristic {
		pass("heuristic", time.Time{}, heuristic)
	}
	if c.UndoneBy != "" {
		pass("rolledback", time.Time{}, rolledBack)
	}
	return p.out
}

// at is the data of a milestone, whenever it is told: what came later is left out.
func (c Change) at(milestone, state string) events.Rollout {
	r := c.Detail()
	r.Rollout, r.State, r.Revision = c.ID, state, c.Revision
	if c.State != state {
		r.Reason = "" // it says how it ended
	}
	if state == pending {
		r.Revision, r.ConfirmBy = 0, time.Time{}
	}
	if milestone == "started" {
		r.Votes = events.Votes{}
	}
	if milestone != "confirmed" {
		r.ConfirmedBy = ""
	}
	if milestone == "rolledback" {
		r.UndoneBy = c.UndoneBy
	}
	return r
}

// TransactionSubject names a transaction of applications.
func TransactionSubject(id string) string { return "transaction/" + id }

// Transaction is one as it stands. Of the participants Ending is refused,
// resolved or "".
type Transaction struct {
	ID               string
	Decision         string // commit, abort, or "" before
	Heuristic        bool
	Started, Decided time.Time
	Reason           string
	Participants     func() []events.Participant
}

// OfTransaction returns the milestones that a transaction has passed; before is
// what was told of it. That a participant did otherwise is told again with each
// who does.
func OfTransaction(t Transaction, before Subject) Subject {
	p := pathOf(Tx, t.Started, before)
	p.pass("started", t.Started, func() any { return t.at(pending) })
	switch t.Decision {
	case "commit":
		p.pass("committed", t.Decided, func() any { return t.at(committed) })
	case "abort":
		p.pass("rolledback", t.Decided, func() any { return t.at(rolledBack) })
	}
	if t.Heuristic {
		p.out["heuristic"] = fact(Tx, "heuristic", p.version, t.at(heuristic))
	}
	return p.out
}

// at is the data of one milestone.
func (t Transaction) at(status string) events.Transaction {
	out := events.Transaction{Transaction: t.ID, Status: status, Participants: t.Participants(), Started: t.Started.UTC()}
	if status != pending {
		out.Reason, out.Decided = t.Reason, t.Decided.UTC()
	}
	for i := range out.Participants {
		one := &out.Participants[i]
		switch status {
		case pending:
			*one = events.Participant{Service: one.Service}
		case heuristic:
			out.Decision = t.Decision
		default:
			one.Ending = ""
		}
	}
	return out
}

// GuardSubject names the guard of a service.
func GuardSubject(service string) string { return "guard/" + service }

// Hold is a loss that a replica's guard does not believe.
type Hold struct {
	Service, Reason, Replica string
	Lost                     []string
	Since, Expires           time.Time
}

// OfHold returns the fact of a hold.
func OfHold(h Hold) Subject {
	name, datacenter := mesh.SplitServiceKey(h.Service)
	data := events.Guard{Service: name, Datacenter: datacenter, Reason: h.Reason, Lost: h.Lost, Since: h.Since.UTC(), Expires: h.Expires.UTC(), Replica: h.Replica}
	return Subject{"hold": fact(Guard, "tripped", "", data)}
}

// Kept is a subject that is a number and told to nobody.
func Kept(number string) Subject { return Subject{"number": {Kind: Note, State: number}} }
