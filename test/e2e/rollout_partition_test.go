//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/test/lab"
)

// TestALeaderCutOffFromConsul: parted in the vote, or while a change is held, the
// leader decides nothing any more; the other replica leads on, and once the network
// is whole all Envoys run what the history says.
func TestALeaderCutOffFromConsul(t *testing.T) {
	t.Parallel()
	for _, phase := range []string{adminapi.PhaseVoting, adminapi.PhaseHeld} {
		t.Run(phase, func(t *testing.T) { t.Parallel(); cutOff(t, phase) })
	}
}

// parting is done by a lab.Relay or a lab.Namespace.
type parting interface {
	Cut()
	Mend()
}

// apart is a network between a server and its Consul that can be parted.
type apart struct {
	parting
	space  *lab.Namespace // nil: a relay between them
	consul string         // HOST:PORT of Consul for the server
}

// cuttable starts Consul behind such a network: a link of a network namespace where
// this process may make one, else a relay.
func cuttable(t *testing.T, l *lab.Lab) (*lab.Consul, apart) {
	t.Helper()
	space, err := l.Namespace()
	if err != nil {
		t.Logf("the network is parted by a relay that swallows all: %v", err)
		consul := l.UseConsul(l.DataFolder()...)
		relay := l.Relay(consul.Addr)
		return consul, apart{relay, nil, relay.Addr}
	}
	t.Log("the network is parted by a link of a network namespace")
	consul := l.UseConsul(append(l.DataFolder(), "-client=127.0.0.1 "+space.Host)...)
	_, port, err := net.SplitHostPort(consul.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return consul, apart{space, space, net.JoinHostPort(space.Host, port)}
}

// server starts one at the far end.
func (a apart) server(l *lab.Lab, flags ...string) *lab.Server {
	s := l.NewServer(append(flags, "--consul-addr", a.consul)...)
	if a.space != nil {
		s.Enter(a.space)
	}
	s.Start()
	s.WaitReady(20 * time.Second)
	return s
}

func cutOff(t *testing.T, phase string) {
	l := lab.New(t)
	consul, apart := cuttable(t, l)
	l.Service("orders", 1)
	flags := []string{"--policy-source", "consul", "--policy-dir", "", "--quorum", "0", "--rollout-timeout", "20s"}
	if phase == adminapi.PhaseHeld {
		flags = append(flags, "--rollout", "hold")
	}
	inKV(t, consul, "orders", policyYAML("orders", "\n  timeouts: {request: 5s}"))
	leader := apart.server(l, flags...)
	near := l.Sidecars("near", 2)
	second := l.StartServer(append(flags, "--state-dir", t.TempDir())...)
	far := l.Sidecars("far", 1)
	all := []*lab.Sidecar{near[0], near[1], far[0]}
	for _, s := range all {
		s.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	}
	lab.Until(t, 20*time.Second, "all run the first", func() error { return runAll(t, all, "5s") })
	load := far[0].Load(rate/3, http.MethodGet, "http://orders/")
	if phase == adminapi.PhaseVoting {
		near[1].Signal(syscall.SIGSTOP) // the vote takes its time
	}
	inKV(t, consul, "orders", policyYAML("orders", "\n  timeouts: {request: 6s}"))
	l.Server = leader
	becomes(t, l, "it is "+phase, func(r adminapi.Rollout) bool {
		return r.State == adminapi.Pending && r.Phase == phase && r.Votes.Yes >= 2
	})
	apart.Cut()
	near[1].Signal(syscall.SIGCONT)

	l.Server = second
	start := time.Now()
	if phase == adminapi.PhaseHeld {
		lab.Until(t, 60*time.Second, "the other replica leads and holds it", func() error {
			var list adminapi.Rollouts
			if err := second.Try("/v1/rollouts", &list); err != nil {
				return err
			}
			if newest := list.Items[0]; newest.State != adminapi.Pending || newest.Phase != adminapi.PhaseHeld {
				return fmt.Errorf("%+v", newest)
			}
			if out := l.Meshctl("rollout", "commit", list.Items[0].ID); out.Code != 0 {
				return fmt.Errorf("%s", out.Stderr)
			}
			return nil
		})
	}
	lab.Until(t, 60*time.Second, "the other replica puts it in force", func() error { return runAll(t, far, "6s") })
	t.Logf("%s: in force by the other replica %s after the cut", phase, time.Since(start).Round(100*time.Millisecond))
	apart.Mend()
	lab.Until(t, 60*time.Second, "all run it", func() error { return runAll(t, all, "6s") })
	lab.Until(t, 20*time.Second, "nothing is open", func() error {
		for _, r := range rollouts(t, l).Items {
			if r.State == adminapi.Pending {
				return fmt.Errorf("%+v", r)
			}
		}
		return nil
	})
	clean(t, load.Finish())
}

// TestEnvoysComeAndGoInRollouts: with some of ten restarting all the while, and one
// killed after its yes, changes go on and everybody ends on the last one.
func TestEnvoysComeAndGoInRollouts(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 5s}"))
	l.StartServer("--policy-quiet", "1ms", "--quorum", "20", "--rollout-timeout", "5s")
	all := l.Sidecars("client", 10)
	steady, restless := all[:4], all[4:]
	for _, s := range all {
		s.WaitStatus("http://orders/", http.StatusOK, 20*time.Second)
	}
	load := steady[0].Load(rate/3, http.MethodGet, "http://orders/")
	for i := range 5 {
		timeout := fmt.Sprintf("%ds", 20+i)
		restless[rand.IntN(len(restless))].Kill()
		l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: "+timeout+"}"))
		for _, s := range restless {
			if !s.Alive() {
				s.Start()
			}
		}
		took := lab.Until(t, 30*time.Second, "the steady ones run it", func() error { return runAll(t, steady, timeout) })
		t.Logf("change %d: on the steady ones after %s", i+1, took.Round(time.Millisecond))
	}
	becomes(t, l, "the last is committed", func(r adminapi.Rollout) bool { return r.State == adminapi.Committed && r.Phase == "" })

	if out := l.Meshctl("rollout", "start", "--mode", "hold"); out.Code != 0 {
		t.Fatalf("%s", out.Stderr)
	}
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 30s}"))
	held := becomes(t, l, "it is held after the vote", func(r adminapi.Rollout) bool { return r.Phase == adminapi.PhaseHeld })
	restless[0].Kill() // it said yes
	if out := l.Meshctl("rollout", "commit", held.ID); out.Code != 0 {
		t.Fatalf("%s", out.Stderr)
	}
	restless[0].Start()
	for _, s := range restless {
		s.WaitReady(20 * time.Second) // its admin page is there to be read
	}
	lab.Until(t, 30*time.Second, "all run the last", func() error { return runAll(t, all, "30s") })
	for _, r := range rollouts(t, l).Items {
		if r.State == adminapi.Pending || r.State == adminapi.Heuristic {
			t.Errorf("%+v", r)
		}
	}
	clean(t, load.Finish())
}
