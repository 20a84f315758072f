package status_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/status"
)

// TestHeld: what a rollout keeps out of force is told on Programmed and Enforced,
// beside what stays; a document of which nothing ever was in force has a status too.
func TestHeld(t *testing.T) {
	rev := revision.Decide(policy.Revision{}, decode("ResiliencePolicy default/orders {targetRefs: [{kind: Service, name: orders}], retry: {attempts: 2}}"))
	docs := status.Documents(compile.Full(compile.Config{RootNamespace: "default"}, snapshot("orders/default"), rev), rev)
	key := func(name string) policy.Key {
		return policy.Key{Kind: policy.KindResiliencePolicy, Namespace: "default", Name: name}
	}
	for _, tt := range []struct {
		name string
		held status.Held
		want string
	}{
		{"a new version, refused", status.Held{Key: key("orders"), Generation: 2, Refused: true, Message: "rollout r2: web-1:\n no"},
			"Accepted True Accepted@2 ResolvedRefs True ResolvedRefs@2 Programmed False RolloutRefused@2 Enforced False RolloutRefused@2: generation 2; generation 1 stays in force: rollout r2: web-1: no"},
		{"on its way", status.Held{Key: key("orders"), Generation: 2, Message: "rollout r2 is in phase voting"},
			"Accepted True Accepted@2 ResolvedRefs True ResolvedRefs@2 Programmed False RolloutPending@2 Enforced False RolloutPending@2: generation 2; generation 1 stays in force: rollout r2 is in phase voting"},
		{"a deletion, refused", status.Held{Key: key("orders"), Refused: true, Message: "no"},
			"Accepted True Accepted@1 ResolvedRefs True ResolvedRefs@1 Programmed False RolloutRefused@1 Enforced False RolloutRefused@1: its deletion; generation 1 stays in force: no"},
		{"never in force", status.Held{Key: key("new"), Generation: 1, Refused: true, Message: "no"},
			"Accepted True Accepted@1 ResolvedRefs Unknown RolloutRefused@1 Programmed False RolloutRefused@1 Enforced False RolloutRefused@1: generation 1: no"},
	} {
		for _, d := range status.Hold(docs, []status.Held{tt.held}) {
			if d.Key != tt.held.Key {
				continue
			}
			s := status.Of(d, func(status.Ask) status.Uptake { return status.Uptake{Proxies: 1, Running: 1} }, 7, time.Unix(0, 0))
			var got []string
			for _, c := range s.Conditions {
				got = append(got, fmt.Sprintf("%s %s %s@%d", c.Type, c.Status, c.Reason, c.ObservedGeneration))
			}
			if text := strings.Join(got, " ") + ": " + s.Conditions[3].Message; text != tt.want {
				t.Errorf("%s:\n got %s\nwant %s", tt.name, text, tt.want)
			}
			for _, a := range s.Ancestors {
				if a.Conditions[2].Status != policy.False {
					t.Errorf("%s: its target says %+v", tt.name, a.Conditions[2])
				}
			}
		}
	}
	if n := len(status.Hold(docs, []status.Held{{Key: key("orders"), Refused: true}, {Key: key("orders")}})); n != 1 {
		t.Errorf("%d documents", n)
	}
	if docs[0].Held != nil {
		t.Error("Hold changed what it was given")
	}
}
