package rollout

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
)

// finish takes the end of a transaction.
func (d *desk) finish(o outcome) {
	if d.ctx.Err() != nil {
		return // the next reign finds out
	}
	r := o.of
	if o.view.Outcome != txn.Commit {
		r.trial.end()
	}
	d.open = nil
	d.m.open.Store(nil)
	if r.trial == nil { // else it ends when all are sent the same
		d.m.tell(func(n *note) { n.Ask = nil })
	}
	switch {
	case o.view.Status() == txn.Heuristic:
		d.mixed(r, o)
	case o.view.Outcome == txn.Commit:
		d.committed(r)
	default:
		d.rolledBack(r, o)
	}
	if err := d.m.ledger.save(d.ctx, r.id); err != nil {
		d.m.cfg.Log.WarnContext(d.ctx, "a rollout is not stored as it ended", "rollout", r.id, "err", err)
	}
	d.dirty = d.dirty || d.m.proposal() != nil
}

// committed serves what is in force.
func (d *desk) committed(r *running) {
	rev, _, err := d.m.cfg.Keeper.Current(d.ctx)
	if err != nil {
		rev = r.candidate // it was moved to
		d.m.cfg.Log.WarnContext(d.ctx, "the revision in force is not read", "err", err)
	}
	if !r.blameless {
		d.keep(func(s *state) { s.Rejections = r.kept })
	}
	d.silent, d.again = 0, time.Time{}
	d.m.use(rev)
	d.supersede(r)
	now := d.m.cfg.Now().UTC()
	d.m.ledger.edit(r.id, func(it *adminapi.RolloutDetail) {
		if it.State == adminapi.Pending { // its own word was lost with an earlier reign
			it.State, it.Decided, it.Reason = adminapi.Committed, &now, "committed before a restart"
			entry(it, "", "", "committed")
		}
		it.Phase, it.To.Number = adminapi.PhasePushing, rev.Number
		if wait := time.Duration(it.Settings.ConfirmTimeout); wait > 0 && it.ConfirmBy == nil {
			by := now.Add(wait)
			it.ConfirmBy = &by
		}
	})
	if r.undoes != "" {
		d.m.ledger.edit(r.undoes, func(it *adminapi.RolloutDetail) { it.UndoneBy = r.id })
		d.save(r.undoes)
	}
	it, _ := d.m.ledger.get(r.id)
	d.watch = watchOf(it.Rollout, rev, now)
	d.watch.trial = r.trial
	if r.election != nil {
		d.watch.among = r.election.names()
		sum, _ := r.tally.sum()
		d.watch.nobody = len(d.watch.among) == 0 && sum.Voters > 0 // of this replica
	}
	d.m.cfg.Log.InfoContext(d.ctx, "rollout committed", "rollout", r.id, "revision", rev.Number, "hash", rev.Hash, "documents", len(rev.Documents), "changed", len(r.changes))
}

// supersede ends the watch over the rollout before.
func (d *desk) supersede(by *running) {
	w := d.watch
	if w == nil || w.id == by.id {
		return
	}
	w.trial.end()
	d.watch = nil
	d.m.ledger.edit(w.id, func(it *adminapi.RolloutDetail) {
		entry(it, "", "", "rollout %s came after it", by.id)
		ended(it)
	})
	d.save(w.id)
}

// mixed is a pointer that others moved: what was decided never came in force.
func (d *desk) mixed(r *running, o outcome) {
	r.trial.end()
	text := "not everything was done as decided"
	for _, p := range o.view.Parties {
		if p.Ending == txn.Refused {
			text = p.ID + ": " + p.Text
		}
	}
	d.m.ledger.edit(r.id, func(it *adminapi.RolloutDetail) {
		it.State, it.Reason = adminapi.Heuristic, text
		entry(it, "", "", "%s", text)
		ended(it)
	})
	if _, err := d.coord.Resolve(d.ctx, txn.ID(r.id), "", "the revision in force is "+text); err != nil {
		d.m.cfg.Log.WarnContext(d.ctx, "a rollout stays open in the journal", "rollout", r.id, "err", err)
	}
	d.m.cfg.Log.ErrorContext(d.ctx, "a rollout did not end as decided", "rollout", r.id, "reason", text)
}

// rolledBack finds out who is to blame.
func (d *desk) rolledBack(r *running, o outcome) {
	why := cmp.Or(o.view.Reason, "the server stopped before the decision")
	if o.fault != nil && !errors.Is(o.fault, coordinator.ErrUnknown) {
		why = o.fault.Error()
	}
	var policies, proxies []string
	words := ""
	if r.tally != nil {
		policies, words, proxies = r.tally.refusals()
	}
	if text, by := r.trial.refusal(); text != "" {
		words, proxies = text, by
	}
	var blamed []policy.Key
	switch by := r.aborted.Load(); {
	case by != nil:
		why = *by
		if !r.blameless {
			blamed = r.changes
		}
		proxies = nil
	case words != "" && !r.blameless:
		why = words
		blamed = Blame(r.changes, r.base, r.candidate, policies)
	case words != "":
		why = words
	case r.lost.Load(): // nobody was silent: it goes on at once, with those who are left
	case !r.recovered && !r.blameless && !d.dirty: // no edit came meanwhile
		d.silent++
		d.wait(time.Now().Add(backOff(d.silent)), fmt.Sprintf("rollout %s was rolled back: %s; it is tried again", r.id, why))
		d.pending = r.changes
	}
	if len(blamed) > 0 {
		d.silent = 0
		d.keep(func(s *state) {
			s.Rejections = Reject(r.kept, r.candidate, blamed, Rejection{Reason: why, Rollout: r.id, Proxies: proxies})
		})
	}
	d.m.ledger.edit(r.id, func(it *adminapi.RolloutDetail) {
		now := time.Now().UTC()
		it.State, it.Reason, it.Decided, it.Deadline = adminapi.RolledBack, why, &now, nil
		for _, key := range blamed {
			it.Blamed = append(it.Blamed, key.String())
		}
		entry(it, "", "", "rolled back: %s", why)
		ended(it)
	})
	d.m.cfg.Log.WarnContext(d.ctx, "a rollout was rolled back; the revision in force stays", "rollout", r.id, "reason", why, "blamed", len(blamed))
}

func ended(it *adminapi.RolloutDetail) {
	now := time.Now().UTC()
	it.Phase, it.Ended = "", &now
}

// keep changes what rollouts share; what is not stored holds while this replica
// leads.
func (d *desk) keep(edit func(*state)) {
	if err := d.m.ledger.set(d.ctx, edit); err != nil {
		d.m.cfg.Log.WarnContext(d.ctx, "rejections are not stored", "err", err)
	}
}

func (d *desk) save(id string) {
	if err := d.m.ledger.save(d.ctx, id); err != nil {
		d.m.cfg.Log.WarnContext(d.ctx, "a rollout is not stored", "rollout", id, "err", err)
	}
}
