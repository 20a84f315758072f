package ctl_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/xds/server"
)

// shelf is a manager of rollouts without a mesh: each of its rollouts is at a
// point of its life that a script looks at. One named "moving…" goes a step on
// each time that it is read.
type shelf struct {
	mu    sync.Mutex
	items []adminapi.RolloutDetail
	steps map[string]int
	next  *adminapi.RolloutOptions
}

const waits = "waits for the end of the freeze"

func (s *shelf) Rollouts(context.Context) (adminapi.Rollouts, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := adminapi.Rollouts{
		InForce: adminapi.RevisionRef{Number: 12, Hash: "3f9c2a1bdeadbeef"}, Settings: adminapi.DefaultRolloutSettings(), Next: s.next, Queued: 2, Waits: waits,
		Proxies: adminapi.RevisionUptake{Connected: 3, Running: 2, Late: []string{"web-3"}},
		Pinned:  []adminapi.PinnedDocument{{Document: "ResiliencePolicy/default/stock", Generation: 4, Reason: "web-2 refused it", Rollout: "refused-1"}},
	}
	for _, d := range s.items {
		out.Items = append(out.Items, d.Rollout)
	}
	return out, nil
}

func (s *shelf) find(id string) (int, error) {
	i := slices.IndexFunc(s.items, func(d adminapi.RolloutDetail) bool { return d.ID == id })
	if i < 0 {
		return 0, fmt.Errorf("%w: %q", adminapi.ErrNoRollout, id)
	}
	return i, nil
}

func (s *shelf) Rollout(_ context.Context, id string) (adminapi.RolloutDetail, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(id)
	if err != nil {
		return adminapi.RolloutDetail{}, err
	}
	if strings.HasPrefix(id, "moving") {
		s.move(&s.items[i].Rollout)
	}
	return s.items[i], nil
}

// move takes a rollout a step on.
func (s *shelf) move(r *adminapi.Rollout) {
	s.steps[r.ID]++
	switch s.steps[r.ID] {
	case 1:
		r.Phase = adminapi.PhaseStaging
	case 2:
		r.Phase, r.Votes = adminapi.PhaseVoting, adminapi.VoteCount{Voters: 3, Yes: 1}
	case 3:
		r.Votes.Yes = 3
		r.State, r.Phase, r.Pushed = adminapi.Committed, adminapi.PhasePushing, &adminapi.PushCount{Proxies: 3, Acked: 2}
	default:
		r.Phase, r.Pushed = "", &adminapi.PushCount{Proxies: 3, Acked: 3}
	}
}

func (s *shelf) Revision(_ context.Context, revision string) (adminapi.RevisionDocuments, error) {
	doc := func(name string, attempts int) adminapi.RevisionDocument {
		return adminapi.RevisionDocument{Document: "ResiliencePolicy/default/" + name, Generation: 1, Content: json.RawMessage(fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"retry":{"attempts":%d}}}`, name, attempts))}
	}
	switch revision {
	case "11", "aaaaaaaa":
		return adminapi.RevisionDocuments{RevisionRef: adminapi.RevisionRef{Number: 11, Hash: "aaaaaaaabbbb"}, Documents: []adminapi.RevisionDocument{doc("orders", 2), doc("stock", 1), doc("gone", 1)}}, nil
	case "12":
		return adminapi.RevisionDocuments{RevisionRef: adminapi.RevisionRef{Number: 12, Hash: "3f9c2a1bdeadbeef"}, Documents: []adminapi.RevisionDocument{doc("new", 1), doc("orders", 3), doc("stock", 1)}}, nil
	}
	return adminapi.RevisionDocuments{}, fmt.Errorf("%w: %q", adminapi.ErrNoRevision, revision)
}

func (s *shelf) Start(_ context.Context, req adminapi.StartRequest) (adminapi.StartResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !req.Retry {
		s.next = &req.Options
		return adminapi.StartResponse{Next: s.next}, nil
	}
	r := adminapi.Rollout{ID: req.ID, State: adminapi.Pending, Phase: adminapi.PhaseWaiting, By: req.By, Started: time.Now(), Changes: changes, Settings: req.Options.Over(adminapi.DefaultRolloutSettings())}
	s.items = slices.Insert(s.items, 0, adminapi.RolloutDetail{Rollout: r})
	return adminapi.StartResponse{Rollout: &r}, nil
}

func (s *shelf) Undo(_ context.Context, req adminapi.UndoRequest) (adminapi.Rollout, error) {
	if req.ToRevision == "1" {
		return adminapi.Rollout{}, fmt.Errorf("%w: 1", adminapi.ErrNoRevision)
	}
	out, err := s.Start(context.Background(), adminapi.StartRequest{ID: req.ID, By: req.By, Retry: true, Options: req.Options})
	return *out.Rollout, err
}

func (s *shelf) Decide(_ context.Context, id string, verb adminapi.RolloutVerb, req adminapi.DecideRequest) (adminapi.Rollout, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(id)
	if err != nil {
		return adminapi.Rollout{}, err
	}
	r := &s.items[i].Rollout
	if !r.Open() && verb != adminapi.VerbResolve {
		return *r, fmt.Errorf("%w: rollout %s is %s already", adminapi.ErrNotNow, id, r.State)
	}
	s.items[i].Log = append(s.items[i].Log, adminapi.RolloutEntry{At: time.Now(), By: req.By, Text: string(verb) + ": " + req.Reason})
	switch verb {
	case adminapi.VerbCommit:
		r.State, r.Phase = adminapi.Committed, adminapi.PhaseConfirming
	case adminapi.VerbConfirm:
		r.Phase = ""
	case adminapi.VerbResolve:
		r.ResolvedBy = req.By
	case adminapi.VerbAbort:
		r.State, r.Phase, r.Reason = adminapi.RolledBack, "", "aborted by "+req.By
	}
	return *r, nil
}

var changes = []adminapi.RolloutChange{
	{Document: "ResiliencePolicy/default/orders", Change: "change", From: 2, To: 3},
	{Document: "TrafficRoute/shop/new", Change: "add", To: 1},
	{Document: "ResiliencePolicy/default/gone", Change: "remove", From: 1},
}

// startRollouts serves a shelf of rollouts at every point of their lives.
func startRollouts(t *testing.T) (url string) {
	t.Helper()
	at := time.Now().Add(-time.Minute)
	soon := time.Now().Add(time.Hour)
	in := adminapi.RevisionRef{Number: 12, Hash: "3f9c2a1bdeadbeef"}
	s := &shelf{steps: map[string]int{}}
	add := func(id string, edit func(r *adminapi.RolloutDetail)) {
		d := adminapi.RolloutDetail{Rollout: adminapi.Rollout{
			ID: id, State: adminapi.Pending, From: adminapi.RevisionRef{Number: 11, Hash: "aaaaaaaabbbb"}, To: adminapi.RevisionRef{Hash: "3f9c2a1bdeadbeef"},
			Changes: changes, Source: "dir", Started: at, Settings: adminapi.DefaultRolloutSettings(),
		}}
		edit(&d)
		s.items = append(s.items, d)
	}
	add("good-1", func(r *adminapi.RolloutDetail) {
		r.State, r.To, r.Decided, r.Ended, r.By, r.Skew = adminapi.Committed, in, &at, &at, "ada", adminapi.Duration(120*time.Millisecond)
		r.Votes = adminapi.VoteCount{Voters: 3, Yes: 2, Abstain: 1, Builds: []adminapi.BuildVotes{{Build: "1.40.0", Voters: 3, Yes: 2, Abstain: 1}}}
		r.Proxies = []adminapi.ProxyVote{{Proxy: "web-3", Service: "web", Build: "1.40.0", Answer: adminapi.VoteAbstain, Text: "no answer in 10s"}, {Proxy: "web-1", Service: "web", Build: "1.40.0", Answer: adminapi.VoteYes, At: &at}}
		r.Log = []adminapi.RolloutEntry{{At: at, Phase: adminapi.PhaseVoting, Party: "fleet", Text: "asks 3 proxies"}, {At: at, By: "ada", Text: "confirmed"}}
	})
	add("refused-1", func(r *adminapi.RolloutDetail) {
		r.State, r.Reason, r.Blamed = adminapi.RolledBack, "web-2 refused it", []string{"ResiliencePolicy/default/stock"}
		r.Votes = adminapi.VoteCount{Voters: 2, No: 1}
		r.Proxies = []adminapi.ProxyVote{{Proxy: "web-2", Answer: adminapi.VoteNo, Refusals: []adminapi.BallotRefusal{
			{Type: "CDS", Resource: "stock", Policies: []string{"rp/default/stock@4"}, Message: "Unknown field"}, {Type: "RDS", Resource: "stock", Message: "no such cluster"},
		}}}
	})
	add("held-1", func(r *adminapi.RolloutDetail) { r.Phase, r.ConfirmBy = adminapi.PhaseHeld, &soon })
	add("voting-1", func(r *adminapi.RolloutDetail) {
		r.Phase, r.Votes, r.Deadline = adminapi.PhaseVoting, adminapi.VoteCount{Voters: 10, Yes: 4}, &soon
	})
	add("odd-1", func(r *adminapi.RolloutDetail) {
		r.State, r.Reason = adminapi.Heuristic, "3 proxies refused it after the commit"
	})
	add("undone-1", func(r *adminapi.RolloutDetail) {
		r.State, r.UndoneBy, r.Reason = adminapi.Committed, "undo-9", "not confirmed in time"
	})
	add("moving-1", func(*adminapi.RolloutDetail) {})
	add("moving-2", func(*adminapi.RolloutDetail) {})
	hub := admin.NewHub(nil)
	h := httptest.NewServer(admin.New(admin.Config{
		State: func() (admin.State, bool) { return admin.State{}, false }, Hub: hub, Rollouts: s,
		Fleet: threeProxies{},
	}))
	t.Cleanup(h.Close)
	return h.URL
}

// threeProxies is a fleet in which one is late.
type threeProxies struct{}

func (threeProxies) Proxies() []server.Proxy {
	out := make([]server.Proxy, 3)
	for i := range out {
		out[i] = server.Proxy{Node: server.Node{ID: fmt.Sprint("web-", i+1)}, Connected: true, Status: server.Synced}
	}
	out[2].Status = server.Stale
	return out
}

func (threeProxies) Proxy(string) (server.Proxy, bool) { return server.Proxy{}, false }

func (threeProxies) Resources(string) ([]server.ResourceState, bool) { return nil, false }
