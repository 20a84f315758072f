package status

import (
	"slices"
	"time"

	"meshlite.dev/internal/policy"
)

// Patience is how long a document that was Enforced may lack proxies before
// that is told. Nothing is wrong while a service comes, a proxy starts or all
// of them reconnect, and a status that says so for a moment is noise to all who
// wait on it. What a proxy refuses is told at once.
const Patience = 10 * time.Second

// Settle returns what is to be told where stands is told now and next was
// worked out: stands' word on Enforced where it was True of the same version
// and next only lacks proxies. waits is true while it does; since is when that
// began, patience how long it may.
func Settle(stands, next policy.Status, since, now time.Time, patience time.Duration) (told policy.Status, waits bool) {
	old, ok := find(stands.Conditions, policy.ConditionEnforced)
	is, has := find(next.Conditions, policy.ConditionEnforced)
	lacks := is.Reason == ReasonPartiallyEnforced || is.Reason == ReasonNoProxies
	if !ok || !has || old.Status != policy.True || old.ObservedGeneration != is.ObservedGeneration || !lacks {
		return next, false
	}
	if now.Sub(since) >= patience {
		return next, false
	}
	told = next
	told.Conditions = enforced(next.Conditions, old)
	told.Ancestors = slices.Clone(next.Ancestors)
	for i := range told.Ancestors {
		a := &told.Ancestors[i]
		if c, ok := find(ancestor(stands.Ancestors, a.AncestorRef), policy.ConditionEnforced); ok {
			a.Conditions = enforced(a.Conditions, c)
		}
	}
	return told, true
}

// enforced returns conditions with c in place of the one of its type.
func enforced(conditions []policy.Condition, c policy.Condition) []policy.Condition {
	out := slices.Clone(conditions)
	for i := range out {
		if out[i].Type == c.Type {
			out[i] = c
		}
	}
	return out
}
