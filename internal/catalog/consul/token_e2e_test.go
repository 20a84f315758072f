//go:build e2e

package consul_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/catalog/catalogtest"
	"meshlite.dev/internal/catalog/consul"
	"meshlite.dev/internal/catalog/consul/consultest"
	"meshlite.dev/internal/mesh"
)

func TestP3GuardKeepsAllWhenTheTokenIsWeakened(t *testing.T) {
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

func TestP3GuardKeepsAllWhenTheTokenIsRevoked(t *testing.T) {
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
	if got := r.Source.Accept(nil, true); len(got) > 0 { // a refusal says nothing that could be accepted
		t.Errorf("Accept named %q", got)
	}
	r.Always(time.Second, "nothing is lost", intact(r, want))
	neverLess(t, r, want)
}

// A Consul that forgot its tokens with all else: the list is refused, and no
// answer counts.
func TestP3GuardKeepsAllWhenTheTokenIsUnknown(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{ACL: true})
	_, want := twenty(agent)
	token := agent.NewToken(consultest.ReadRules)
	r := record(t, agent, consul.Config{Token: token.Secret})
	whole(r, within, want)
	agent.Kill()
	agent.Run()
	r.Until(within, "the alarm", noted(r, "refuses the token"))
	r.Always(3*time.Second, "nothing is lost", intact(r, want))
	neverLess(t, r, want)
	if s := r.Source.Status(); s.Connected || s.LastError == "" {
		t.Errorf("status is connected %v, %q", s.Connected, s.LastError)
	}
}

// With --services no name disappears from a list: the instances alone tell.
func TestP3GuardKeepsTheServicesInUseWhenTheTokenIsWeakened(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{ACL: true})
	names, want := twenty(agent)
	token := agent.NewToken(consultest.ReadRules)
	r := record(t, agent, consul.Config{Token: token.Secret, Services: names})
	whole(r, within, want)
	agent.SetRules(token, `service "s01" { policy = "read" } node_prefix "" { policy = "read" }`)
	r.Until(within, "the holds", held(r, names[1:], "filtered by ACLs"))
	r.Always(time.Second, "nothing is lost", intact(r, want))
	neverLess(t, r, want)
	if h := r.Held("s01"); h != nil {
		t.Errorf("hold on s01, which may be read: %+v", h)
	}
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

func TestP4LastKnownGoodStandsInForAnUnknownToken(t *testing.T) {
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
