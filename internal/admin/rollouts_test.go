package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/admin/adminapi"
)

// memory keeps rollouts as a manager does, in one process and without proxies.
type memory struct {
	mu    sync.Mutex
	items []adminapi.RolloutDetail // newest first
	asked []string                 // commands, in words

	pinned []adminapi.PinnedDocument
}

var _ admin.Rollouts = (*memory)(nil)

func (m *memory) Rollouts(context.Context) (adminapi.Rollouts, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := adminapi.Rollouts{InForce: adminapi.RevisionRef{Number: 12, Hash: "3f9c2a1bdeadbeef"}, Settings: adminapi.DefaultRolloutSettings(), Pinned: m.pinned, Proxies: adminapi.RevisionUptake{Connected: 1, Refusing: 1}}
	for _, d := range m.items {
		out.Items = append(out.Items, d.Rollout)
	}
	return out, nil
}

func (m *memory) Rollout(_ context.Context, id string) (adminapi.RolloutDetail, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.items, func(d adminapi.RolloutDetail) bool { return d.ID == id })
	if i < 0 {
		return adminapi.RolloutDetail{}, fmt.Errorf("%w: %q", adminapi.ErrNoRollout, id)
	}
	return m.items[i], nil
}

func (m *memory) Revision(_ context.Context, revision string) (adminapi.RevisionDocuments, error) {
	if revision != "12" {
		return adminapi.RevisionDocuments{}, fmt.Errorf("%w: %q", adminapi.ErrNoRevision, revision)
	}
	return adminapi.RevisionDocuments{RevisionRef: adminapi.RevisionRef{Number: 12, Hash: "3f9c2a1bdeadbeef"}}, nil
}

func (m *memory) Start(_ context.Context, req adminapi.StartRequest) (adminapi.StartResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, fmt.Sprintf("start %s retry=%v by %s", req.ID, req.Retry, req.By))
	if !req.Retry {
		return adminapi.StartResponse{Next: &req.Options}, nil
	}
	r := adminapi.Rollout{ID: req.ID, State: adminapi.Pending, Phase: adminapi.PhaseVoting, Settings: req.Options.Over(adminapi.DefaultRolloutSettings())}
	m.items = slices.Insert(m.items, 0, adminapi.RolloutDetail{Rollout: r})
	return adminapi.StartResponse{Rollout: &r}, nil
}

func (m *memory) Undo(_ context.Context, req adminapi.UndoRequest) (adminapi.Rollout, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, "undo to "+req.ToRevision)
	if req.ToRevision == "0" {
		return adminapi.Rollout{}, fmt.Errorf("%w: 0", adminapi.ErrNoRevision)
	}
	return adminapi.Rollout{ID: "undo-1", State: adminapi.Pending, To: adminapi.RevisionRef{Hash: "0123456789"}}, nil
}

func (m *memory) Decide(ctx context.Context, id string, verb adminapi.RolloutVerb, req adminapi.DecideRequest) (adminapi.Rollout, error) {
	d, err := m.Rollout(ctx, id)
	if err != nil {
		return adminapi.Rollout{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, fmt.Sprintf("%s %s by %s: %s", verb, id, req.By, req.Reason))
	switch verb {
	case adminapi.VerbConfirm:
		return d.Rollout, fmt.Errorf("%w: rollout %s is %s", adminapi.ErrNotNow, id, d.State)
	case adminapi.VerbResolve:
		return d.Rollout, fmt.Errorf("%w: replica b leads", adminapi.ErrElsewhere)
	}
	d.State, d.Phase = adminapi.Committed, ""
	m.items[slices.IndexFunc(m.items, func(o adminapi.RolloutDetail) bool { return o.ID == id })] = d
	return d.Rollout, nil
}

// kept is a history of one open rollout, one in force and one refused.
func kept() *memory {
	at := now
	return &memory{items: []adminapi.RolloutDetail{
		{Rollout: adminapi.Rollout{ID: "r3", State: adminapi.Pending, Phase: adminapi.PhaseVoting, Votes: adminapi.VoteCount{Voters: 3, Yes: 1}}, Proxies: []adminapi.ProxyVote{{Proxy: "web-1", Answer: adminapi.VoteYes}}},
		{Rollout: adminapi.Rollout{
			ID: "r2", State: adminapi.Committed, To: adminapi.RevisionRef{Number: 12, Hash: "3f9c2a1bdeadbeef"}, Decided: &at, By: "ada",
			Changes: []adminapi.RolloutChange{{Document: "ResiliencePolicy/default/orders", Change: "change", From: 2, To: 3}},
		}, Log: []adminapi.RolloutEntry{{At: at, Text: "committed"}}},
		{Rollout: adminapi.Rollout{ID: "r1", State: adminapi.RolledBack, To: adminapi.RevisionRef{Hash: "9"}, Decided: &at}},
	}}
}

func keeping(t *testing.T) (*memory, http.Handler) {
	t.Helper()
	m, cfg := kept(), config(t)
	cfg.Rollouts = m
	return m, admin.New(cfg)
}

func TestTheDoctorAsksForAPerson(t *testing.T) {
	soon := now.Add(90 * time.Second)
	open := func(phase, state string) adminapi.RolloutDetail {
		return adminapi.RolloutDetail{Rollout: adminapi.Rollout{ID: "r1", State: state, Phase: phase, Reason: "why", Started: now.Add(-2 * time.Minute), ConfirmBy: &soon}}
	}
	resolved := open("", adminapi.Heuristic)
	resolved.ResolvedBy = "ada"
	slow := open(adminapi.PhaseWaiting, adminapi.Pending)
	slow.Started = now.Add(-3 * time.Hour)
	for _, tc := range []struct {
		items  []adminapi.RolloutDetail
		pinned []adminapi.PinnedDocument
		check  string
		want   string
	}{
		{nil, nil, "rollouts", "ok: none yet"},
		{[]adminapi.RolloutDetail{open("", adminapi.Committed)}, nil, "rollouts", "ok: the last one, r1, is COMMITTED"},
		{[]adminapi.RolloutDetail{open(adminapi.PhaseVoting, adminapi.Pending)}, nil, "rollouts", "ok: the last one, r1, is PENDING"},
		{[]adminapi.RolloutDetail{open("", adminapi.Heuristic)}, nil, "rollouts", "error: r1 is HEURISTIC: why"},
		{[]adminapi.RolloutDetail{resolved}, nil, "rollouts", "ok: the last one, r1, is HEURISTIC"},
		{[]adminapi.RolloutDetail{open(adminapi.PhaseHeld, adminapi.Pending)}, nil, "rollouts", "warning: r1 is held for 2m0s"},
		{[]adminapi.RolloutDetail{open(adminapi.PhaseConfirming, adminapi.Committed)}, nil, "rollouts", "warning: r1 is undone in 1m30s unless it is confirmed"},
		{[]adminapi.RolloutDetail{slow}, nil, "rollouts", "warning: r1 is waiting for 3h0m0s: why"},
		{nil, []adminapi.PinnedDocument{{Document: "rp/a", Rollout: "r1", Reason: "Unknown field"}}, "pinned policies", "warning: rp/a, refused by r1 (Unknown field)"},
	} {
		cfg := config(t)
		cfg.Rollouts = &memory{items: tc.items, pinned: tc.pinned}
		if line, hint := diagnosis(t, cfg, tc.check); line != tc.want || (hint == "") != strings.HasPrefix(line, "ok") {
			t.Errorf("%q (%q), want %q", line, hint, tc.want)
		}
	}
	if line, _ := diagnosis(t, config(t), "rollouts"); line != "" {
		t.Errorf("without rollouts: %q", line)
	}
}

// read asks for a page that answers 200.
func read[T any](t *testing.T, h http.Handler, path string) T {
	t.Helper()
	w := ask(h, http.MethodGet, path, "")
	var v T
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%s: %d %v %s", path, w.Code, err, w.Body)
	}
	return v
}

func TestRolloutsAreRead(t *testing.T) {
	_, h := keeping(t)
	all := read[adminapi.Rollouts](t, h, "/v1/rollouts")
	if len(all.Items) != 3 || all.Proxies.Connected != 1 || all.Proxies.Refusing != 1 || all.Proxies.Running != 0 {
		t.Errorf("%d rollouts, proxies %+v", len(all.Items), all.Proxies)
	}
	if one := read[adminapi.RolloutDetail](t, h, "/v1/rollouts/r2"); one.By != "ada" || len(one.Log) != 1 || one.Proxies == nil {
		t.Errorf("r2: %+v", one)
	}
	if v := read[adminapi.RolloutVotes](t, h, "/v1/rollouts/r3/votes"); v.Unlisted != 2 || len(v.Items) != 1 || v.State != adminapi.Pending || v.Votes.Waiting() != 2 {
		t.Errorf("votes: %+v", v)
	}
	if l := read[adminapi.RolloutLog](t, h, "/v1/rollouts/r2/log"); len(l.Items) != 1 || l.Items[0].Text != "committed" {
		t.Errorf("log: %+v", l)
	}
	revisions := read[adminapi.Revisions](t, h, "/v1/revisions").Items
	if len(revisions) != 1 || revisions[0].Number != 12 || !revisions[0].InForce || revisions[0].Rollout != "r2" {
		t.Errorf("revisions: %+v, want that of r2 alone", revisions)
	}
	if d := read[adminapi.RevisionDocuments](t, h, "/v1/revisions/12"); d.Number != 12 || d.Documents == nil {
		t.Errorf("revision 12: %+v", d)
	}
	for path, want := range map[string]string{
		"/v1/rollouts/nope": "no such rollout", "/v1/rollouts/nope/votes": "no such rollout", "/v1/rollouts/nope/log": "no such rollout",
		"/v1/rollouts/nope/watch": "no such rollout", "/v1/revisions/99": "no such revision",
	} {
		if w := ask(h, http.MethodGet, path, ""); w.Code != http.StatusNotFound || !strings.Contains(failureOf(t, w).Error, want) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	for _, path := range []string{"/v1/rollouts?x=1", "/v1/rollouts/r1?x=1", "/v1/revisions?x=1", "/v1/revisions/12?x=1"} {
		if w := ask(h, http.MethodGet, path, ""); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestRolloutsTakeCommands(t *testing.T) {
	m, h := keeping(t)
	for _, c := range []struct {
		path, body string
		code       int
		want       string // in the answer
	}{
		{"/v1/rollouts", `{"options": {"canary": "10%", "bake": "1m"}, "by": "ada"}`, 200, `"canary": "10%"`},
		{"/v1/rollouts", `{"id": "mine", "retry": true, "options": {"mode": "hold"}}`, 200, `"id": "mine"`},
		{"/v1/rollouts", `{"id": "a b", "by": "` + strings.Repeat("x", 257) + `", "options": {"mode": "later", "quorum": 101}}`, 400, `id: \"a b\"`},
		{"/v1/rollouts", `{"options": {"mode": "later", "quorum": 101}}`, 400, `quorum: 101`},
		{"/v1/rollouts", `{"id": "undo", "options": {}}`, 400, `id: \"undo\"`},
		{"/v1/rollouts", `{"options": {"bake": "x"}}`, 400, "a duration such as"},
		{"/v1/rollouts", `{"nope": 1}`, 400, "unknown field"},
		{"/v1/rollouts/undo", `{"toRevision": "11", "options": {}}`, 200, `"id": "undo-1"`},
		{"/v1/rollouts/undo", `{"toRevision": "0", "options": {}}`, 404, "no such revision"},
		{"/v1/rollouts/undo", `{"toRevision": "` + strings.Repeat("1", 65) + `", "options": {}}`, 400, "toRevision"},
		{"/v1/rollouts/r3/commit", `{"by": "ada", "reason": "looks well"}`, 200, adminapi.Committed},
		{"/v1/rollouts/r3/confirm", `{}`, 409, "rollout r3 is COMMITTED"},
		{"/v1/rollouts/r3/resolve", `{}`, 503, "replica b leads"},
		{"/v1/rollouts/nope/abort", `{}`, 404, "no such rollout"},
		{"/v1/rollouts/r3/abort", `{"reason": "` + strings.Repeat("x", 1025) + `"}`, 400, "reason: is 1025 bytes"},
		{"/v1/rollouts/r3/abort", `[]`, 400, "body"},
		{"/v1/rollouts/r3/explode", `{}`, 404, "no such page"},
	} {
		if w := ask(h, http.MethodPost, c.path, c.body); w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %.80s: %d %s; want %d and %s", c.path, c.body, w.Code, w.Body, c.code, c.want)
		}
	}
	want := "start  retry=false by ada|start mine retry=true by |undo to 11|undo to 0|commit r3 by ada: looks well|confirm r3 by : |resolve r3 by : "
	if got := strings.Join(m.asked, "|"); got != want {
		t.Errorf("the manager was asked for\n%s, want\n%s", got, want)
	}
	for _, c := range [][2]string{{http.MethodGet, "/v1/rollouts/undo"}, {http.MethodGet, "/v1/rollouts/r1/abort"}, {http.MethodPost, "/v1/rollouts/r1"}, {http.MethodDelete, "/v1/rollouts"}, {http.MethodPost, "/v1/revisions"}} {
		if w := ask(h, c[0], c[1], ""); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s %s: %d", c[0], c[1], w.Code)
		}
	}
}

func TestCommandsNeedTheTokenAndLeaveALine(t *testing.T) {
	m, cfg := kept(), config(t)
	log, out := logs()
	cfg.Rollouts, cfg.Token, cfg.Log = m, "secret", log
	h := admin.New(cfg)
	skip := `{"retry": true, "id": "hurry", "by": "ada", "options": {"skipVote": true}}`
	if w := ask(h, http.MethodPost, "/v1/rollouts", skip); w.Code != http.StatusUnauthorized || len(m.asked) > 0 {
		t.Errorf("without a token: %d %v", w.Code, m.asked)
	}
	w := ask(h, http.MethodPost, "/v1/rollouts", skip, func(r *http.Request) { r.Header.Set("Authorization", "Bearer secret") })
	if w.Code != http.StatusOK || !strings.Contains(out.String(), "rollout hurry started by ada, its vote skipped") {
		t.Errorf("%d, log:\n%s", w.Code, out)
	}
}

func TestWithoutRolloutsThePagesSaySo(t *testing.T) {
	h := admin.New(config(t))
	for _, path := range []string{"/v1/rollouts", "/v1/rollouts/r1", "/v1/rollouts/r1/watch", "/v1/revisions", "/v1/revisions/1"} {
		if w := ask(h, http.MethodGet, path, ""); w.Code != http.StatusNotImplemented || failureOf(t, w).Error != "this server keeps no rollouts" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := ask(h, http.MethodPost, "/v1/rollouts/undo", "{}"); w.Code != http.StatusNotImplemented {
		t.Errorf("undo: %d", w.Code)
	}
}

func TestAWatchedRolloutIsToldUntilItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, cfg := kept(), config(t)
		cfg.Rollouts = m
		p, stop := running(t, cfg)
		defer stop()
		client := p.dial(t, "/v1/rollouts/r3/watch")
		defer client.Close()
		resp, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		lines := json.NewDecoder(resp.Body)
		next := func() (r adminapi.Rollout) {
			t.Helper()
			if err := lines.Decode(&r); err != nil {
				t.Fatal(err)
			}
			return r
		}
		if r := next(); r.State != adminapi.Pending || r.Votes.Yes != 1 {
			t.Errorf("first %+v", r)
		}
		m.mu.Lock()
		m.items[0].Votes.Yes = 2
		m.mu.Unlock()
		if r := next(); r.Votes.Yes != 2 {
			t.Errorf("then %+v", r.Votes)
		}
		if _, err := m.Decide(t.Context(), "r3", adminapi.VerbCommit, adminapi.DecideRequest{}); err != nil {
			t.Fatal(err)
		}
		if r := next(); r.State != adminapi.Committed {
			t.Errorf("last %+v", r)
		}
		if err := lines.Decode(&adminapi.Rollout{}); err == nil {
			t.Error("the stream goes on after the end of the rollout")
		}
	})
}

func TestEveryStepOfARolloutIsAnEvent(t *testing.T) {
	r := adminapi.Rollout{ID: "r1", State: adminapi.Pending, Phase: adminapi.PhaseVoting}
	for _, name := range []string{"a", "b", "c", "d"} {
		r.Changes = append(r.Changes, adminapi.RolloutChange{Document: name})
	}
	before, got := adminapi.Rollout{}, []string{}
	step := func(edit func()) {
		edit()
		for _, e := range admin.RolloutChanges(before, r) {
			if e.Rollout != "r1" || len(e.Policies) != 4 || e.Time != (time.Time{}) {
				t.Errorf("%+v", e)
			}
			got = append(got, e.Type+" "+e.Message)
		}
		before = r
	}
	step(func() {})
	step(func() { r.Votes.Yes = 3 })
	step(func() { r.Phase = adminapi.PhaseHeld; r.Reason = "waits for a person" })
	step(func() { r.State, r.Phase, r.Reason = adminapi.Committed, adminapi.PhaseConfirming, "3 of 3 said yes" })
	step(func() { r.Phase = "" })
	step(func() { r.UndoneBy, r.Reason = "r2", "web-1 refused" })
	step(func() { r.State = adminapi.Heuristic })
	want := []string{
		"rollout.started started: a, b, c and 1 more", "rollout.held waits for a person", "rollout.committed 3 of 3 said yes",
		"rollout.confirmed confirmed", "rollout.rolledback undone by r2: web-1 refused", "rollout.heuristic web-1 refused",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
