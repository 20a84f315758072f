//go:build e2e

package kv_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"go.uber.org/goleak"

	"meshlite.dev/internal/catalog/consul/consultest"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/gather"
	"meshlite.dev/internal/policy/kv"
)

const prefix = kv.DefaultPrefix

func document(name string, attempts any) string {
	return fmt.Sprintf(`{"apiVersion":"meshlite.dev/v1alpha1","kind":"ResiliencePolicy","metadata":{"name":%q},"spec":{"targetRefs":[{"kind":"Service","name":%q}],"retry":{"attempts":%v}}}`, name, name, attempts)
}

type carrier struct {
	*testing.T
	agent     *consultest.Agent
	proposals chan policy.Proposal
}

// follow runs a source on a real Consul.
func follow(t *testing.T, agent *consultest.Agent, token string) *carrier {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	s, err := kv.New(kv.Config{Addr: agent.Addr, Token: token, Timing: gather.Timing{Quiet: 50 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	c := &carrier{t, agent, make(chan policy.Proposal, 16)}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, func(p policy.Proposal) { c.proposals <- p }) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		agent.Kill()
		goleak.VerifyNone(t, leaks)
	})
	return c
}

func (c *carrier) put(key, value string) {
	c.Helper()
	if _, err := c.agent.API().KV().Put(&api.KVPair{Key: prefix + key, Value: []byte(value)}, nil); err != nil {
		c.Fatal(err)
	}
}

func (c *carrier) next() policy.Proposal {
	c.Helper()
	select {
	case p := <-c.proposals:
		return p
	case <-time.After(15 * time.Second):
		c.Fatal("nothing was proposed")
		return policy.Proposal{}
	}
}

func (c *carrier) silent(d time.Duration) {
	c.Helper()
	select {
	case p := <-c.proposals:
		c.Fatalf("proposed %s", summary(p))
	case <-time.After(d):
	}
}

func summary(p policy.Proposal) string {
	var out []string
	for _, d := range p.Documents {
		out = append(out, fmt.Sprintf("%s=%d", d.Name, *d.Resilience.Retry.Attempts))
	}
	for _, r := range p.Refused {
		out = append(out, fmt.Sprintf("!%s: %s", r.Key, r.Faults[0].Error()))
	}
	return strings.Join(out, " ")
}

func TestKeysAreDocuments(t *testing.T) {
	c := follow(t, consultest.Start(t, consultest.Options{}), "")
	if p := c.next(); summary(p) != "" {
		t.Fatalf("an empty prefix is an answer: %s", summary(p))
	}
	c.put("ResiliencePolicy/default/orders", document("orders", 3))
	if got := summary(c.next()); got != "orders=3" {
		t.Fatalf("proposed %s", got)
	}
	c.put("", "") // a folder of Consul's UI
	for key, want := range map[string]struct{ value, reason string }{
		"ResiliencePolicy/default/text":   {"kind: ResiliencePolicy", "!ResiliencePolicy/default/text: kv:mesh/policies/ResiliencePolicy/default/text: ResiliencePolicy/default/text: the value must be JSON"},
		"ResiliencePolicy/default/other":  {document("orders", 1), "must be what the key says, ResiliencePolicy/default/other"},
		"ResiliencePolicy/default/wrong":  {document("wrong", `"many"`), `spec.retry.attempts: "many": must be of type integer`},
		"ResiliencePolicy/default/binary": {"\xff\xfe", "the value must be JSON"},
		"notes":                           {"{}", "the key must be mesh/policies/KIND/NAMESPACE/NAME"},
	} {
		c.put(key, want.value)
		got := summary(c.next())
		if !strings.Contains(got, want.reason) || !strings.HasPrefix(got, "orders=3 ") {
			t.Errorf("%s: proposed %s, want %s", key, got, want.reason)
		}
		if _, err := c.agent.API().KV().Delete(prefix+key, nil); err != nil {
			t.Fatal(err)
		}
		if got := summary(c.next()); got != "orders=3" {
			t.Errorf("%s is gone: proposed %s", key, got)
		}
	}
}

// Twenty writes in a row are one change set.
func TestEditsAreGathered(t *testing.T) {
	c := follow(t, consultest.Start(t, consultest.Options{}), "")
	c.next()
	for i := range 20 {
		c.put(fmt.Sprintf("ResiliencePolicy/default/s%d", i), document(fmt.Sprint("s", i), 1))
	}
	for seen := 0; seen < 20; {
		p := c.next()
		if len(p.Documents) != 20 {
			t.Logf("a change set of %d", len(p.Documents))
		}
		seen = len(p.Documents)
	}
	c.silent(200 * time.Millisecond)
}

// A token that lost its rights reads an empty folder, and no policy goes; with
// its rights back a true deletion does.
func TestALostRightTakesNoPolicyAway(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{ACL: true})
	token := agent.NewToken(`key_prefix "mesh/" { policy = "write" }`)
	c := follow(t, agent, token.Secret)
	c.next()
	for _, n := range []string{"a", "b", "c"} {
		c.put("ResiliencePolicy/default/"+n, document(n, 1))
	}
	for len(c.next().Documents) != 3 {
	}
	agent.SetRules(token, "# none")
	c.silent(3 * time.Second)
	agent.SetRules(token, `key_prefix "mesh/" { policy = "read" }`)
	if _, err := agent.API().KV().DeleteTree(prefix, nil); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(40 * time.Second)
	for {
		select {
		case p := <-c.proposals:
			if len(p.Documents) == 0 {
				return
			}
		case <-time.After(time.Until(deadline)):
			t.Fatal("a true deletion is not believed")
		}
	}
}

func TestAWrongTokenFailsTheStart(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{ACL: true})
	s, err := kv.New(kv.Config{Addr: agent.Addr, Token: "99999999-2222-3333-4444-555555555555"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), func(p policy.Proposal) { t.Errorf("proposed %s", summary(p)) }); !errors.Is(err, kv.ErrToken) {
		t.Errorf("Run = %v", err)
	}
}

// An outage of Consul takes nothing away, and what changed is seen after it.
func TestAnOutageTakesNothingAway(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	c := follow(t, agent, "")
	c.next()
	c.put("ResiliencePolicy/default/orders", document("orders", 3))
	c.next()
	agent.Kill()
	c.silent(2 * time.Second)
	agent.Run()
	c.put("ResiliencePolicy/default/orders", document("orders", 4))
	for summary(c.next()) != "orders=4" {
	}
}
