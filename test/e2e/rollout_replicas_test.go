//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/test/lab"
)

// TestReplicasRollOutTogether: the Envoys of two servers vote in one rollout, and
// when the leader is killed in the middle of the next, the other ends it.
func TestReplicasRollOutTogether(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	consul := l.UseConsul(l.DataFolder()...)
	l.Service("orders", 2)
	flags := []string{"--policy-source", "consul", "--policy-dir", "", "--quorum", "0", "--rollout-timeout", "20s"}
	leader := l.StartServer(flags...)
	inKV(t, consul, "orders", policyYAML("orders", "\n  timeouts: {request: 5s}"))
	becomes(t, l, "the first revision is there", func(r adminapi.Rollout) bool { return r.State == adminapi.Committed })
	near := l.Sidecars("near", 2)
	second := l.StartServer(append(flags, "--state-dir", t.TempDir())...)
	far := l.Sidecars("far", 2)
	all := []*lab.Sidecar{near[0], near[1], far[0], far[1]}
	for _, s := range all {
		s.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	}
	load := far[0].Load(rate/3, http.MethodGet, "http://orders/")

	inKV(t, consul, "orders", policyYAML("orders", "\n  timeouts: {request: 6s}"))
	r := becomes(t, l, "all four said yes", func(r adminapi.Rollout) bool { return r.State == adminapi.Committed && r.Votes.Yes == 4 })
	t.Logf("4 Envoys of 2 servers decided in %s", r.Decided.Sub(r.Started))
	lab.Until(t, 10*time.Second, "all run it", func() error { return runAll(t, all, "6s") })
	id := r.ID
	r = becomes(t, l, "the proxies of both are followed", func(r adminapi.Rollout) bool {
		return r.ID == id && r.Phase == "" && r.Pushed != nil && *r.Pushed == adminapi.PushCount{Proxies: 4, Acked: 4}
	})
	t.Logf("all four had it %s after the commit", time.Duration(r.Skew).Round(time.Millisecond))
	for _, s := range []*lab.Server{leader, second} {
		lab.Until(t, 5*time.Second, "each replica counts them all", func() error {
			var list adminapi.Rollouts
			err := s.Try("/v1/rollouts", &list)
			if err == nil && (list.Proxies.Connected != 4 || list.Proxies.Running != 4) {
				err = fmt.Errorf("%+v", list.Proxies)
			}
			return err
		})
	}
	steerFrom(t, l, second, all)

	near[1].Signal(syscall.SIGSTOP) // the vote takes its time
	inKV(t, consul, "orders", policyYAML("orders", "\n  timeouts: {request: 7s}"))
	lab.Until(t, 10*time.Second, "the vote has begun", func() error {
		var list adminapi.Rollouts
		if err := leader.Try("/v1/rollouts", &list); err != nil {
			return err
		}
		if list.Items[0].State != adminapi.Pending || list.Items[0].Votes.Yes < 3 {
			return fmt.Errorf("%+v", list.Items[0])
		}
		return nil
	})
	leader.Kill()
	near[1].Signal(syscall.SIGCONT)
	start := time.Now()
	l.Server = second
	l.MustMeshctl("rollout", "start", "--quorum", "1%") // waits until somebody leads
	t.Logf("a command was answered %s after the leader's death", time.Since(start).Round(100*time.Millisecond))
	lab.Until(t, 60*time.Second, "the other server ends it", func() error { return runAll(t, far, "7s") })
	t.Logf("after the leader's death the change was in force in %s", time.Since(start).Round(100*time.Millisecond))
	l.Server = second
	for _, r := range rollouts(t, l).Items {
		if r.State == adminapi.Pending {
			t.Errorf("still open: %+v", r)
		}
	}
	leader.Start()
	l.Server = leader
	leader.WaitReady(20 * time.Second)
	lab.Until(t, 30*time.Second, "all run it", func() error { return runAll(t, all, "7s") })
	clean(t, load.Finish())
}

// steerFrom gives the commands of a rollout to a server that does not lead, and
// leaves a timeout of 6s in force.
func steerFrom(t *testing.T, l *lab.Lab, follower *lab.Server, all []*lab.Sidecar) {
	t.Helper()
	leader := l.Server
	l.Server = follower
	defer func() { l.Server = leader }()
	took := time.Now()
	l.MustMeshctl("rollout", "undo", "-w")
	t.Logf("undone by way of the follower in %s", time.Since(took).Round(time.Millisecond))
	lab.Until(t, 10*time.Second, "all are back", func() error { return runAll(t, all, "5s") })
	l.MustMeshctl("rollout", "start", "--retry", "--mode", "hold", "--confirm-timeout", "10m")
	held := becomes(t, l, "the follower shows that it is held", func(r adminapi.Rollout) bool {
		return r.Phase == adminapi.PhaseHeld && r.Votes.Yes == len(all)
	})
	var votes adminapi.RolloutVotes
	if err := follower.Try("/v1/rollouts/"+held.ID+"/votes", &votes); err != nil || len(votes.Items) != len(all) {
		t.Errorf("the follower's votes: %+v, %v", votes, err)
	}
	if out := l.Meshctl("rollout", "confirm"); out.Code == 0 || !strings.Contains(out.Stderr, "there is nothing to confirm") {
		t.Errorf("confirmed while it is held: exit %d, %s", out.Code, out.Stderr)
	}
	took = time.Now()
	l.MustMeshctl("rollout", "commit", "--reason", "by way of the follower")
	t.Logf("committed by way of the follower in %s", time.Since(took).Round(time.Millisecond))
	lab.Until(t, 10*time.Second, "all run it", func() error { return runAll(t, all, "6s") })
	becomes(t, l, "it waits for its confirmation", func(r adminapi.Rollout) bool { return r.ID == held.ID && r.Phase == adminapi.PhaseConfirming })
	l.MustMeshctl("rollout", "confirm")
	becomes(t, l, "it is confirmed", func(r adminapi.Rollout) bool {
		return r.ID == held.ID && r.State == adminapi.Committed && r.Phase == ""
	})
}

// TestAServerKilledInARollout: at whatever moment, what the history says is what
// the Envoys run, and the change is in force in the end.
func TestAServerKilledInARollout(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 5s}"))
	s := l.StartServer("--policy-quiet", "1ms")
	client := l.Sidecars("client", 2)
	client[0].WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	load := client[0].Load(rate/3, http.MethodGet, "http://orders/")
	var slowest time.Duration
	for i := range 12 {
		timeout := fmt.Sprintf("%ds", 20+i)
		l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: "+timeout+"}"))
		<-time.After(time.Duration(i) * 4 * time.Millisecond) // the moment of the kill is what varies
		s.Kill()
		start := time.Now()
		s.Start()
		s.WaitReady(20 * time.Second)
		lab.Until(t, 20*time.Second, "it is in force", func() error { return runAll(t, client, timeout) })
		slowest = max(slowest, time.Since(start))
		lab.Until(t, 20*time.Second, "nothing is open", func() error {
			all := rollouts(t, l)
			for _, r := range all.Items {
				if r.State == adminapi.Pending || r.State == adminapi.Committed && r.To.Number == 0 {
					return fmt.Errorf("%+v", r)
				}
			}
			if newest := all.Items[0]; newest.To != all.InForce {
				return fmt.Errorf("%+v is in force, and the newest rollout went to %+v", all.InForce, newest.To)
			}
			return nil
		})
	}
	t.Logf("from the kill to all Envoys on the change: %s at most", slowest.Round(time.Millisecond))
	clean(t, load.Finish())
}

// TestConsulGoesInAVote: without the store nothing is decided and the traffic goes
// on; once it is back the change is in force, and nothing is left open.
func TestConsulGoesInAVote(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	consul := l.UseConsul(l.DataFolder()...)
	l.Service("orders", 1)
	l.StartServer("--policy-source", "consul", "--policy-dir", "", "--quorum", "0", "--rollout-timeout", "20s")
	inKV(t, consul, "orders", policyYAML("orders", "\n  timeouts: {request: 5s}"))
	becomes(t, l, "the first revision is there", func(r adminapi.Rollout) bool { return r.State == adminapi.Committed })
	client := l.Sidecars("client", 2)
	for _, s := range client {
		s.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	}
	load := client[0].Load(rate/3, http.MethodGet, "http://orders/")
	client[1].Signal(syscall.SIGSTOP)
	inKV(t, consul, "orders", policyYAML("orders", "\n  timeouts: {request: 6s}"))
	becomes(t, l, "the vote has begun", func(r adminapi.Rollout) bool { return r.State == adminapi.Pending && r.Votes.Yes == 1 })
	consul.Kill()
	client[1].Signal(syscall.SIGCONT)
	lab.Hold(t, 3*time.Second, "what was in force serves", func() error { return runAll(t, client[:1], "5s") })
	consul.Start()
	consul.WaitReady(60 * time.Second)
	start := time.Now()
	lab.Until(t, 90*time.Second, "the change is in force", func() error { return runAll(t, client, "6s") })
	t.Logf("in force %s after Consul was back", time.Since(start).Round(100*time.Millisecond))
	lab.Until(t, 10*time.Second, "nothing is open", func() error {
		for _, r := range rollouts(t, l).Items {
			if r.State == adminapi.Pending {
				return fmt.Errorf("%+v", r)
			}
		}
		return nil
	})
	clean(t, load.Finish())
}
