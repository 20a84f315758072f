package ctl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"meshlite.dev/internal/policy"
)

// answers serves GET /v1/policies, each time the next of them and the last one for
// good: a list, "away" for a connection that is cut, "begins" for a server that
// knows nothing yet.
func answers(t *testing.T, s *session, list ...string) (asked *atomic.Int64) {
	asked = &atomic.Int64{}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/policies", func(w http.ResponseWriter, _ *http.Request) {
		switch text := list[min(int(asked.Add(1)), len(list))-1]; text {
		case "away":
			panic(http.ErrAbortHandler)
		case "begins":
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			fmt.Fprintf(w, `{"items": [%s]}`, text)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.server = server.URL
	return asked
}

func aSession() *session {
	return &session{IO: IO{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}, Getenv: func(string) (string, bool) { return "", false }}, timeout: time.Minute}
}

// TestAWaitEndsAsSoonAsItIsDecided, and goes on over a restart of the server.
func TestAWaitEndsAsSoonAsItIsDecided(t *testing.T) {
	orders := policy.Key{Kind: "ResiliencePolicy", Namespace: "default", Name: "orders"}
	put := []policy.Change{{Key: orders, Document: &policy.Document{Key: orders, Hash: "abc", Canonical: []byte(`{"a":1}`)}}}
	row := func(document int, accepted, message string) string {
		return fmt.Sprintf(`{"kind": "ResiliencePolicy", "namespace": "default", "name": "orders", "accepted": %q, "message": %q, "document": {"a": %d}}`, accepted, message, document)
	}
	old, bad, good := row(0, "Accepted", ""), row(0, "Invalid", "spec.frob: no such field"), row(1, "Accepted", "")
	for name, tc := range map[string]struct {
		before  invalid
		answers []string
		limit   time.Duration
		want    string // "": it is accepted
		code    int
	}{
		"the server begins anew":            {nil, []string{old, "away", "begins", good}, time.Minute, "", 0},
		"no server was ever there":          {nil, []string{"away"}, time.Minute, "reach xds-server", ExitUnreachable},
		"it stays away":                     {nil, []string{old, "away"}, time.Second, "not accepted after 1s: the server does not answer", 0},
		"another version stays":             {nil, []string{old}, time.Second, "not accepted after 1s: ResiliencePolicy/default/orders is not taken over yet", 0},
		"it is invalid":                     {invalid{}, []string{old, bad}, time.Minute, "ResiliencePolicy/default/orders is Invalid: spec.frob: no such field", 0},
		"it is invalid for another reason":  {invalid{orders: "is no JSON"}, []string{bad}, time.Minute, "orders is Invalid: spec.frob", 0},
		"the one before was invalid":        {invalid{orders: "spec.frob: no such field"}, []string{bad, good}, time.Minute, "", 0},
		"nobody knows which one is invalid": {nil, []string{bad, good}, time.Minute, "", 0},
		"its namespace may not":             {invalid{}, []string{old, row(1, "NotPermitted", "of namespace shop")}, time.Minute, "orders is NotPermitted: of namespace shop", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := aSession()
			answers(t, s, tc.answers...)
			err := s.await(t.Context(), writing{wait: policy.ConditionAccepted, limit: tc.limit}, put, tc.before)
			var exit *exitError
			switch {
			case tc.want == "" && err != nil, tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("%v, want %q", err, tc.want)
			case errors.As(err, &exit) != (tc.code != 0), exit != nil && exit.Code != tc.code:
				t.Errorf("%v has exit code %+v, want %d", err, exit, tc.code)
			}
		})
	}
}

// TestAWaitThatIsInterruptedSaysSo, and not that its time is over.
func TestAWaitThatIsInterruptedSaysSo(t *testing.T) {
	orders := policy.Key{Kind: "ResiliencePolicy", Namespace: "default", Name: "orders"}
	s := aSession()
	asked := answers(t, s, "")
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for asked.Load() < 2 {
			<-tick.C
		}
		stop()
	}()
	err := s.await(ctx, writing{wait: policy.ConditionAccepted, limit: time.Hour}, []policy.Change{{Key: orders, Document: &policy.Document{Key: orders}}}, nil)
	if err == nil || err.Error() != "interrupted; not accepted yet: ResiliencePolicy/default/orders is not taken over yet" {
		t.Errorf("await = %v", err)
	}
}
