package teller

import (
	"fmt"
	"strconv"
	"strings"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/facts"
)

// rolloutsTold is the subject under which the cursor holds the number, in their
// order, of the newest rollout that was told of.
const rolloutsTold = "told/rollouts"

// Rollouts are those that are kept, at one moment.
type Rollouts struct {
	Known  bool // false: they have not been read yet
	Items  []facts.Change
	Oldest uint64 // number of the oldest of Items in the order in which all began; 0: there is none
	Newest uint64
}

// rollouts tells of all that this outbox has not told yet, whoever told it
// elsewhere: a replica that takes over leaves nothing out.
func (d *desk) rollouts(x *draft, r Rollouts) {
	if !r.Known {
		return
	}
	for _, c := range r.Items {
		subject := facts.RolloutSubject(c.ID)
		x.now[subject] = facts.OfRollout(c, d.told.get(subject))
	}
	told, _ := strconv.ParseUint(d.told.get(rolloutsTold)["number"].State, 10, 64) // 0 of none
	if r.Oldest > told+1 {
		reason := fmt.Sprintf("rollouts %d to %d, as they are counted, left the history before they were told", told+1, r.Oldest-1)
		x.gaps = append(x.gaps, events.GapData{Replica: d.cfg.Replica, Reason: reason, Scope: "rollouts"})
	}
	if r.Newest > told {
		x.now[rolloutsTold] = facts.Kept(strconv.FormatUint(r.Newest, 10))
	}
	if r.Newest >= told { // else the store's answer is an old one
		d.leave(x, facts.RolloutSubject(""))
	}
}

// holds tells what the own guard holds back.
func (d *desk) holds(x *draft, w World) {
	if !w.HoldsKnown {
		return
	}
	for _, h := range w.Holds {
		h.Replica = d.cfg.Replica
		x.now[facts.GuardSubject(h.Service)] = facts.OfHold(h)
	}
	d.leave(x, facts.GuardSubject(""))
}

// transactions tells of those that changed.
func (d *desk) transactions(x *draft, b batch) {
	if b.missed > 0 {
		reason := fmt.Sprintf("%d changes of transactions found no room to wait", b.missed)
		x.gaps = append(x.gaps, events.GapData{Replica: d.cfg.Replica, Reason: reason, Scope: "transactions"})
	}
	for id, one := range b.items {
		subject := facts.TransactionSubject(id)
		if one.of != nil {
			x.now[subject] = one.of(d.told.get(subject))
		} else {
			x.now[subject] = nil
		}
	}
	if b.only == nil {
		return
	}
	kind := facts.TransactionSubject("")
	for subject := range d.told[kind] {
		id := strings.TrimPrefix(subject, kind)
		if b.items[id] == nil && !b.only[id] {
			x.now[subject] = nil
		}
	}
}
