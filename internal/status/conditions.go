package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
)

// Reasons of the conditions but Accepted, whose reasons are compile's. Where
// nothing of a document is in force, Programmed and Enforced repeat Accepted's.
const (
	ReasonResolvedRefs    = "ResolvedRefs"
	ReasonBackendNotFound = "BackendNotFound" // else it is TargetNotFound

	ReasonProgrammed          = "Programmed"
	ReasonPartiallyProgrammed = "PartiallyProgrammed" // not for all targets, not all fields, or not all proxies take it
	ReasonOverridden          = "Overridden"          // other documents set every field of it
	ReasonNotUsed             = "NotUsed"             // it sets nothing, or there is no service that it would be for
	ReasonShadow              = "Shadow"
	ReasonRoleDisabled        = "RoleDisabled" // no replica has the role that carries it out

	ReasonEnforced          = "Enforced"
	ReasonPartiallyEnforced = "PartiallyEnforced" // some proxies have not acknowledged it yet
	ReasonRejectedByProxies = "RejectedByProxies"
	ReasonNoProxies         = "NoProxies" // none is connected that is sent anything of it
	ReasonReadAtStart       = "ReadAtStart"
)

// longestMessage bounds a condition's message; Kubernetes takes 32 KiB.
const longestMessage = 2048

// Of is the status of a document. uptake tells what the fleet says of it,
// revision is the number of the one in force. Every condition has changed now;
// Carry knows better.
func Of(d Document, uptake func(Ask) Uptake, revision uint64, now time.Time) policy.Status {
	s := policy.Status{Key: d.Key}
	m := maker{doc: d, revision: revision, now: policy.Time{Time: now.UTC().Truncate(time.Second)}}
	whole := uptake(Ask{Label: d.Label})
	var all [][]policy.Condition
	for _, t := range d.Targets {
		up := whole
		if len(d.Targets) > 1 && t.Service != "" {
			up = uptake(Ask{Label: d.Label, Service: t.Service})
		}
		conditions := m.target(t, up)
		all = append(all, conditions)
		s.Ancestors = append(s.Ancestors, v1alpha1.AncestorStatus{AncestorRef: t.Ref, ControllerName: policy.ControllerName, Conditions: conditions})
		if !d.Shadow && d.Role == "" {
			s.InForceGeneration = max(s.InForceGeneration, t.InForce)
		}
	}
	if d.Delivery != nil && d.Delivery.Reason != string(compile.Conflicted) {
		s.InForceGeneration = d.Generation
	}
	s.Conditions = m.whole(all, whole)
	if d.Held != nil {
		m.hold(&s)
	}
	return s
}

// maker writes the conditions of one document.
type maker struct {
	doc      Document
	revision uint64
	now      policy.Time
}

func (m maker) condition(kind string, status policy.ConditionStatus, reason, message string) policy.Condition {
	return policy.Condition{
		Type: kind, Status: status, Reason: reason, Message: shorten(message, longestMessage),
		ObservedGeneration: m.doc.Generation, LastTransitionTime: m.now,
	}
}

// target writes the four conditions of one target.
func (m maker) target(t compile.TargetStatus, up Uptake) []policy.Condition {
	return []policy.Condition{m.accepted(t.Accepted, t.Message), m.resolvedRefs(t.Accepted, t.Unresolved), m.programmed(t, up), m.enforced(t, up)}
}

func (m maker) accepted(reason compile.Reason, message string) policy.Condition {
	if r := m.doc.Refused; r != nil {
		c := m.condition(policy.ConditionAccepted, policy.False, string(compile.Invalid), r.Message)
		c.ObservedGeneration = r.Generation
		return c
	}
	if reason != compile.Accepted {
		return m.condition(policy.ConditionAccepted, policy.False, string(reason), message)
	}
	if message == "" {
		message = fmt.Sprintf("generation %d is accepted", m.doc.Generation)
	}
	return m.condition(policy.ConditionAccepted, policy.True, string(reason), message)
}

func (m maker) resolvedRefs(accepted compile.Reason, unresolved string) policy.Condition {
	switch {
	case m.doc.Generation == 0:
		return m.condition(policy.ConditionResolvedRefs, policy.Unknown, string(compile.Invalid), "not looked at: the document is invalid")
	case unresolved != "" && accepted == compile.TargetNotFound:
		return m.condition(policy.ConditionResolvedRefs, policy.False, string(accepted), unresolved)
	case unresolved != "":
		return m.condition(policy.ConditionResolvedRefs, policy.False, ReasonBackendNotFound, unresolved)
	}
	return m.condition(policy.ConditionResolvedRefs, policy.True, ReasonResolvedRefs, "everything that it names exists")
}

// idle says why proxies are sent nothing of the document's newest version for
// a target; ok is false where they are.
func (m maker) idle(t compile.TargetStatus) (reason, message string, ok bool) {
	switch {
	case m.doc.Role != "" && m.doc.Delivery == nil:
		return ReasonRoleDisabled, "no xds-server delivers it: start one with --roles xds,admin," + m.doc.Role, true
	case m.doc.Role != "":
		return m.doc.Delivery.Reason, m.doc.Delivery.Message, m.doc.Delivery.Reason != ""
	case m.doc.Shadow:
		return ReasonShadow, "effect shadow: checked, not in force", true
	case t.InForce == 0 && t.Accepted != compile.Accepted:
		return string(t.Accepted), "nothing of it is in force: " + t.Message, true
	case t.Overridden:
		return ReasonOverridden, "more specific documents override every field of it", true
	case t.InForce == 0:
		return ReasonNotUsed, "nothing that is served takes a value from it", true
	case t.InForce < m.doc.Generation:
		return string(t.Accepted), fmt.Sprintf("generation %d stays in force: %s", t.InForce, t.Message), true
	}
	return "", "", false
}

func (m maker) programmed(t compile.TargetStatus, up Uptake) policy.Condition {
	reason, message, idle := m.idle(t)
	switch {
	case idle:
	case m.doc.Delivery != nil:
		return m.condition(policy.ConditionProgrammed, policy.True, ReasonProgrammed, "its queue is open")
	case up.Refusing > 0 && up.Refusing == up.Proxies:
		reason, message = ReasonRejectedByProxies, up.sentence(m.revision)
	case up.Refusing > 0:
		reason, message = ReasonPartiallyProgrammed, fmt.Sprintf("%d of %d proxies refuse it", up.Refusing, up.Proxies)
	case t.Accepted != compile.Accepted:
		reason, message = ReasonPartiallyProgrammed, "a part of it is not in force: "+t.Message
	default:
		return m.condition(policy.ConditionProgrammed, policy.True, ReasonProgrammed, "part of what proxies are sent")
	}
	return m.condition(policy.ConditionProgrammed, policy.False, reason, message)
}

func (m maker) enforced(t compile.TargetStatus, up Uptake) policy.Condition {
	if reason, message, idle := m.idle(t); idle {
		return m.condition(policy.ConditionEnforced, policy.False, reason, message)
	}
	status, reason, message := policy.True, ReasonEnforced, up.sentence(m.revision)
	switch {
	case m.doc.Delivery != nil:
		message = "its events are delivered to " + t.Service
	case up.Untracked:
		status, reason, message = policy.Unknown, ReasonReadAtStart, "read when a proxy starts; which proxies have is not known"
	case up.Proxies == 0:
		status, reason, message = policy.Unknown, ReasonNoProxies, "no proxy is connected that is sent anything of it"
	case up.Refusing > 0:
		status, reason = policy.False, ReasonRejectedByProxies
	case up.Running < up.Proxies:
		status, reason = policy.False, ReasonPartiallyEnforced
	}
	return m.condition(policy.ConditionEnforced, status, reason, message)
}

// whole sums up the targets: a condition is True only if it is for each.
func (m maker) whole(targets [][]policy.Condition, up Uptake) []policy.Condition {
	if len(targets) == 0 { // no version of it was ever taken, or its kind has no target
		t := compile.TargetStatus{Accepted: compile.Invalid, Message: "no version of it was ever taken"}
		return m.target(t, Uptake{})
	}
	if len(targets) == 1 {
		return slices.Clone(targets[0])
	}
	sums := []policy.Condition{m.accepted(m.doc.Accepted, m.doc.Message), m.resolvedRefs(m.doc.Accepted, m.doc.Unresolved)}
	for i, partly := range []string{ReasonPartiallyProgrammed, ReasonPartiallyEnforced} {
		sums = append(sums, m.sum(targets, 2+i, partly, up))
	}
	return sums
}

// sum joins the i-th condition of all targets.
func (m maker) sum(targets [][]policy.Condition, i int, partly string, up Uptake) policy.Condition {
	out := targets[0][i]
	var faults []string
	good := 0
	for at, conditions := range targets {
		c := conditions[i]
		if c.Status == policy.True {
			good++
			continue
		}
		faults = append(faults, m.doc.Targets[at].Name+": "+c.Message)
		if out.Status == policy.True || c.Status == policy.False && out.Status == policy.Unknown || c.Reason == ReasonRejectedByProxies {
			out.Status, out.Reason = c.Status, c.Reason
		}
	}
	switch {
	case len(faults) > 0:
		out.Message = shorten(strings.Join(faults, "; "), longestMessage)
	case out.Type == policy.ConditionEnforced:
		out.Message = up.sentence(m.revision)
	}
	rejected := out.Type == policy.ConditionEnforced && out.Reason == ReasonRejectedByProxies
	if good > 0 && out.Status == policy.False && !rejected {
		out.Reason = partly
	}
	return out
}
