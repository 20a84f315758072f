package app

import (
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/facts"
	"meshlite.dev/internal/events/teller"
	"meshlite.dev/internal/rollout"
	"meshlite.dev/internal/txn"
)

// toldRollouts is the history as it is told of.
func toldRollouts(k rollout.Kept) teller.Rollouts {
	out := teller.Rollouts{Known: k.Read, Oldest: k.Oldest, Newest: k.Newest}
	for _, r := range k.Items {
		out.Items = append(out.Items, toldRollout(r))
	}
	return out
}

func toldRollout(r adminapi.Rollout) facts.Change {
	first := r.From.Hash == "" // nobody serves anything yet
	return facts.Change{
		ID: r.ID, State: r.State, Revision: r.To.Number, UndoneBy: r.UndoneBy,
		Asked:   r.Settings.Mode != adminapi.ModeDirect && !r.Settings.SkipVote && !first,
		Held:    r.State == adminapi.Pending && r.Phase == adminapi.PhaseHeld,
		Started: r.Started, Decided: at(r.Decided), Confirmed: at(r.Confirmed),
		Detail: func() events.Rollout { return detailOf(r) },
	}
}

func detailOf(r adminapi.Rollout) events.Rollout {
	out := events.Rollout{
		Reason: r.Reason, Mode: r.Settings.Mode, SkipVote: r.Settings.SkipVote, By: r.By, Source: r.Source,
		From: r.From.Number, Hash: r.To.Hash, Documents: []events.DocumentChange{},
		Votes:  events.Votes{Voters: r.Votes.Voters, Yes: r.Votes.Yes, No: r.Votes.No, Abstain: r.Votes.Abstain},
		Blamed: r.Blamed, ConfirmBy: at(r.ConfirmBy), ConfirmedBy: r.ConfirmedBy, Undoes: r.Undoes,
	}
	for _, c := range r.Changes {
		out.Documents = append(out.Documents, events.DocumentChange(c))
	}
	return out
}

// at is a time that may be missing.
func at(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

func toldHolds(all []catalog.Hold) []facts.Hold {
	var out []facts.Hold
	for _, h := range all {
		out = append(out, facts.Hold{Service: h.Service, Reason: h.Reason, Lost: h.Lost, Since: h.Since, Expires: h.Expires})
	}
	return out
}

// toldTransactions passes what the coordinator says on to who tells.
type toldTransactions struct{ to *teller.Queue }

// recovered hears of all that the journal has: what was decided while nobody told
// is told now.
func (t toldTransactions) recovered(all []txn.Record) {
	ids := make([]string, len(all))
	for i, r := range all {
		ids[i] = string(r.ID)
	}
	t.to.Begin(ids)
	for _, r := range all {
		t.put(r)
	}
}

// observe hears of each change; most of them are nothing to tell.
func (t toldTransactions) observe(before, after txn.State) {
	now := after.Status()
	if before.Phase == 0 || before.Outcome != after.Outcome || now == txn.Heuristic || before.Status() != now {
		t.put(after.Record)
	}
}

func (t toldTransactions) forgot(id txn.ID) { t.to.Gone(string(id)) }

func (t toldTransactions) put(r txn.Record) {
	t.to.Put(string(r.ID), func(before facts.Subject) facts.Subject { return facts.OfTransaction(toldTransaction(r), before) })
}

func toldTransaction(r txn.Record) facts.Transaction {
	out := facts.Transaction{
		ID: string(r.ID), Heuristic: r.Status() == txn.Heuristic, Started: r.Started, Decided: r.Decided, Reason: r.Reason,
		Participants: func() []events.Participant { return partsOf(r) },
	}
	if r.Outcome != txn.Undecided {
		out.Decision = r.Outcome.String()
	}
	return out
}

func partsOf(r txn.Record) []events.Participant {
	out := make([]events.Participant, len(r.Parties))
	for i, p := range r.Parties {
		out[i] = events.Participant{Service: p.ID, Vote: p.Vote.String(), Text: p.Text}
		if p.Ending == txn.Refused || p.Ending == txn.Resolved {
			out[i].Ending = p.Ending.String()
		}
	}
	return out
}
