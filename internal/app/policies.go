package app

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/rollout"
	"meshlite.dev/internal/store"
)

// retryPolicies is how long after a failure of store or carrier the next try
// is made.
const retryPolicies = 5 * time.Second

// policies stands between the carrier, which proposes, and the builder, which
// knows revisions only; rollouts decide what comes through.
type policies struct {
	keeper *revision.Keeper
	local  *revision.Keeper // a copy on disk for a start without keeper's store; nil: that is on disk
	source policy.Source    // nil: mesh-default alone is in force
	put    func(policy.Revision)

	rollouts *rollout.Manager // between the two

	carrier string        // the source's name for the admin API
	writer  policy.Writer // nil: the server writes no policies
	log     *slog.Logger

	newest atomic.Pointer[policy.Revision]                  // put last
	labels atomic.Pointer[map[policy.Key]map[string]string] // of what was proposed last
}

// labelsOf are a document's labels as the carrier has them; nil before it answered.
func (p *policies) labelsOf(k policy.Key) map[string]string {
	if all := p.labels.Load(); all != nil {
		return (*all)[k]
	}
	return nil
}

// problem says why what is in force may be older than what the carrier holds;
// "" where all is well.
func (p *policies) problem() string {
	if s, ok := p.source.(interface{ Problem() string }); ok {
		if text := s.Problem(); text != "" {
			return text
		}
	}
	return p.rollouts.Problem()
}

// inForce returns the documents in force; nil before the first revision.
func (p *policies) inForce() []*policy.Document {
	if r := p.newest.Load(); r != nil {
		return r.Documents
	}
	return nil
}

// use puts a revision in force.
func (p *policies) use(rev policy.Revision) {
	p.newest.Store(&rev)
	p.put(rev)
}

// run serves the revision in force at once, and hands the carrier's proposals to
// the rollouts.
func (p *policies) run(ctx context.Context) error {
	loaded, err := p.load(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.rollouts.Run(ctx) })
	if p.source == nil {
		p.rollouts.Propose(policy.Proposal{})
	} else {
		g.Go(func() error { return p.follow(ctx, loaded) })
	}
	return g.Wait()
}

// load serves what an earlier run left: of the store, or of the copy on disk
// where the store does not answer.
func (p *policies) load(ctx context.Context) (ok bool, err error) {
	rev, ok, err := p.keeper.Load(ctx)
	if err != nil && p.local != nil {
		p.log.ErrorContext(ctx, "the revision in force cannot be read; the copy on disk serves", "err", err)
		rev, ok, err = p.local.Load(ctx)
	}
	if err != nil {
		return false, fmt.Errorf("read the revision in force: %w", err)
	}
	if ok {
		p.use(rev)
		p.rollouts.Served(rev)
		p.log.InfoContext(ctx, "policies in force from an earlier run", "revision", rev.Number, "hash", rev.Hash)
	}
	return ok, nil
}

// follow runs the carrier. Where a revision is in force even what waiting does
// not cure (a token taken away) leaves it so.
func (p *policies) follow(ctx context.Context, loaded bool) error {
	for {
		err := p.source.Run(ctx, func(next policy.Proposal) {
			for _, r := range next.Refused {
				for _, f := range r.Faults {
					p.log.WarnContext(ctx, "policy refused; its last good version stays", "origin", r.Source, "policy", r.Key.String(), "path", f.Path, "err", f.Reason)
				}
			}
			labels := next.Labels()
			p.labels.Store(&labels)
			p.rollouts.Propose(next)
		})
		if err == nil || ctx.Err() != nil || !loaded {
			return err
		}
		p.log.ErrorContext(ctx, "the policy source failed; the revision in force stays", "err", err)
		if !store.Rest(ctx, retryPolicies) {
			return nil
		}
	}
}

// take puts a revision in force that a rollout brought.
func (p *policies) take(rev policy.Revision) {
	before := p.newest.Load()
	p.use(rev)
	if before == nil || before.Hash != rev.Hash {
		ctx := context.Background()
		p.log.InfoContext(ctx, "policies in force", "revision", rev.Number, "hash", rev.Hash, "documents", len(rev.Documents), "changed", len(rev.Changed), "refused", len(rev.Refused))
		p.tidy(ctx, rev)
	}
}

// tidy copies what is in force to disk and removes what is long out of force.
// Neither keeps a change from the proxies.
func (p *policies) tidy(ctx context.Context, rev policy.Revision) {
	if p.local != nil {
		if err := p.local.Copy(ctx, rev); err != nil {
			p.log.ErrorContext(ctx, "the revision in force is not copied to disk", "err", err)
		} else if err := p.local.Sweep(ctx); err != nil {
			p.log.WarnContext(ctx, "old revisions on disk are not removed", "err", err)
		}
	}
	if err := p.keeper.Sweep(ctx); err != nil {
		p.log.WarnContext(ctx, "old revisions are not removed", "err", err)
	}
}
