package ctl

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"meshlite.dev/internal/admin/adminapi"
)

func TestABarFitsTheTerminal(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 30, 0, time.UTC)
	until := now.Add(30 * time.Second)
	voting := adminapi.Rollout{Phase: adminapi.PhaseVoting, Started: now.Add(-30 * time.Second), Votes: adminapi.VoteCount{Voters: 4, Yes: 1, Abstain: 1}}
	canary := adminapi.Rollout{
		Phase: adminapi.PhaseCanary, Started: now.Add(-time.Minute), Settings: adminapi.RolloutSettings{Bake: adminapi.Duration(time.Minute)},
		Canary: &adminapi.CanaryCount{Proxies: 1, Until: &until, Requests: 200, Errors: 1},
	}
	for _, tc := range []struct {
		r     adminapi.Rollout
		width int
		want  string
	}{
		{voting, 99, "[====================                    ] voting: 1 of 4 yes, 1 silent, 2 waiting  30s"},
		{voting, 60, "[======       ] voting: 1 of 4 yes, 1 silent, 2 waiting  30s"},
		{voting, 50, "voting: 1 of 4 yes, 1 silent, 2 waiting  30s"},
		{voting, 20, "voting: 1 of 4 yes,…"},
		{voting, 1, "…"},
		{voting, 0, "…"},
		{canary, 99, "[==========           ] canary, 30s to go: 1 sidecar, trial: 1 of 200 requests failed (0.50%)  1m0s"},
		{adminapi.Rollout{Phase: adminapi.PhaseHeld, Started: now}, 79, "held  0s"},
		{adminapi.Rollout{Phase: adminapi.PhaseWaiting, Started: now.Add(time.Hour), Reason: "a freeze"}, 79, "waiting: a freeze  0s"},
		{adminapi.Rollout{State: adminapi.RolledBack, Started: now}, 60, "[" + strings.Repeat("=", 40) + "] rolled back  0s"},
		{adminapi.Rollout{Phase: adminapi.PhasePushing, Started: now, Pushed: &adminapi.PushCount{Proxies: 10, Acked: 4, Refused: 1}}, 60, "[======       ] pushing: 4 of 10 acknowledged, 1 refused  0s"},
	} {
		got := barLine(tc.r, tc.width, now)
		if n := len([]rune(got)); n > max(tc.width, 1) {
			t.Errorf("%q has %d columns, there are %d", got, n, tc.width)
		}
		if got != tc.want {
			t.Errorf("width %d:\n got %q\nwant %q", tc.width, got, tc.want)
		}
	}
}

// A stream that breaks is asked for again, as of a server that restarts; one
// that was never there is an error.
func TestAFollowedRolloutOutlivesItsServer(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		switch {
		case r.URL.Path != "/v1/rollouts/r1/watch":
			http.NotFound(w, r)
		case asked == 1:
			_, _ = w.Write([]byte(`{"id": "r1", "state": "PENDING", "phase": "voting"}` + "\n\n"))
		default:
			_, _ = w.Write([]byte(`{"id": "r1", "state": "COMMITTED"}` + "\n"))
		}
	}))
	defer server.Close()
	var out, told bytes.Buffer
	s := &session{IO: IO{Out: &out, Err: &told, Getenv: func(string) (string, bool) { return "", false }}, timeout: time.Minute, output: "json"}
	s.server = server.URL
	if err := s.follow(t.Context(), &adminapi.Rollout{ID: "r1"}, "", time.Minute); err != nil || asked != 2 {
		t.Errorf("%v after %d questions", err, asked)
	}
	if !strings.Contains(told.String(), "asking again") || strings.Count(out.String(), "\n") != 2 {
		t.Errorf("said %q and %q", told.String(), out.String())
	}
	if err := s.follow(t.Context(), &adminapi.Rollout{ID: "r2"}, "", time.Minute); err == nil {
		t.Error("a rollout that is not there is followed")
	}
}

// A bar is drawn anew while nothing happens, and leaves an empty line.
func TestABarGoesOnWithoutNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := &rolloutProgress{to: &out, live: true, width: func() int { return 40 }, stop: make(chan struct{})}
		p.ended.Go(p.keep)
		p.show(adminapi.Rollout{ID: "r", Phase: adminapi.PhaseHeld, Started: time.Now()})
		<-time.After(3 * time.Second)
		p.say("a line")
		p.close()
		text := out.String()
		for _, want := range []string{eraseLine + "held  0s", eraseLine + "held  2s", eraseLine + "a line\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q has no %q", text, want)
			}
		}
		if !strings.HasSuffix(text, eraseLine) {
			t.Errorf("%q is not erased", text)
		}
	})
}

func TestOffATerminalAPhaseIsALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := &rolloutProgress{to: &out, stop: make(chan struct{})}
		r := adminapi.Rollout{ID: "r", State: adminapi.Pending, Phase: adminapi.PhaseVoting, Votes: adminapi.VoteCount{Voters: 9}}
		for r.Votes.Yes = range 10 {
			p.show(r)
			<-time.After(time.Second)
		}
		r.State, r.Phase = adminapi.Committed, ""
		p.show(r)
		p.close()
		want := "voting: 0 of 9 yes, 9 waiting\nvoting: 5 of 9 yes, 4 waiting\ncommitted\n"
		if out.String() != want {
			t.Errorf("got\n%swant\n%s", out.String(), want)
		}
	})
}
