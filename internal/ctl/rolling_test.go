package ctl

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"meshlite.dev/internal/policy"
)

// A change that a rollout carries is waited for with its words, and what a
// rollout refused is not waited for.
func TestAWaitKnowsOfRollouts(t *testing.T) {
	orders := policy.Key{Kind: "ResiliencePolicy", Namespace: "default", Name: "orders"}
	put := policy.Change{Key: orders, Document: &policy.Document{Key: orders, Hash: "abc", Canonical: []byte(`{"a":1}`)}}
	remove := policy.Change{Key: orders}
	inForce := `{"items": [{"kind": "ResiliencePolicy", "namespace": "default", "name": "orders", "accepted": "Accepted", "document": {"a": 2}}]}`
	for name, tc := range map[string]struct {
		change   policy.Change
		rollouts string
		want     string
		refused  bool
	}{
		"a server without rollouts":       {put, "", "ResiliencePolicy/default/orders is not taken over yet", false},
		"it votes":                        {put, `{"items": [{"id": "r1", "phase": "voting", "votes": {"voters": 4, "yes": 1}}]}`, "not taken over yet; rollout r1 is voting: 1 of 4 yes, 3 waiting", false},
		"it is held":                      {put, `{"items": [{"id": "r1", "phase": "held"}]}`, "rollout r1 is held: meshctl rollout commit", false},
		"all is frozen":                   {put, `{"waits": "waits for the end of the freeze: sale"}`, "not taken over yet: waits for the end of the freeze: sale", false},
		"nothing is open":                 {put, `{"items": [{"id": "r1", "state": "COMMITTED"}]}`, "ResiliencePolicy/default/orders is not taken over yet", false},
		"this version is refused":         {put, `{"pinned": [{"document": "ResiliencePolicy/default/orders", "hash": "abc", "rollout": "r1", "reason": "Unknown field", "proxies": ["web-1"]}]}`, "was refused by rollout r1 on web-1: Unknown field", true},
		"another version is refused":      {put, `{"pinned": [{"document": "ResiliencePolicy/default/orders", "hash": "old", "rollout": "r1"}]}`, "is not taken over yet", false},
		"its deletion is refused":         {remove, `{"pinned": [{"document": "ResiliencePolicy/default/orders", "rollout": "r1", "reason": "aborted by ada"}]}`, "was refused by rollout r1: aborted by ada", true},
		"a version is refused, not to go": {remove, `{"pinned": [{"document": "ResiliencePolicy/default/orders", "hash": "abc", "rollout": "r1"}]}`, "is still there", false},
	} {
		t.Run(name, func(t *testing.T) {
			mux := http.NewServeMux()
			mux.HandleFunc("/v1/policies", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(inForce)) })
			if tc.rollouts != "" {
				mux.HandleFunc("/v1/rollouts", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(tc.rollouts)) })
			}
			server := httptest.NewServer(mux)
			defer server.Close()
			s := aSession()
			s.server = server.URL
			why, err := s.pending(t.Context(), policy.ConditionAccepted, []policy.Change{tc.change}, nil)
			var exit *exitError
			if refused := errors.As(err, &exit) && exit.Code == ExitRolledBack; refused != tc.refused {
				t.Fatalf("%q, %v", why, err)
			}
			if err != nil {
				why = err.Error()
			}
			if !strings.Contains(why, tc.want) {
				t.Errorf("%q, want %q", why, tc.want)
			}
		})
	}
}
