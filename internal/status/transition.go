package status

import (
	"slices"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
)

// Carry gives next the times at which the conditions that it shares with
// before came to be as they are: a time moves when the status does.
func Carry(before, next policy.Status) policy.Status {
	next.Conditions = carry(before.Conditions, next.Conditions)
	next.Ancestors = slices.Clone(next.Ancestors)
	for i := range next.Ancestors {
		a := &next.Ancestors[i]
		a.Conditions = carry(ancestor(before.Ancestors, a.AncestorRef), a.Conditions)
	}
	return next
}

func carry(before, next []policy.Condition) []policy.Condition {
	next = slices.Clone(next)
	for i := range next {
		if old, ok := find(before, next[i].Type); ok && old.Status == next[i].Status {
			next[i].LastTransitionTime = old.LastTransitionTime
		}
	}
	return next
}

// Transition reports whether next says something else than before: another
// status, reason or generation of any condition, another target. Words alone
// are no transition: they count proxies that come and go.
func Transition(before, next policy.Status) bool {
	return before.InForceGeneration != next.InForceGeneration ||
		!slices.EqualFunc(before.Conditions, next.Conditions, says) ||
		!slices.EqualFunc(before.Ancestors, next.Ancestors, func(a, b v1alpha1.AncestorStatus) bool {
			return a.AncestorRef == b.AncestorRef && slices.EqualFunc(a.Conditions, b.Conditions, says)
		})
}

func says(a, b policy.Condition) bool {
	return a.Type == b.Type && a.Status == b.Status && a.Reason == b.Reason && a.ObservedGeneration == b.ObservedGeneration
}

// OtherWords reports whether a condition that is not True has another message:
// what somebody reads who looks for a fault.
func OtherWords(before, next policy.Status) bool {
	for _, c := range next.Conditions {
		if old, ok := find(before.Conditions, c.Type); ok && c.Status != policy.True && old.Message != c.Message {
			return true
		}
	}
	return false
}

// find returns the condition of a type.
func find(conditions []policy.Condition, kind string) (policy.Condition, bool) {
	for _, c := range conditions {
		if c.Type == kind {
			return c, true
		}
	}
	return policy.Condition{}, false
}

func ancestor(all []v1alpha1.AncestorStatus, ref v1alpha1.TargetRef) []policy.Condition {
	for _, a := range all {
		if a.AncestorRef == ref {
			return a.Conditions
		}
	}
	return nil
}
