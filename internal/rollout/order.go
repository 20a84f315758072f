package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"meshlite.dev/internal/admin/adminapi"
)

// order is a command of a person as replicas hand it on; one of Start, Undo and
// Decide is set.
type order struct {
	ID     string                 `json:"id,omitempty"` // of this asking, not of a rollout
	Start  *adminapi.StartRequest `json:"start,omitempty"`
	Undo   *adminapi.UndoRequest  `json:"undo,omitempty"`
	Decide *decision              `json:"decide,omitempty"`
}

// decision is what a person decides about a rollout.
type decision struct {
	Rollout string                 `json:"rollout"`
	Verb    adminapi.RolloutVerb   `json:"verb"`
	Request adminapi.DecideRequest `json:"request"`
}

// repeatable reports whether an order that is done twice is done once.
func (o order) repeatable() bool {
	switch {
	case o.Start != nil:
		return o.Start.ID != ""
	case o.Undo != nil:
		return o.Undo.ID != ""
	}
	return o.Decide != nil
}

// Start implements admin.Rollouts.
func (m *Manager) Start(ctx context.Context, req adminapi.StartRequest) (adminapi.StartResponse, error) {
	return command[adminapi.StartResponse](ctx, m, order{Start: &req})
}

// Undo implements admin.Rollouts.
func (m *Manager) Undo(ctx context.Context, req adminapi.UndoRequest) (adminapi.Rollout, error) {
	return command[adminapi.Rollout](ctx, m, order{Undo: &req})
}

// Decide implements admin.Rollouts.
func (m *Manager) Decide(ctx context.Context, id string, verb adminapi.RolloutVerb, req adminapi.DecideRequest) (adminapi.Rollout, error) {
	return command[adminapi.Rollout](ctx, m, order{Decide: &decision{id, verb, req}})
}

// command has the leader obey, whichever replica that is.
func command[T any](ctx context.Context, m *Manager, o order) (out T, err error) {
	v, err := m.obey(ctx, o)
	if errors.Is(err, adminapi.ErrElsewhere) && m.cfg.Board != nil {
		var raw json.RawMessage
		if raw, err = m.handOver(ctx, o); err != nil {
			return out, err
		}
		if err := json.Unmarshal(raw, &out); err != nil {
			return out, fmt.Errorf("read the leader's answer: %w", err)
		}
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out, _ = v.(T)
	return out, nil
}

// obey does what is asked; adminapi.ErrElsewhere where this replica does not lead,
// and nothing was done.
func (m *Manager) obey(ctx context.Context, o order) (any, error) {
	switch {
	case o.Start != nil:
		return ask(ctx, m, func(d *desk) (any, error) { return d.start(*o.Start) })
	case o.Undo != nil:
		return ask(ctx, m, func(d *desk) (any, error) { return d.undoTo(*o.Undo) })
	case o.Decide != nil:
		until, err := ask(ctx, m, func(d *desk) (func(adminapi.Rollout) bool, error) { return d.decide(*o.Decide) })
		if err != nil {
			return nil, err
		}
		return m.ledger.await(ctx, o.Decide.Rollout, until)
	}
	return nil, fmt.Errorf("%w: the leader's release does not know this command", adminapi.ErrNotNow)
}

// ask has the leader's loop do something and returns its answer.
func ask[T any](ctx context.Context, m *Manager, do func(*desk) (T, error)) (T, error) {
	type reply struct {
		v   T
		err error
	}
	var none T
	d := m.leads.Load()
	if d == nil {
		return none, adminapi.ErrElsewhere
	}
	answer := make(chan reply, 1)
	select {
	case d.commands <- func() {
		v, err := do(d)
		answer <- reply{v, err}
	}:
	case <-d.over:
		return none, adminapi.ErrElsewhere
	case <-ctx.Done():
		return none, ctx.Err()
	}
	r := <-answer
	return r.v, r.err
}
