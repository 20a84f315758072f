//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/app"
	"meshlite.dev/test/lab"
)

// rollouts reads the history.
func rollouts(t *testing.T, l *lab.Lab) adminapi.Rollouts {
	t.Helper()
	var all adminapi.Rollouts
	l.Server.Get("/v1/rollouts", &all)
	return all
}

// becomes waits until the newest rollout that changes a document is as want says.
func becomes(t *testing.T, l *lab.Lab, what string, want func(adminapi.Rollout) bool) adminapi.Rollout {
	t.Helper()
	var r adminapi.Rollout
	lab.Until(t, 30*time.Second, what, func() error {
		var all adminapi.Rollouts
		if err := l.Server.Try("/v1/rollouts", &all); err != nil {
			return err
		}
		for _, item := range all.Items {
			if want(item) {
				r = item
				return nil
			}
		}
		return fmt.Errorf("%+v", all.Items)
	})
	return r
}

// stands says that a rollout to a generation of orders is in a state, and done.
func stands(state string, generation int64) func(adminapi.Rollout) bool {
	return func(r adminapi.Rollout) bool {
		return r.State == state && r.Phase == "" && slices.ContainsFunc(r.Changes, func(c adminapi.RolloutChange) bool {
			return c.Document == "ResiliencePolicy/default/orders" && c.To == generation
		})
	}
}

// runAll checks the timeout of orders' route on each Envoy.
func runAll(t *testing.T, sidecars []*lab.Sidecar, timeout string) error {
	t.Helper()
	for _, s := range sidecars {
		if got := at(readDump(t, s).part(route, "orders"), "route.timeout"); got != timeout {
			return fmt.Errorf("%s has %v", s.ID, got)
		}
	}
	return nil
}

// TestARolloutOverFiveEnvoys: a good policy is voted for and committed, one that
// Envoy refuses never serves and holds nothing up, and not one call fails.
func TestARolloutOverFiveEnvoys(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 2)
	inProcess(t, l, func(*app.Config) {}, app.WithMutate(poison))
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 5s}"))
	sidecars := l.Sidecars("client", 5)
	for _, s := range sidecars {
		s.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	}
	load := sidecars[0].Load(rate, http.MethodGet, "http://orders/")

	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 6s}"))
	good := becomes(t, l, "it is committed", stands(adminapi.Committed, 2))
	t.Logf("%d of %d said yes, decided after %s, skew %s", good.Votes.Yes, good.Votes.Voters, good.Decided.Sub(good.Started), good.Skew)
	if good.Votes.Yes != 5 || good.Pushed == nil || good.Pushed.Acked != 5 {
		t.Errorf("%+v", good)
	}
	if err := runAll(t, sidecars, "6s"); err != nil {
		t.Error(err)
	}
	votes := l.MustMeshctl("rollout", "votes", good.ID)
	for _, s := range sidecars {
		if !strings.Contains(votes, s.ID) {
			t.Errorf("meshctl rollout votes lacks %s:\n%s", s.ID, votes)
		}
	}

	before := metric(t, l.Server, "meshlite_xds_nacks_total")
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 7s}"))
	bad := becomes(t, l, "it is rolled back", stands(adminapi.RolledBack, 3))
	if !strings.Contains(bad.Reason, "missing )") || !slices.Equal(bad.Blamed, []string{"ResiliencePolicy/default/orders"}) {
		t.Errorf("%+v", bad)
	}
	if err := runAll(t, sidecars, "6s"); err != nil {
		t.Error(err)
	}
	if after := metric(t, l.Server, "meshlite_xds_nacks_total"); after != before {
		t.Errorf("%v refusals in service", after-before)
	}
	told := conditionOf(l, "Programmed", "RolloutRefused", "missing )")
	lab.Until(t, 10*time.Second, "the condition has Envoy's words", told)
	for _, s := range sidecars {
		if err := leftOver(s); err != nil {
			t.Errorf("left of the vote on %s: %v", s.ID, err)
		}
	}

	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 8s}"))
	start := time.Now()
	becomes(t, l, "the next one is committed", stands(adminapi.Committed, 4))
	t.Logf("the next good change took %s", time.Since(start))
	if err := runAll(t, sidecars, "8s"); err != nil {
		t.Error(err)
	}
	clean(t, load.Finish())
}

// conditionOf looks at a condition of orders' policy.
func conditionOf(l *lab.Lab, kind, reason, words string) func() error {
	return func() error {
		var p adminapi.Policy
		if err := l.Server.Try("/v1/policies/rp/default/orders", &p); err != nil {
			return err
		}
		for _, c := range p.Conditions {
			if c.Type == kind && c.Reason == reason && strings.Contains(c.Message, words) {
				return nil
			}
		}
		return fmt.Errorf("%+v", p.Conditions)
	}
}

// TestAStoppedEnvoyHoldsNoRolloutUp: it is named among those who said nothing.
func TestAStoppedEnvoyHoldsNoRolloutUp(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	l.StartServer("--quorum", "50", "--rollout-timeout", "2s")
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 5s}"))
	sidecars := l.Sidecars("client", 4)
	for _, s := range sidecars {
		s.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	}
	sidecars[2].Signal(syscall.SIGSTOP)
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 6s}"))
	r := becomes(t, l, "it is committed", func(r adminapi.Rollout) bool { return r.State == adminapi.Committed && r.Votes.Abstain == 1 })
	sidecars[2].Signal(syscall.SIGCONT)
	if r.Votes.Yes != 3 || !strings.Contains(r.Reason, "client-3") {
		t.Errorf("%+v", r)
	}
	lab.Until(t, 20*time.Second, "all run it", func() error { return runAll(t, sidecars, "6s") })
}

// TestUndoBringsBackTheSameBytes: what each Envoy holds is what it held.
func TestUndoBringsBackTheSameBytes(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	l.StartServer()
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 5s}"))
	client := l.Sidecars("client", 1)
	client[0].WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	inForce(t, l, "rp/default/orders@1")
	before := fmt.Sprint(readDump(t, client[0]))
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 6s}\n  limits: {connections: 77}"))
	inForce(t, l, "rp/default/orders@2")
	if fmt.Sprint(readDump(t, client[0])) == before {
		t.Fatal("the change changed nothing")
	}
	l.MustMeshctl("rollout", "undo")
	lab.Until(t, 15*time.Second, "it is as it was", func() error {
		if now := fmt.Sprint(readDump(t, client[0])); now != before {
			return fmt.Errorf("%s", now)
		}
		return nil
	})
	lab.Hold(t, time.Second, "the folder does not bring it back", func() error { return runAll(t, client, "5s") })
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 9s}"))
	lab.Until(t, 15*time.Second, "an edit goes through", func() error { return runAll(t, client, "9s") })
}

// TestAnUnconfirmedChangeIsTakenBack: over a kill -9 of the server too.
func TestAnUnconfirmedChangeIsTakenBack(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 5s}"))
	s := l.StartServer("--confirm-timeout", "6s")
	client := l.Sidecars("client", 1)
	client[0].WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	load := client[0].Load(rate/3, http.MethodGet, "http://orders/")
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 6s}"))
	r := becomes(t, l, "it waits for its confirmation", func(r adminapi.Rollout) bool { return r.Phase == adminapi.PhaseConfirming })
	if err := runAll(t, client, "6s"); err != nil {
		t.Error(err)
	}
	s.Kill()
	s.Start()
	s.WaitReady(20 * time.Second)
	lab.Until(t, 20*time.Second, "it is taken back", func() error { return runAll(t, client, "5s") })
	undone := becomes(t, l, "it says by whom", func(o adminapi.Rollout) bool { return o.ID == r.ID && o.UndoneBy != "" })
	if late := time.Since(*undone.ConfirmBy); late < 0 {
		t.Errorf("undone %s too early", -late)
	}
	if all := rollouts(t, l); len(all.Pinned) != 1 {
		t.Errorf("pinned: %+v", all.Pinned)
	}
	clean(t, load.Finish())
}
