package txn

import (
	"slices"
	"time"
)

// Step is the entire protocol. The caller keeps out.Record as out.Write says
// before it performs out.Actions in order. Any input is taken in any state: one
// that means nothing there changes nothing and asks for nothing.
func Step(s State, in Input) (next State, out Decision) {
	c := change{State: s, at: millis(in.At)}
	c.Parties = slices.Clone(s.Parties)
	switch e := in.Event.(type) {
	case Begin:
		c.begin(e)
	case Voted:
		c.voted(e)
	case Ack:
		c.ack(e)
	case Refusal:
		c.refusal(e.Party, e.Term, e.Text)
	case TimedOut:
		c.timedOut()
	case Cancel:
		c.cancel(e.Text)
	case Approve:
		c.approve()
	case Rejoin:
		c.rejoin(e.Party)
	case Retry:
		c.retry(e.Party)
	case Resolve:
		c.resolve(e)
	case Recover:
		c.recover(e.Term)
	}
	if !c.changed {
		return s, Decision{Actions: c.actions}
	}
	if c.write != Nothing {
		c.Seq++
	}
	out = Decision{Write: c.write, Actions: c.actions}
	if c.write != Nothing {
		out.Record = c.Record
	}
	return c.State, out
}

// change is a state on its way to the next.
type change struct {
	State
	at      time.Time
	changed bool
	write   Write
	actions []Action
}

// keep marks the state as changed, and to be written at least as w says.
func (c *change) keep(w Write) {
	c.changed, c.write = true, max(c.write, w)
}

func (c *change) call(what Call, i int) {
	c.actions = append(c.actions, Action{Call: what, Party: c.Parties[i].ID})
}

func (c *change) begin(e Begin) {
	if c.Phase != 0 {
		return
	}
	c.Tx, c.Term, c.Rule, c.Phase = e.Tx, e.Term, e.Rule, Preparing
	if e.Rule != nil {
		c.Tx.Rule = cut(e.Rule.String(), MaxName)
	}
	c.Started, c.Deadline = c.at, millis(e.Tx.Deadline)
	for _, p := range e.Parties {
		c.Parties = append(c.Parties, Party{ID: p.ID, Stage: p.Stage, Group: p.Group, Body: p.Body})
	}
	c.keep(Forced) // whom nobody remembers to have asked, nobody rolls back
	c.judge()
}

// judge lets the rule look at the votes.
func (c *change) judge() {
	if c.Rule == nil {
		return
	}
	c.Ready = false
	j := c.Rule.Judge(slices.Clone(c.Parties))
	c.Reason = cut(j.Reason, maxText)
	switch {
	case j.Outcome == Abort:
		c.abort(j.Reason)
	case j.Outcome == Commit && c.refusedVote():
		c.abort("the rule " + c.Tx.Rule + " would commit over a no")
	case j.Outcome == Commit && c.Hold && !c.Approved:
		c.Ready = true
		c.Reason = cut("waits for approval: "+j.Reason, maxText)
	case j.Outcome == Commit:
		c.commit(j.Reason)
	default:
		c.ask(j.Ask)
	}
}

func (c *change) ask(parties []int) {
	for _, i := range parties {
		if i >= 0 && i < len(c.Parties) && c.Parties[i].Vote == Unasked {
			c.Parties[i].Vote = Asked
			c.call(CallPrepare, i)
		}
	}
}

func (c *change) refusedVote() bool {
	return slices.ContainsFunc(c.Parties, func(p Party) bool { return p.Vote == No })
}

// voted takes a vote while votes count. A no is final, and a yes gives way to a
// no alone.
func (c *change) voted(e Voted) {
	i := c.index(e.Party)
	if i < 0 || e.Term != c.Term || e.Vote != Yes && e.Vote != No && e.Vote != Abstain {
		return
	}
	p := &c.Parties[i]
	if c.Phase != Preparing {
		c.late(i, e)
		return
	}
	if p.Vote == No || p.Vote == e.Vote || p.Vote == Yes && e.Vote == Abstain {
		return
	}
	p.Vote = e.Vote
	c.say(i, e.Text)
	c.keep(Nothing)
	c.judge()
}

// late takes a vote that comes after the decision. A no to what is committed is
// a refusal; a yes to what is aborted holds something once more.
func (c *change) late(i int, e Voted) {
	p := &c.Parties[i]
	switch {
	case e.Vote == No && c.Outcome == Commit && p.Vote != Yes:
		c.refusal(e.Party, e.Term, e.Text)
	case e.Vote == Yes && c.Outcome == Abort && (p.Ending == Acked || p.Ending == Spared):
		p.Vote, p.Ending = Yes, Owed
		c.Phase, c.Ended = Aborting, time.Time{}
		c.call(CallRollback, i)
		c.keep(Lazily)
	}
}

// timedOut ends the voting: what the rule leaves open is aborted.
func (c *change) timedOut() {
	if c.Phase != Preparing {
		return
	}
	for i := range c.Parties {
		if p := &c.Parties[i]; p.Vote == Asked {
			p.Vote = Abstain
			c.say(i, "no answer in time")
		}
	}
	c.keep(Nothing)
	asked := len(c.actions)
	c.judge()
	if c.Phase != Preparing {
		return
	}
	c.actions = c.actions[:asked] // too late to ask more
	c.abort("the deadline passed: " + c.Reason)
}

func (c *change) cancel(text string) {
	if c.Phase == Preparing {
		c.abort("cancelled: " + text)
	}
}

func (c *change) approve() {
	if c.Phase == Preparing && !c.Approved {
		c.Approved = true
		c.keep(Nothing)
		c.judge()
	}
}

// recover takes over. Whom the last term asked died with it, so that everybody
// may be prepared who did not say no. The record is forced even of an abort: after
// it the last term cannot commit any more.
func (c *change) recover(term uint64) {
	if c.Phase == 0 || term <= c.Term {
		return
	}
	c.Term = term
	if c.Phase == Done {
		c.keep(Nothing) // nothing to repeat; but answers to earlier terms count no more
		return
	}
	c.keep(Forced)
	if c.Phase != Preparing {
		c.tell()
		return
	}
	for i := range c.Parties {
		if p := &c.Parties[i]; p.Vote == Unasked {
			p.Vote = Asked
		}
	}
	c.abort("the coordinator was lost before the decision")
}
