package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"meshlite.dev/internal/policy"
)

// Reasons of Programmed and Enforced while a rollout keeps the newest version of
// a document out of force.
const (
	ReasonRolloutPending = "RolloutPending" // it is on its way, or waits
	ReasonRolloutRefused = "RolloutRefused" // the fleet, or a person, said no
)

// Held is a version that a rollout keeps out of force.
type Held struct {
	policy.Key
	Generation int64  // of that version; 0 is the document's deletion
	Refused    bool   // until it is edited; else for a while
	Message    string // Envoy's words and the proxies, or what it waits for
}

// Hold adds to documents what rollouts say of them; those of which no version ever
// was in force are added.
func Hold(docs []Document, held []Held) []Document {
	if len(held) == 0 {
		return docs
	}
	out := slices.Clone(docs)
	for _, h := range held {
		i := slices.IndexFunc(out, func(d Document) bool { return d.Key == h.Key })
		if i < 0 {
			i, out = len(out), append(out, Document{Key: h.Key})
		}
		if out[i].Held == nil || h.Refused {
			out[i].Held = &h
		}
	}
	slices.SortFunc(out, func(a, b Document) int { return cmp.Compare(a.Key.String(), b.Key.String()) })
	return out
}

// hold says of a status what its rollout says.
func (m maker) hold(s *policy.Status) {
	h := m.doc.Held
	m.holdAll(s.Conditions, h)
	for i := range s.Ancestors {
		s.Ancestors[i].Conditions = slices.Clone(s.Ancestors[i].Conditions)
		m.holdAll(s.Ancestors[i].Conditions, h)
	}
}

func (m maker) holdAll(conditions []policy.Condition, h *Held) {
	reason := ReasonRolloutPending
	if h.Refused {
		reason = ReasonRolloutRefused
	}
	for i, c := range conditions {
		switch {
		case c.Type == policy.ConditionProgrammed, c.Type == policy.ConditionEnforced:
			c = m.condition(c.Type, policy.False, reason, m.heldMessage(h))
		case m.doc.Refused != nil:
		case c.Type == policy.ConditionAccepted && m.doc.Generation == 0:
			c = m.condition(c.Type, policy.True, "Accepted", fmt.Sprintf("generation %d is accepted", h.Generation))
		case c.Type == policy.ConditionResolvedRefs && m.doc.Generation == 0:
			c = m.condition(c.Type, policy.Unknown, reason, "not looked at: no version of it is in force")
		}
		if m.doc.Refused == nil {
			c.ObservedGeneration = max(h.Generation, m.doc.Generation)
		}
		conditions[i] = c
	}
}

// heldMessage names the version, and what stays meanwhile.
func (m maker) heldMessage(h *Held) string {
	parts := []string{"generation " + fmt.Sprint(h.Generation)}
	if h.Generation == 0 {
		parts[0] = "its deletion"
	}
	if m.doc.Generation > 0 {
		parts = append(parts, fmt.Sprintf("generation %d stays in force", m.doc.Generation))
	}
	return strings.Join(parts, "; ") + ": " + oneLineOf(h.Message)
}

func oneLineOf(s string) string { return strings.Join(strings.Fields(s), " ") }
