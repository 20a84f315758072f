package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
)

// ask has the leader's loop do something and returns its answer.
func ask[T any](ctx context.Context, m *Manager, do func(*desk) (T, error)) (T, error) {
	type reply struct {
		v   T
		err error
	}
	var none T
	if !m.leads.Load() {
		if name := m.leader(); name != "" {
			return none, fmt.Errorf("%w: %s is", adminapi.ErrElsewhere, name)
		}
		return none, adminapi.ErrElsewhere
	}
	answer := make(chan reply, 1)
	select {
	case m.commands <- func(d *desk) {
		v, err := do(d)
		answer <- reply{v, err}
	}:
	case <-ctx.Done():
		return none, ctx.Err()
	}
	r := <-answer
	return r.v, r.err
}

// Start implements admin.Rollouts.
func (m *Manager) Start(ctx context.Context, req adminapi.StartRequest) (adminapi.StartResponse, error) {
	return ask(ctx, m, func(d *desk) (adminapi.StartResponse, error) { return d.start(req) })
}

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

// Undo implements admin.Rollouts.
func (m *Manager) Undo(ctx context.Context, req adminapi.UndoRequest) (adminapi.Rollout, error) {
	return ask(ctx, m, func(d *desk) (adminapi.Rollout, error) { return d.undoTo(req) })
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

// Decide implements admin.Rollouts.
func (m *Manager) Decide(ctx context.Context, id string, verb adminapi.RolloutVerb, req adminapi.DecideRequest) (adminapi.Rollout, error) {
	until, err := ask(ctx, m, func(d *desk) (func(adminapi.Rollout) bool, error) {
		it, ok := d.m.ledger.get(id)
		if !ok {
			return nil, fmt.Errorf("%w: %q", adminapi.ErrNoRollout, id)
		}
		switch verb {
		case adminapi.VerbCommit:
			return d.approve(it.Rollout, req)
		case adminapi.VerbConfirm:
			return d.confirm(it.Rollout, req)
		case adminapi.VerbAbort:
			return d.abort(it.Rollout, req)
		}
		return d.settle(it.Rollout, req)
	})
	if err != nil {
		return adminapi.Rollout{}, err
	}
	return m.ledger.await(ctx, id, until)
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
	before := w.confirmBy
	d.m.ledger.edit(r.ID, func(it *adminapi.RolloutDetail) { it.ConfirmBy = nil })
	if err := d.m.ledger.save(d.ctx, r.ID); err != nil {
		d.m.ledger.edit(r.ID, func(it *adminapi.RolloutDetail) { it.ConfirmBy = &before })
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
