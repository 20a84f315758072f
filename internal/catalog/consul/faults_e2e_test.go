//go:build e2e

package consul_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/catalog/catalogtest"
	"meshlite.dev/internal/catalog/consul"
	"meshlite.dev/internal/catalog/consul/consultest"
	"meshlite.dev/internal/mesh"
)

const within = 5 * time.Second // what an alarm may take

// twenty registers 20 services of three instances.
func twenty(agent *consultest.Agent) (names []string, want map[string]string) {
	var all []consultest.Instance
	want = map[string]string{}
	for s := range 20 {
		name := fmt.Sprintf("s%02d", s+1)
		var addresses []string
		for i := range 3 {
			all = append(all, consultest.Instance{Service: name, ID: fmt.Sprint(name, "-", i+1), Address: fmt.Sprintf("10.1.%d.%d", s+1, i+1), Port: 80})
			addresses = append(addresses, fmt.Sprintf("10.1.%d.%d:80=HEALTHY", s+1, i+1))
		}
		names = append(names, name)
		want[name] = strings.Join(addresses, " ")
	}
	agent.Apply(all)
	return names, want
}

func record(t *testing.T, agent *consultest.Agent, cfg consul.Config) *catalogtest.Recorder {
	t.Helper()
	leaks := goleak.IgnoreCurrent() // the agent's own
	t.Cleanup(func() {
		agent.Kill()
		goleak.VerifyNone(t, leaks)
	})
	cfg.Addr, cfg.Log = agent.Addr, slog.New(slog.NewTextHandler(t.Output(), nil))
	r := catalogtest.Record(t, newSource(t, cfg))
	return r
}

// whole waits until the services have their endpoints.
func whole(r *catalogtest.Recorder, limit time.Duration, want map[string]string) {
	r.Until(limit, "the whole catalog", intact(r, want))
}

func intact(r *catalogtest.Recorder, want map[string]string) func() error {
	return func() error {
		for name, addresses := range want {
			if got := r.Addresses(name); got != addresses {
				return fmt.Errorf("%s is [%s], want [%s]", name, got, addresses)
			}
		}
		return nil
	}
}

// neverLess fails when any snapshot lacked what the services had.
func neverLess(t *testing.T, r *catalogtest.Recorder, want map[string]string) {
	t.Helper()
	for i, snap := range r.All() {
		for name, addresses := range want {
			s, _ := snap.Services.Get(name)
			for a := range strings.FieldsSeq(addresses) {
				if !slices.Contains(strings.Fields(catalogtest.Addresses(s)), a) {
					t.Errorf("snapshot %d has %s as [%s], without %s", i, name, catalogtest.Addresses(s), a)
					return
				}
			}
		}
	}
}

func held(r *catalogtest.Recorder, names []string, reason string) func() error {
	return func() error {
		for _, name := range names {
			if h := r.Held(name); h == nil || !strings.Contains(h.Reason, reason) || len(h.Lost) != 3 {
				return fmt.Errorf("hold on %s is %+v", name, h)
			}
		}
		return nil
	}
}

func noted(r *catalogtest.Recorder, words string) func() error {
	return func() error {
		if !slices.ContainsFunc(r.Source.Status().Notes, func(f mesh.Finding) bool { return strings.Contains(f.Message, words) && f.Hint != "" }) {
			return fmt.Errorf("notes are %+v", r.Source.Status().Notes)
		}
		return nil
	}
}

func TestAWeakenedTokenTakesNothingAway(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{ACL: true})
	names, want := twenty(agent)
	token := agent.NewToken(consultest.ReadRules)
	r := record(t, agent, consul.Config{Token: token.Secret})
	whole(r, within, want)

	agent.SetRules(token, "# none")
	r.Until(within, "the alarm", noted(r, "hides services"))
	r.Until(within, "the holds", held(r, names, "filtered by ACLs"))
	neverLess(t, r, want)

	if got := r.Source.Accept(names[:1], false); !slices.Equal(got, names[:1]) {
		t.Errorf("Accept named %q", got)
	}
	r.UntilAddresses(within, names[0], "")
	delete(want, names[0])

	agent.SetRules(token, consultest.ReadRules)
	r.Until(20*time.Second, "the holds end", func() error {
		if h := r.Source.Status().Holds; len(h) > 0 {
			return fmt.Errorf("holds are %+v", h)
		}
		return nil
	})
	whole(r, within, want)
	r.Until(20*time.Second, "what was accepted comes back", func() error {
		if got := r.Addresses(names[0]); len(strings.Fields(got)) != 3 {
			return fmt.Errorf("%s is [%s]", names[0], got)
		}
		return nil
	})
}

func TestARevokedTokenTakesNothingAway(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{ACL: true})
	_, want := twenty(agent)
	token := agent.NewToken(consultest.ReadRules)
	r := record(t, agent, consul.Config{Token: token.Secret})
	whole(r, within, want)

	agent.Revoke(token)
	r.Until(within, "the alarm", noted(r, "refuses the token"))
	if s := r.Source.Status(); s.Connected || !strings.Contains(s.LastError, "ACL not found") {
		t.Errorf("connected %v, last error %q", s.Connected, s.LastError)
	}
	agent.Apply(nil, "s01-1", "s02-1", "s03-1", "s04-1") // an answer to each watch
	r.Always(3*time.Second, "nothing is lost", intact(r, want))
	neverLess(t, r, want)
}

func TestAWrongTokenFailsTheStart(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{ACL: true})
	for name, tc := range map[string]struct{ token, words string }{
		"a token that nobody knows":    {"9a0c3a70-0000-4000-8000-000000000009", "ACL not found"},
		"no token where all is denied": {"", "no token is set"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("CONSUL_HTTP_TOKEN", "")
			r := catalogtest.Record(t, newSource(t, consul.Config{Addr: agent.Addr, Token: tc.token}))
			err := r.Wait(within)
			if !errors.Is(err, consul.ErrToken) || !strings.Contains(err.Error(), tc.words) || !strings.Contains(err.Error(), "CONSUL_HTTP_TOKEN") {
				t.Errorf("Run returned %v", err)
			}
			if r.Count() > 0 {
				t.Errorf("published %+v", r.Latest())
			}
		})
	}
}

func TestAnUnknownTokenServesLastKnownGood(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{ACL: true})
	good := catalog.LastGood{At: time.Now().Add(-time.Minute), Services: []*catalog.Service{{
		Name: "orders", Protocol: mesh.HTTP1, Synced: true, Endpoints: []mesh.Endpoint{{ID: "o", Address: "10.0.0.1", Port: 80, Weight: 1}},
	}}}
	r := record(t, agent, consul.Config{Token: "9a0c3a70-0000-4000-8000-000000000009", LastGood: good, FirstAnswer: time.Second})
	r.UntilAddresses(within, "orders", "10.0.0.1:80=HEALTHY")
	if s := r.Source.Status(); !s.Stale {
		t.Errorf("status is %+v, want stale", s)
	}
	r.Until(within, "the alarm", noted(r, "refuses the token"))
}

func TestARestoredSnapshotTakesNothingAway(t *testing.T) {
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

func TestAConsulThatComesBackEmptyTakesNothingAway(t *testing.T) {
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
func TestARebuiltConsulIsKnownByItsTrustDomain(t *testing.T) {
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

func TestAnOutageTakesNothingAway(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{Data: true})
	_, want := twenty(agent)
	r := record(t, agent, consul.Config{})
	whole(r, within, want)
	agent.Kill()
	r.Always(3*time.Second, "nothing is lost", intact(r, want))
	agent.Run()
	agent.Apply([]consultest.Instance{{Service: "s01", ID: "s01-4", Address: "10.1.1.4", Port: 80}})
	r.UntilAddresses(20*time.Second, "s01", want["s01"]+" 10.1.1.4:80=HEALTHY")
	neverLess(t, r, want)
	if h := r.Source.Status().Holds; len(h) > 0 {
		t.Errorf("holds are %+v", h)
	}
}

func TestAStartWithoutConsulServesLastKnownGood(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{Data: true})
	_, want := twenty(agent)
	first := catalogtest.Record(t, newSource(t, consul.Config{Addr: agent.Addr}))
	whole(first, within, want)
	raw, err := catalog.Encode(catalog.Keep(first.Latest(), time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	good, err := catalog.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	agent.Kill()
	r := record(t, agent, consul.Config{LastGood: good, FirstAnswer: time.Second})
	whole(r, within, want)
	if s := r.Source.Status(); !s.Stale || s.Connected {
		t.Errorf("status is %+v, want stale", s)
	}
	agent.Run()
	r.Until(20*time.Second, "Consul answers", func() error {
		if s := r.Source.Status(); s.Stale || !s.Connected {
			return fmt.Errorf("status is %+v", s)
		}
		return nil
	})
	agent.Apply(nil, "s01-1")
	r.UntilAddresses(within, "s01", "10.1.1.2:80=HEALTHY 10.1.1.3:80=HEALTHY")
	delete(want, "s01")
	neverLess(t, r, want)
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
