package app

import (
	"context"
	"fmt"
	"log/slog"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
)

// policies stands between the carrier, which proposes, and the builder, which
// knows revisions only.
type policies struct {
	keeper *revision.Keeper
	source policy.Source // nil: mesh-default alone is in force
	put    func(policy.Revision)
	log    *slog.Logger
}

// run serves the revision in force at once, and then what becomes of the
// carrier's proposals.
func (p *policies) run(ctx context.Context) error {
	if p.source == nil {
		return p.propose(ctx, policy.Proposal{})
	}
	if rev, ok, err := p.keeper.Load(ctx); err != nil {
		return fmt.Errorf("read the revision in force: %w", err)
	} else if ok {
		p.put(rev)
		p.log.InfoContext(ctx, "policies in force from an earlier run", "revision", rev.Number, "hash", rev.Hash)
	}
	return p.source.Run(ctx, func(proposal policy.Proposal) {
		if err := p.propose(ctx, proposal); err != nil && ctx.Err() == nil {
			p.log.ErrorContext(ctx, "policies not taken over; the revision in force stays", "err", err)
		}
	})
}

func (p *policies) propose(ctx context.Context, proposal policy.Proposal) error {
	rev, err := p.keeper.Propose(ctx, proposal)
	if err != nil {
		return fmt.Errorf("take over the policies: %w", err)
	}
	for _, r := range rev.Refused {
		for _, f := range r.Faults {
			p.log.WarnContext(ctx, "policy refused; its last good version stays", "origin", r.Source, "policy", r.Key.String(), "path", f.Path, "err", f.Reason)
		}
	}
	p.log.InfoContext(ctx, "policies in force", "revision", rev.Number, "hash", rev.Hash, "documents", len(rev.Documents), "changed", len(rev.Changed), "refused", len(rev.Refused))
	p.put(rev)
	return nil
}
