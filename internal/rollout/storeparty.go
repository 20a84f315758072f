package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/store"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
)

// prepareAgain is how long after a failure of the store a candidate is stored
// once more.
const prepareAgain = time.Second

func (p *storeParty) Prepare(ctx context.Context, _ coordinator.Branch) coordinator.Answer {
	if p.of == nil {
		return coordinator.Answer{Vote: txn.Abstain, Text: "the candidate is not known any more"}
	}
	for {
		err := p.m.cfg.Keeper.Prepare(ctx, p.of.candidate)
		if err == nil {
			return coordinator.Answer{Vote: txn.Yes}
		}
		if !store.Rest(ctx, prepareAgain) {
			return coordinator.Answer{Vote: txn.Abstain, Text: err.Error()}
		}
	}
}

// Commit moves the pointer, or finds it moved.
func (p *storeParty) Commit(ctx context.Context, b coordinator.Branch) error {
	about, to, err := p.about(ctx, b)
	if err != nil {
		return err
	}
	_, err = p.m.cfg.Keeper.Move(ctx, about.Base, to)
	if errors.Is(err, revision.ErrMoved) {
		return &coordinator.RefusedError{Text: err.Error()}
	}
	return err
}

// about is the candidate, of this reign or as an earlier one stored it.
func (p *storeParty) about(ctx context.Context, b coordinator.Branch) (about body, to policy.Revision, err error) {
	if err := json.Unmarshal(b.Tx.Body, &about); err != nil {
		return about, to, fmt.Errorf("read what rollout %s is about: %w", b.Tx.ID, err)
	}
	if p.of != nil && p.of.candidate.Hash == about.Hash {
		return about, p.of.candidate, nil
	}
	to, err = p.m.cfg.Keeper.Revision(ctx, about.Hash)
	return about, to, err
}

// Rollback leaves the candidate to the sweep.
func (p *storeParty) Rollback(context.Context, coordinator.Branch) error { return nil }
