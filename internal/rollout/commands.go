package rollout

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
)

func (d *desk) start(req adminapi.StartRequest) (adminapi.StartResponse, error) {
	if it, ok := d.m.ledger.get(req.ID); ok && req.ID != "" {
		return adminapi.StartResponse{Rollout: &it.Rollout}, nil
	}
	err := d.m.ledger.set(d.ctx, func(s *state) {
		s.Next, s.NextID, s.NextBy = &req.Options, req.ID, req.By
		if req.Retry {
			s.Rejections = nil
		}
	})
	if err != nil {
		return adminapi.StartResponse{}, err
	}
	d.dirty = d.dirty || req.Retry && d.m.proposal() != nil
	d.again = time.Time{}
	before := d.open
	d.next()
	if d.open != nil && d.open != before {
		it, _ := d.m.ledger.get(d.open.id)
		return adminapi.StartResponse{Rollout: &it.Rollout}, nil
	}
	return adminapi.StartResponse{Next: &req.Options}, nil
}

func (d *desk) undoTo(req adminapi.UndoRequest) (adminapi.Rollout, error) {
	if it, ok := d.m.ledger.get(req.ID); ok && req.ID != "" {
		return it.Rollout, nil
	}
	if d.open != nil {
		return adminapi.Rollout{}, fmt.Errorf("%w: rollout %s is open: abort it, or wait", adminapi.ErrNotNow, d.open.id)
	}
	base, ok, err := d.m.cfg.Keeper.Current(d.ctx)
	if err != nil {
		return adminapi.Rollout{}, err
	}
	settings := d.m.cfg.Settings
	if settings.Mode == adminapi.ModeHold {
		settings.Mode = adminapi.ModeAuto
	}
	settings.ConfirmTimeout, settings.Canary = 0, ""
	r := &running{id: req.ID, by: req.By, source: sourceUndo, settings: req.Options.Over(settings)}
	brought, known := adminapi.Rollout{}, false
	for _, it := range d.m.ledger.all() {
		if ok && it.To == refOf(base) {
			brought, known = it, true
			break
		}
	}
	r.undoes = brought.ID
	if req.ToRevision == "" {
		if !known || brought.From.Number == 0 {
			return adminapi.Rollout{}, fmt.Errorf("%w: none is known before that in force", adminapi.ErrNoRevision)
		}
		return d.undo(r, brought.From.Hash, "")
	}
	ref, err := d.m.find(req.ToRevision)
	if err != nil {
		return adminapi.Rollout{}, err
	}
	return d.undo(r, ref.Hash, "")
}

// decide does what verb says and returns when that is seen to be done.
func (d *desk) decide(o decision) (until func(adminapi.Rollout) bool, err error) {
	it, ok := d.m.ledger.get(o.Rollout)
	if !ok {
		return nil, fmt.Errorf("%w: %q", adminapi.ErrNoRollout, o.Rollout)
	}
	switch o.Verb {
	case adminapi.VerbCommit:
		return d.approve(it.Rollout, o.Request)
	case adminapi.VerbConfirm:
		return d.confirm(it.Rollout, o.Request)
	case adminapi.VerbAbort:
		return d.abort(it.Rollout, o.Request)
	}
	return d.settle(it.Rollout, o.Request)
}

func decided(r adminapi.Rollout) bool { return r.State != adminapi.Pending }

func always(adminapi.Rollout) bool { return true }

func notNow(r adminapi.Rollout, verb string) error {
	return fmt.Errorf("%w: rollout %s is %s%s: there is nothing to %s", adminapi.ErrNotNow, r.ID, r.State, phase(r), verb)
}

func phase(r adminapi.Rollout) string {
	if r.Phase == "" {
		return ""
	}
	return ", " + r.Phase
}

func (d *desk) approve(r adminapi.Rollout, req adminapi.DecideRequest) (func(adminapi.Rollout) bool, error) {
	switch {
	case r.State == adminapi.Committed:
		return always, nil
	case r.State != adminapi.Pending || r.Phase != adminapi.PhaseHeld:
		return nil, notNow(r, "commit")
	}
	if _, err := d.coord.Approve(d.ctx, txn.ID(r.ID)); err != nil {
		if errors.Is(err, coordinator.ErrDecided) {
			return nil, notNow(r, "commit")
		}
		return nil, err
	}
	d.note(r.ID, req, "committed by hand")
	return decided, nil
}

func (d *desk) confirm(r adminapi.Rollout, req adminapi.DecideRequest) (func(adminapi.Rollout) bool, error) {
	w := d.watch
	switch {
	case r.State == adminapi.Committed && r.Phase == "" && r.UndoneBy == "":
		return always, nil
	case w == nil || w.id != r.ID || !w.confirms() || d.open != nil:
		return nil, notNow(r, "confirm")
	}
	now := time.Now().UTC()
	err := d.m.ledger.amend(d.ctx, r.ID, func(it *adminapi.RolloutDetail) {
		it.ConfirmBy, it.Confirmed, it.ConfirmedBy = nil, &now, req.By
	})
	if err != nil {
		return nil, err
	}
	w.confirmBy = time.Time{}
	d.note(r.ID, req, "confirmed")
	d.again = time.Time{}
	if w.pushed {
		d.close(w)
	}
	return always, nil
}

func (d *desk) abort(r adminapi.Rollout, req adminapi.DecideRequest) (func(adminapi.Rollout) bool, error) {
	why := "aborted by " + cmp.Or(req.By, "an operator")
	if req.Reason != "" {
		why += ": " + req.Reason
	}
	switch {
	case r.State == adminapi.RolledBack || r.UndoneBy != "":
		return always, nil
	case d.open != nil && d.open.id == r.ID && r.State == adminapi.Pending:
		d.open.aborted.Store(&why)
		d.note(r.ID, req, "aborted")
		_, err := d.coord.Cancel(d.ctx, txn.ID(r.ID), why)
		if errors.Is(err, coordinator.ErrDecided) {
			d.open.aborted.Store(nil)
			return nil, notNow(r, "abort")
		}
		if err != nil && !errors.Is(err, coordinator.ErrUnknown) {
			return nil, err
		}
		return decided, nil
	case d.watch != nil && d.watch.id == r.ID && d.watch.confirms() && d.open == nil:
		undo := &running{by: req.By, source: sourceUndo, undoes: r.ID, settings: r.Settings}
		undo.settings.Mode, undo.settings.ConfirmTimeout, undo.settings.Canary = adminapi.ModeDirect, 0, ""
		if _, err := d.undo(undo, d.watch.from, why); err != nil {
			return nil, err
		}
		return func(r adminapi.Rollout) bool { return r.UndoneBy != "" }, nil
	}
	return nil, notNow(r, "abort")
}

// settle takes a HEURISTIC rollout as it is.
func (d *desk) settle(r adminapi.Rollout, req adminapi.DecideRequest) (func(adminapi.Rollout) bool, error) {
	if r.State != adminapi.Heuristic {
		return nil, notNow(r, "resolve")
	}
	d.note(r.ID, req, "resolved")
	d.m.ledger.edit(r.ID, func(it *adminapi.RolloutDetail) {
		it.ResolvedBy = cmp.Or(req.By, "an operator")
		if it.Phase != "" {
			ended(it)
		}
	})
	return always, d.m.ledger.save(d.ctx, r.ID)
}

// note writes who did what into a rollout's log.
func (d *desk) note(id string, req adminapi.DecideRequest, what string) {
	if req.Reason != "" {
		what += ": " + req.Reason
	}
	d.m.ledger.edit(id, func(it *adminapi.RolloutDetail) { entry(it, "", req.By, "%s", what) })
}
