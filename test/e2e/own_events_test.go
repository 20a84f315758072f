//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/events"
	"meshlite.dev/internal/txn"
	"meshlite.dev/test/lab"
)

// milestones reads what a log tells of each subject, types without their family,
// and faults where an id is there twice.
func milestones(t *testing.T, s *lab.Server, family string) (told map[string][]string, ids map[string]string) {
	t.Helper()
	told, ids = map[string][]string{}, map[string]string{}
	for _, e := range eventsOf(t, s, "?type=mesh."+family+".*") {
		name := strings.TrimPrefix(e.Type, "mesh."+family+".")
		if before := ids[e.ID]; before != "" {
			t.Errorf("%s of %s has the id of %s", e.Type, e.Subject, before)
		}
		ids[e.ID] = name + " " + e.Subject
		told[e.Subject] = append(told[e.Subject], name)
	}
	return told, ids
}

// untilSteps waits until a log tells these milestones of a rollout, and no others.
func untilSteps(t *testing.T, s *lab.Server, id string, want ...string) {
	t.Helper()
	lab.Until(t, 20*time.Second, id+" is told", func() error {
		told, _ := milestones(t, s, "rollout")
		if got := told["rollout/"+id]; !slices.Equal(got, want) {
			return fmt.Errorf("told %q, want %q", got, want)
		}
		return nil
	})
}

// rolloutEvent is the data of one milestone.
func rolloutEvent(t *testing.T, s *lab.Server, typ, id string) (data events.Rollout, at time.Time) {
	t.Helper()
	for line := range strings.Lines(s.Text("/v1/events?type=" + typ)) {
		var e struct {
			Subject string
			Time    time.Time
			Data    events.Rollout
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if e.Subject == "rollout/"+id {
			data, at = e.Data, e.Time
		}
	}
	return data, at
}

// TestRolloutsAreTold: each milestone once, whatever happens to the server, and what
// was decided while nobody told is told afterwards.
func TestRolloutsAreTold(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 5s}"))
	s := l.StartServer()
	client := l.Sidecar("client")
	client.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	edit := func(seconds, generation int, state string) adminapi.Rollout {
		l.Policies.Write("orders.yaml", policyYAML("orders", fmt.Sprintf("\n  timeouts: {request: %ds}", seconds)))
		return becomes(t, l, "it is decided", stands(state, int64(generation)))
	}
	voted := edit(6, 2, adminapi.Committed)
	untilSteps(t, s, voted.ID, "started", "prepared", "committed")
	if data, _ := rolloutEvent(t, s, events.RolloutCommitted, voted.ID); data.Votes.Yes != 1 || data.Revision != voted.To.Number || data.SkipVote || len(data.Documents) != 1 {
		t.Errorf("%+v", data)
	}

	l.MustMeshctl("rollout", "start", "--skip-vote")
	forced := edit(7, 3, adminapi.Committed)
	untilSteps(t, s, forced.ID, "started", "committed")
	if data, _ := rolloutEvent(t, s, events.RolloutStarted, forced.ID); !data.SkipVote || data.By == "" || data.By != forced.By || data.Documents[0].To != 3 {
		t.Errorf("the break-glass does not show: %+v", data)
	}
	l.MustMeshctl("rollout", "undo")
	untilSteps(t, s, forced.ID, "started", "committed", "rolledback")

	l.MustMeshctl("rollout", "start", "--mode", "hold")
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 8s}"))
	held := becomes(t, l, "it is held", func(r adminapi.Rollout) bool { return r.Phase == adminapi.PhaseHeld })
	untilSteps(t, s, held.ID, "started", "prepared")
	l.MustMeshctl("rollout", "abort", "--reason", "not today")
	untilSteps(t, s, held.ID, "started", "prepared", "aborted")
	if data, _ := rolloutEvent(t, s, events.RolloutAborted, held.ID); data.State != adminapi.RolledBack || !strings.Contains(data.Reason, "not today") {
		t.Errorf("%+v", data)
	}

	s.Kill()
	s.Add("--events", "off")
	s.Start()
	s.WaitReady(20 * time.Second)
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 9s}"))
	var quiet adminapi.Rollout
	lab.Until(t, 20*time.Second, "it is in force, and nobody tells", func() error {
		if quiet = rollouts(t, l).Items[0]; quiet.State != adminapi.Committed || quiet.Phase != "" || quiet.Source == "undo" {
			return fmt.Errorf("%+v", quiet)
		}
		return nil
	})
	s.Kill()
	before := time.Now()
	s.Add("--events", "local")
	s.Start()
	s.WaitReady(20 * time.Second)
	untilTold(t, s, events.RolloutCommitted, "rollout/"+quiet.ID, 1)
	if _, at := rolloutEvent(t, s, events.RolloutCommitted, quiet.ID); !at.Before(before) || !at.Equal(*quiet.Decided) {
		t.Errorf("committed at %s, told as of %s", quiet.Decided, at)
	}
	for _, r := range rollouts(t, l).Items {
		told, _ := milestones(t, s, "rollout")
		if got := told["rollout/"+r.ID]; len(got) < 2 || got[0] != "started" {
			t.Errorf("of %s %s told %q", r.ID, r.State, got)
		}
	}
}

// toldTransactions compares what logs tell of transactions with all that the
// coordinator, the first of the servers, remembers: each is there, once under each id.
func toldTransactions(t *testing.T, logs ...*lab.Server) {
	t.Helper()
	var known adminapi.Transactions
	logs[0].Get("/v1/transactions", &known)
	var events int
	lab.Until(t, 60*time.Second, "every transaction is told", func() error {
		told, all := map[string]map[string]bool{}, map[string]string{}
		events = 0
		for _, s := range logs {
			_, ids := milestones(t, s, "transaction")
			events += len(ids)
			maps.Copy(all, ids)
		}
		for id, what := range all {
			step, subject, _ := strings.Cut(what, " ")
			if told[subject] == nil {
				told[subject] = map[string]bool{}
			}
			if told[subject][step] {
				return lab.Stop(fmt.Errorf("%s is told under two ids, one of them %s", what, id))
			}
			told[subject][step] = true
		}
		for _, tx := range known.Items {
			want := map[txn.Status]string{txn.Committed: "committed", txn.RolledBack: "rolledback"}[tx.Status]
			if got := told["transaction/"+tx.ID]; len(got) != 2 || !got["started"] || !got[want] {
				return fmt.Errorf("%s is %s, and told is %v", tx.ID, tx.Status, got)
			}
		}
		if len(told) != len(known.Items) || len(told) == 0 {
			return fmt.Errorf("%d transactions are told, and %d known", len(told), len(known.Items))
		}
		return nil
	})
	t.Logf("%d events of %d transactions, in %d logs", events, len(known.Items), len(logs))
}

// editor returns what changes a policy in Consul for the n-th time, and waits until
// a rollout of l.Server has it in force: its subject.
func editor(t *testing.T, l *lab.Lab, consul *lab.Consul) func(n int) string {
	return func(n int) (newest string) {
		t.Helper()
		inKV(t, consul, "orders", policyYAML("orders", fmt.Sprintf("\n  timeouts: {request: %ds}", 10+n)))
		lab.Until(t, 60*time.Second, "it is in force", func() error {
			var all adminapi.Rollouts
			if err := l.Server.Try("/v1/rollouts", &all); err != nil {
				return err
			}
			if len(all.Items) == 0 || !stands(adminapi.Committed, int64(n))(all.Items[0]) {
				return fmt.Errorf("%+v", all.Items)
			}
			newest = "rollout/" + all.Items[0].ID
			return nil
		})
		return newest
	}
}

// TestReplicasTakeTurnsToTell: one of two servers on one Consul tells of services
// and rollouts; killed, the other goes on with the same ids, and both logs together
// have missed nothing.
func TestReplicasTakeTurnsToTell(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	consul := l.UseConsul(l.DataFolder()...)
	for _, name := range []string{"web", "orders"} {
		consul.Register(lab.Instance{ID: name + "-1", Name: name, Address: "127.0.0.1", Port: 9, Check: lab.TTL(name + "-1")})
	}
	flags := []string{"--policy-source", "consul", "--policy-dir", ""}
	first := l.StartServer(flags...)
	untilTold(t, first, events.EndpointAdded, "service/web", 1)
	second := l.StartServer(append(flags, "--state-dir", t.TempDir())...)
	edit := editor(t, l, consul)
	edit(1)
	untilTold(t, first, events.RolloutCommitted, edit(2), 1)
	consul.SetHealth("web-1", "critical")
	untilTold(t, first, events.EndpointUnhealthy, "service/web", 1)
	if told := foreign(t, second); len(told) > 0 {
		t.Errorf("both tell: %v", told)
	}

	first.Kill()
	begin := time.Now()
	consul.SetHealth("orders-1", "critical") // while nobody tells
	untilToldIn(t, 60*time.Second, second, events.RolloutCommitted, edit(3), 1)
	t.Logf("the other server told %s after the death of the first", time.Since(begin).Round(100*time.Millisecond))
	if gaps := eventsOf(t, second, "?type="+events.Gap); len(gaps) != 2 { // of its proxies, and of the catalog
		t.Errorf("gaps: %+v", gaps)
	}
	for _, service := range []string{"web", "orders"} { // as they are, though they were so before
		if e := untilTold(t, second, events.EndpointAdded, "service/"+service, 1)[0]; e.Data.Health != "UNHEALTHY" {
			t.Errorf("%s is told as %+v", service, e.Data)
		}
	}
	consul.SetHealth("web-1", "passing")
	untilTold(t, second, events.EndpointHealthy, "service/web", 1)

	first.Start()
	first.WaitReady(20 * time.Second)
	untilTold(t, second, events.RolloutCommitted, edit(4), 1)
	if told := foreign(t, first); slices.ContainsFunc(told, func(e toldEvent) bool { return e.Time.After(begin) }) {
		t.Errorf("the first one tells though it does not lead: %v", told)
	}
	_, one := milestones(t, first, "rollout")
	if len(one) == 0 {
		t.Error("the first server told of no rollout")
	}
	_, two := milestones(t, second, "rollout")
	for id, what := range one {
		if two[id] != what {
			t.Errorf("%s %s: the other server has it as %q", id, what, two[id])
		}
	}
	heard := map[string]bool{}
	for _, what := range two {
		heard[what] = true
	}
	for _, r := range rollouts(t, l).Items {
		end := map[string]string{adminapi.Committed: "committed", adminapi.RolledBack: "aborted"}[r.State]
		if !heard["started rollout/"+r.ID] || !heard[end+" rollout/"+r.ID] {
			t.Errorf("not told whole: %+v", r)
		}
	}
	t.Logf("%d events of rollouts, %d of them in both logs", len(two), len(one))
}

// foreign are the events in a log of what one server at a time tells.
func foreign(t *testing.T, s *lab.Server) []toldEvent {
	t.Helper()
	return slices.DeleteFunc(eventsOf(t, s, "?type=mesh.*.*"), func(e toldEvent) bool {
		return strings.HasPrefix(e.Type, "mesh.proxy.") || e.Type == events.Gap || strings.HasPrefix(e.Type, "mesh.guard.")
	})
}
