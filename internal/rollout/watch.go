package rollout

import (
	"fmt"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
)

const (
	lookSoon   = 50 * time.Millisecond // while proxies take a revision, at first
	lookLater  = 500 * time.Millisecond
	sourceUndo = "undo" // of rollouts, where others name their carrier
	soonUntil  = 2 * time.Second
	// pushAtMost is how long after the commit refusals count against it.
	pushAtMost = 30 * time.Second
)

// watched is the rollout that committed last, while something may yet become of it.
type watched struct {
	following // of this replica; since is the commit

	id        string
	from      string    // hash of the revision before
	confirmBy time.Time // zero: needs no confirmation
	undo      bool      // it is one
	trial     *trial    // its proxies follow once the revision is on its way to all
	settings  adminapi.RolloutSettings
	pushed    bool // proxies have it, or had their time
	next      time.Time
}

// watchOf watches a rollout that wall, the time of the clock on the wall, finds as it
// is. From here on the clock that never jumps counts: the wall's says how much is left
// of what was begun before, by this server or by another, and never more than was given.
func watchOf(r adminapi.Rollout, rev policy.Revision, wall time.Time) *watched {
	now := time.Now()
	w := &watched{id: r.ID, following: following{rev: rev, since: now}, next: now, from: r.From.Hash, undo: r.Source == sourceUndo, settings: r.Settings}
	if r.Decided != nil {
		w.since = now.Add(-within(wall.Sub(*r.Decided), pushAtMost))
	}
	if r.ConfirmBy != nil {
		w.confirmBy = now.Add(within(r.ConfirmBy.Sub(wall), time.Duration(r.Settings.ConfirmTimeout)))
	}
	w.pushed = r.Phase == adminapi.PhaseConfirming
	return w
}

// within is d, from 0 to most.
func within(d, most time.Duration) time.Duration { return min(max(d, 0), most) }

// confirms reports whether a person has yet to confirm it.
func (w *watched) confirms() bool { return !w.confirmBy.IsZero() }

// look does what falls due.
func (d *desk) look() {
	w := d.watch
	if w == nil || time.Now().Before(w.next) {
		return
	}
	if !w.pushed {
		d.pushing(w)
	}
	if d.watch != w || !w.pushed {
		return
	}
	w.next = w.confirmBy
	if !time.Now().Before(w.confirmBy) {
		d.takeBack(w, "not confirmed in time")
	}
}

// pushing follows the proxies to the revision.
func (d *desk) pushing(w *watched) {
	own := d.m.look(&w.following)
	up := d.m.all(own)
	passed := time.Since(w.since)
	if up.Published || passed > pushAtMost {
		w.trial.end()
	}
	w.next = time.Now().Add(w.again())
	count := adminapi.PushCount{Proxies: up.Proxies, Acked: up.Acked, Refused: up.Refused}
	whole := !up.Whole.IsZero()
	tooMany := !w.undo && w.settings.MaxFailed.Exceeded(up.Refused, up.Proxies)
	if tooMany && d.open != nil {
		return // its turn comes
	}
	if whole || passed > pushAtMost {
		w.pushed = true
	}
	d.m.ledger.edit(w.id, func(it *adminapi.RolloutDetail) {
		it.Pushed = &count
		if !w.pushed {
			return
		}
		if whole && count.Acked > 0 {
			it.Skew = adminapi.Duration(min(max(up.Whole.Sub(w.since), 0), passed)) // by another's clock, maybe
		}
		entry(it, "", "", "%d of %d proxies run it, %d refused it", count.Acked, count.Proxies, count.Refused)
	})
	if tooMany && d.fromKept(w) {
		text := fmt.Sprintf("%d of %d proxies refused it after the commit, over %s", up.Refused, up.Proxies, w.settings.MaxFailed)
		if len(up.Refusals) > 0 {
			text += fmt.Sprintf("; %s: %s", up.Refusals[0].Proxy, up.Refusals[0].Message)
		}
		d.m.ledger.edit(w.id, func(it *adminapi.RolloutDetail) {
			it.State, it.Reason = adminapi.Heuristic, text
			entry(it, "", "", "%s", text)
		})
		d.takeBack(w, text)
		return
	}
	switch {
	case !w.pushed:
	case w.confirms():
		d.m.ledger.edit(w.id, func(it *adminapi.RolloutDetail) { it.Phase = adminapi.PhaseConfirming })
		d.save(w.id)
	default:
		d.close(w)
	}
}

// close ends the watch: nothing more becomes of the rollout.
func (d *desk) close(w *watched) {
	d.watch = nil
	d.m.ledger.edit(w.id, ended)
	d.save(w.id)
}

// fromKept reports whether the revision before can be had.
func (d *desk) fromKept(w *watched) bool {
	_, err := d.m.cfg.Keeper.Revision(d.ctx, w.from)
	return w.from != "" && err == nil
}

// takeBack undoes a rollout by itself: without a vote, as all ran it before.
func (d *desk) takeBack(w *watched, why string) {
	w.next = time.Now().Add(retryStore)
	if d.open != nil {
		return
	}
	settings := w.settings
	settings.Mode, settings.ConfirmTimeout, settings.Canary = adminapi.ModeDirect, 0, ""
	r := &running{source: sourceUndo, undoes: w.id, settings: settings}
	if _, err := d.undo(r, w.from, why); err != nil {
		d.m.trouble(d.ctx, fmt.Errorf("undo rollout %s: %w", w.id, err))
	}
}

// undo begins a rollout back to a revision that is kept. What it takes back is
// rejected first, so that the carrier never brings it in again.
func (d *desk) undo(r *running, to, why string) (adminapi.Rollout, error) {
	base, _, err := d.m.cfg.Keeper.Current(d.ctx)
	if err != nil {
		return adminapi.Rollout{}, err
	}
	target, err := d.m.cfg.Keeper.Revision(d.ctx, to)
	if err != nil {
		return adminapi.Rollout{}, fmt.Errorf("%w: %.8s is not kept any more: %w", adminapi.ErrNoRevision, to, err)
	}
	if target.Hash == base.Hash {
		return adminapi.Rollout{}, fmt.Errorf("%w: revision %.8s is in force", adminapi.ErrNotNow, to)
	}
	r.base, r.candidate, r.blameless = base, target, true
	r.changes = revision.Changed(base, target)
	if r.id == "" {
		r.id = idOf(d.m.ledger.now().Seq+1, target)
	}
	reason := "taken back by rollout " + r.id
	if why != "" {
		reason += ": " + why
	}
	before := d.m.ledger.now().Rejections
	rejections := TakeBack(before, base, target, r.changes, d.m.proposal(), Rejection{Reason: reason, Rollout: r.id})
	if err := d.m.ledger.set(d.ctx, func(s *state) { s.Rejections = rejections }); err != nil {
		d.keep(func(s *state) { s.Rejections = before })
		return adminapi.Rollout{}, err
	}
	if err := d.begin(r); err != nil {
		return adminapi.Rollout{}, err
	}
	it, _ := d.m.ledger.get(r.id)
	return it.Rollout, nil
}
