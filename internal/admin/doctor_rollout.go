package admin

import (
	"context"
	"fmt"
	"slices"
	"time"

	"meshlite.dev/internal/admin/adminapi"
)

// slowRollout is how long a rollout may be open before the doctor asks why.
const slowRollout = time.Hour

// checkRollouts looks for what waits for a person: a rollout that was decided
// and did not hold, one that is held or to be confirmed, documents that stay
// as they were.
func (a *api) checkRollouts(ctx context.Context, now time.Time) []adminapi.Check {
	if a.Rollouts == nil {
		return nil
	}
	all, err := a.Rollouts.Rollouts(ctx)
	if err != nil {
		return []adminapi.Check{fault("rollouts", "the store of the revisions must answer; nothing new comes in force before", "%v", err)}
	}
	out := slices.Concat(unresolved(all.Items), stalled(all.Items, now))
	if len(all.Pinned) > 0 {
		var lines []string
		for _, p := range all.Pinned {
			lines = append(lines, fmt.Sprintf("%s, refused by %s (%s)", p.Document, p.Rollout, p.Reason))
		}
		out = append(out, warning("pinned policies", "correct them, or: meshctl rollout start --retry", "%s", some(lines)))
	}
	if len(out) > 0 {
		return out
	}
	if len(all.Items) == 0 {
		return []adminapi.Check{ok("rollouts", "none yet")}
	}
	last := all.Items[0]
	return []adminapi.Check{ok("rollouts", "the last one, %s, is %s", last.ID, last.State)}
}

// unresolved are the HEURISTIC ones that nobody closed.
func unresolved(items []adminapi.Rollout) (out []adminapi.Check) {
	for _, r := range items {
		if r.State == adminapi.Heuristic && r.ResolvedBy == "" {
			out = append(out, fault("rollouts", "meshctl rollout log "+r.ID+" tells what happened; meshctl rollout resolve "+r.ID+" closes it", "%s is HEURISTIC: %s", r.ID, r.Reason))
		}
	}
	return out
}

// stalled are the open ones that do not end by themselves, or not soon.
func stalled(items []adminapi.Rollout, now time.Time) (out []adminapi.Check) {
	for _, r := range items {
		switch {
		case r.State == adminapi.Heuristic || !r.Open():
		case r.Phase == adminapi.PhaseHeld:
			out = append(out, warning("rollouts", "meshctl rollout commit, or abort", "%s is held for %s", r.ID, since(now, r.Started)))
		case r.Phase == adminapi.PhaseConfirming && r.ConfirmBy != nil:
			out = append(out, warning("rollouts", "meshctl rollout confirm", "%s is undone in %s unless it is confirmed", r.ID, max(r.ConfirmBy.Sub(now), 0).Round(time.Second)))
		case now.Sub(r.Started) > slowRollout:
			out = append(out, warning("rollouts", "meshctl rollout status says what it waits for; meshctl rollout abort ends it", "%s is %s for %s: %s", r.ID, r.Phase, since(now, r.Started), r.Reason))
		}
	}
	return out
}
