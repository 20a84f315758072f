//go:build e2e

package consul_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/catalog/consul"
	"meshlite.dev/internal/catalog/consul/consultest"
)

func TestP3GuardHoldsWhatARestoredSnapshotLost(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{Data: true})
	agent.Apply([]consultest.Instance{{Service: "old", ID: "old-1", Address: "10.2.0.1", Port: 80}})
	snapshot := agent.Snapshot()
	names, want := twenty(agent)
	want["old"] = "10.2.0.1:80=HEALTHY"
	r := record(t, agent, consul.Config{})
	whole(r, within, want)

	agent.Restore(snapshot)
	r.Until(within, "the holds", held(r, names, "index went backwards"))
	r.Until(within, "the alarm", noted(r, "index went backwards"))
	r.Always(2*time.Second, "nothing is lost", intact(r, want))

	// One service after the restore: what is new goes through beside the holds,
	// and a loss that came later is believed.
	agent.Apply([]consultest.Instance{{Service: "old", ID: "old-2", Address: "10.2.0.2", Port: 80}})
	r.UntilAddresses(within, "old", "10.2.0.1:80=HEALTHY 10.2.0.2:80=HEALTHY")
	agent.Apply(nil, "old-1")
	r.UntilAddresses(within, "old", "10.2.0.2:80=HEALTHY")
	delete(want, "old")
	neverLess(t, r, want)

	if got := r.Source.Accept(nil, true); !slices.Equal(got, names) {
		t.Errorf("Accept named %q", got)
	}
	for _, name := range names {
		r.UntilAddresses(within, name, "")
	}
}

func TestP3GuardHoldsWhatAnEmptyConsulLost(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	names, want := twenty(agent)
	r := record(t, agent, consul.Config{})
	whole(r, within, want)

	agent.Kill()
	r.Until(within, "the fault shows", func() error {
		if s := r.Source.Status(); s.Connected {
			return fmt.Errorf("status is %+v", s)
		}
		return nil
	})
	agent.Run()
	r.Until(20*time.Second, "the holds", held(r, names, ""))
	r.Always(2*time.Second, "nothing is lost", intact(r, want))
	neverLess(t, r, want)

	twenty(agent) // everything registers again
	r.Until(within, "the holds end", func() error {
		if h := r.Source.Status().Holds; len(h) > 0 {
			return fmt.Errorf("holds are %+v", h)
		}
		return nil
	})
	neverLess(t, r, want)
}

// A Consul rebuilt empty, whose index has caught up by the time anybody asks:
// one service alone, so that nothing but the trust domain tells.
func TestP3GuardKnowsARebuiltConsulByItsTrustDomain(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	agent.Apply([]consultest.Instance{{Service: "orders", ID: "o1", Address: "10.3.0.1", Port: 80}})
	r := record(t, agent, consul.Config{})
	r.UntilAddresses(within, "orders", "10.3.0.1:80=HEALTHY")
	agent.Kill()
	agent.Run()
	var many []consultest.Instance
	for i := range 40 { // its index passes that of the old one
		many = append(many[:0], consultest.Instance{Service: "other", ID: fmt.Sprint("x", i), Address: "10.3.1.1", Port: 1000 + i})
		agent.Apply(many)
	}
	r.Until(20*time.Second, "the hold", func() error {
		if h := r.Held("orders"); h == nil || h.Expires.IsZero() {
			return fmt.Errorf("hold is %+v", h)
		}
		return nil
	})
	r.Until(within, "the new service", func() error {
		if len(strings.Fields(r.Addresses("other"))) != 40 {
			return errors.New(r.Addresses("other"))
		}
		return nil
	})
	if got := r.Addresses("orders"); got != "10.3.0.1:80=HEALTHY" {
		t.Errorf("orders is [%s]", got)
	}
}

// Twenty services that answer [] with every right: one write took all.
func TestP3GuardHoldsTwentyServicesThatAnswerNothing(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	names, want := twenty(agent)
	r := record(t, agent, consul.Config{})
	whole(r, within, want)
	agent.DeregisterNode("shelf")
	r.Until(within, "the holds", held(r, names, "mass loss"))
	r.Always(2*time.Second, "nothing is lost", intact(r, want))
	neverLess(t, r, want)

	if got := r.Source.Accept(names[:2], false); !slices.Equal(got, names[:2]) {
		t.Errorf("Accept named %q", got)
	}
	r.UntilAddresses(within, "s01", "")
	r.UntilAddresses(within, "s02", "")
	delete(want, "s01")
	delete(want, "s02")
	r.Always(time.Second, "the others stay", intact(r, want))
	if got := r.Source.Accept(nil, true); !slices.Equal(got, names[2:]) {
		t.Errorf("Accept of all named %q", got)
	}
	r.Until(within, "all is accepted", func() error {
		for _, name := range names[2:] {
			if s := r.Service(name); s != nil && len(s.Endpoints) > 0 {
				return fmt.Errorf("%s is [%s]", name, r.Addresses(name))
			}
		}
		return nil
	})
}

func TestP3GuardHoldsALostNode(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	var names []string
	for s := range 12 { // one of two instances on each node: half of all endpoints at once
		name := fmt.Sprintf("s%02d", s+1)
		names = append(names, name)
		for n := range 2 {
			agent.Register(consultest.Instance{Service: name, ID: fmt.Sprint(name, "-", n), Address: fmt.Sprintf("10.4.%d.%d", s+1, n+1), Port: 80, Node: fmt.Sprint("node", n)})
		}
	}
	r := record(t, agent, consul.Config{})
	both := func() error {
		for _, name := range names {
			if got := len(strings.Fields(r.Addresses(name))); got != 2 {
				return fmt.Errorf("%s has %d endpoints", name, got)
			}
		}
		return nil
	}
	r.Until(within, "the whole catalog", both)
	agent.DeregisterNode("node1")
	r.Until(within, "the holds", func() error {
		for _, name := range names {
			if h := r.Held(name); h == nil || h.Reason != "mass loss" {
				return fmt.Errorf("hold on %s is %+v", name, h)
			}
		}
		return nil
	})
	if err := both(); err != nil {
		t.Error(err)
	}
}
