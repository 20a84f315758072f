package txn

import (
	"strings"
	"unicode/utf8"
)

// commit is the decision. Who was silent or not asked hears of it too.
func (c *change) commit(reason string) {
	c.keep(Forced)
	c.decide(Commit, Committing, reason)
	for i := range c.Parties {
		c.Parties[i].Ending = Owed
	}
	c.tell()
	c.settle()
}

// abort needs no forced record: without one it is presumed.
func (c *change) abort(reason string) {
	c.keep(Lazily)
	c.decide(Abort, Aborting, reason)
	for i := range c.Parties {
		p := &c.Parties[i]
		p.Ending = Owed
		if p.Vote == Unasked || p.Vote == No {
			p.Ending = Spared
		}
	}
	c.tell()
	c.settle()
}

func (c *change) decide(o Outcome, p Phase, reason string) {
	c.Outcome, c.Phase, c.Reason, c.Decided, c.Ready = o, p, cut(reason, maxText), c.at, false
}

// tell calls everybody who is owed the decision.
func (c *change) tell() {
	for i := range c.Parties {
		if c.Parties[i].Ending == Owed {
			c.call(c.decision(), i)
		}
	}
}

func (c *change) decision() Call {
	if c.Outcome == Commit {
		return CallCommit
	}
	return CallRollback
}

// settle ends the transaction when nobody is owed anything.
func (c *change) settle() {
	if c.Phase != Committing && c.Phase != Aborting {
		return
	}
	if owed, refused := c.Unsettled(); owed+refused == 0 {
		c.Phase, c.Ended = Done, c.at
	}
}

// telling reports whether the decision is going out and finds the party.
func (c *change) telling(party string) (int, bool) {
	i := c.index(party)
	return i, i >= 0 && (c.Phase == Committing || c.Phase == Aborting)
}

func (c *change) ack(e Ack) {
	i, ok := c.telling(e.Party)
	if !ok || e.Term != c.Term {
		return
	}
	if p := &c.Parties[i]; p.Ending == Owed || p.Ending == Refused {
		p.Ending = Acked
		c.keep(Lazily)
		c.settle()
	}
}

// refusal is kept by force: a party that did otherwise is never forgotten.
func (c *change) refusal(party string, term uint64, text string) {
	i, ok := c.telling(party)
	if !ok || term != c.Term {
		return
	}
	if p := &c.Parties[i]; p.Ending == Owed || p.Ending == Refused {
		p.Ending = Refused
		c.say(i, text)
		c.keep(Forced)
	}
}

// rejoin repeats what a party may have missed: it is asked again where its vote
// is missing, and told the decision that it is owed.
func (c *change) rejoin(party string) {
	i := c.index(party)
	if i < 0 {
		return
	}
	p := &c.Parties[i]
	switch {
	case c.Phase == Preparing && p.Vote == Asked:
		c.call(CallPrepare, i)
	case c.Phase == Preparing && p.Vote == Abstain:
		p.Vote = Asked
		c.call(CallPrepare, i)
		c.keep(Nothing)
		c.judge()
	case p.Ending == Owed:
		c.call(c.decision(), i)
	}
}

// retry leaves the endings as they are until the party answers: a transaction
// does not look healed because somebody hopes so.
func (c *change) retry(party string) {
	for i, p := range c.Parties {
		if (party == "" || party == p.ID) && (p.Ending == Owed || p.Ending == Refused) {
			c.call(c.decision(), i)
		}
	}
}

func (c *change) resolve(e Resolve) {
	for i := range c.Parties {
		p := &c.Parties[i]
		if p.Ending == Refused && e.Party == "" || e.Party == p.ID && (p.Ending == Refused || p.Ending == Owed) {
			text := "resolved: " + e.Text
			if p.Text != "" {
				text += "; it said: " + p.Text
			}
			p.Ending = Resolved
			c.say(i, text)
			c.keep(Forced)
		}
	}
	if c.changed {
		c.settle()
	}
}

// say keeps a party's words, as many as fit.
func (c *change) say(i int, text string) {
	others := 0
	for k := range c.Parties {
		if k != i {
			others += len(c.Parties[k].Text)
		}
	}
	c.Parties[i].Text = cut(text, min(maxText, max(maxTexts-others, 0)))
}

// cut shortens a text to n bytes of valid UTF-8.
func cut(text string, n int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= n {
		return text
	}
	const more = "…"
	if n < len(more) {
		return ""
	}
	n -= len(more)
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + more
}
