package admin

import (
	"cmp"
	"fmt"

	"meshlite.dev/internal/admin/adminapi"
)

// RolloutChanges returns the events between two states of a rollout; before is
// the zero Rollout when it begins. Votes have none of their own.
func RolloutChanges(before, next adminapi.Rollout) []adminapi.Event {
	typ, text := "", cmp.Or(next.Reason, next.Phase)
	switch {
	case before.ID == "":
		typ, text = "rollout.started", "started: "+changedDocuments(next.Changes)
	case before.UndoneBy != next.UndoneBy:
		typ, text = "rollout.rolledback", fmt.Sprintf("undone by %s: %s", next.UndoneBy, text)
	case before.State != next.State:
		typ = map[string]string{
			adminapi.Committed: "rollout.committed", adminapi.RolledBack: "rollout.aborted", adminapi.Heuristic: "rollout.heuristic",
		}[next.State]
	case before.Phase == next.Phase:
	case before.Phase == adminapi.PhaseConfirming:
		typ, text = "rollout.confirmed", "confirmed"
	case next.Phase != "":
		typ = "rollout." + next.Phase
	}
	if typ == "" {
		return nil
	}
	e := adminapi.Event{Type: typ, Rollout: next.ID, Message: text}
	for _, c := range next.Changes {
		e.Policies = append(e.Policies, c.Document)
	}
	return []adminapi.Event{e}
}

// changedDocuments names what a rollout changes, the first few.
func changedDocuments(changes []adminapi.RolloutChange) string {
	const few = 3
	switch len(changes) {
	case 0:
		return "no document changes"
	case 1:
		return changes[0].Document
	}
	text := changes[0].Document
	for _, c := range changes[1:min(few, len(changes))] {
		text += ", " + c.Document
	}
	if more := len(changes) - few; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
