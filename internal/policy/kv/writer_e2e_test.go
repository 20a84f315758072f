//go:build e2e

package kv_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"meshlite.dev/internal/catalog/consul/consultest"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/kv"
	"meshlite.dev/internal/policy/policytest"
)

func writer(t *testing.T, cfg kv.Config) *kv.Writer {
	t.Helper()
	w, err := kv.NewWriter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestManyDocumentsAreSeveralTransactions, small ones and large ones.
func TestManyDocumentsAreSeveralTransactions(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	w := writer(t, kv.Config{Addr: agent.Addr})
	var changes []policy.Change
	for i := range 250 {
		changes = append(changes, policytest.Put(t, fmt.Sprint("p", i), 1, policy.Absent))
	}
	for i := range 4 { // each alone fits, two together do not
		c := policytest.Put(t, fmt.Sprint("large", i), 1, policy.Absent)
		large := *c.Document
		large.Canonical = []byte(strings.Replace(string(large.Canonical), "{", `{"x":"`+strings.Repeat("x", 200<<10)+`",`, 1))
		c.Document = &large
		changes = append(changes, c)
	}
	if err := w.Write(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	all, err := w.Held(t.Context(), policy.KeysOf(changes))
	if err != nil || len(all) != len(changes) {
		t.Fatalf("%d of %d documents are there: %v", len(all), len(changes), err)
	}
	if _, err := agent.API().KV().Put(&api.KVPair{Key: prefix + "ResiliencePolicy/default/p120", Value: []byte("{}")}, nil); err != nil {
		t.Fatal(err)
	}
	for i := range changes[:250] {
		changes[i].Version = all[changes[i].Key].Version
	}
	err = w.Write(t.Context(), changes[:250])
	if err == nil || !strings.Contains(err.Error(), "100 of 250 documents are written") || !strings.Contains(err.Error(), "default/p120 is changed") {
		t.Errorf("Write = %v", err)
	}
}

// TestATokenWithoutTheRightIsToldOf with what it needs.
func TestATokenWithoutTheRightIsToldOf(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{ACL: true})
	c := policytest.Put(t, "orders", 1, "")
	for name, tc := range map[string]struct{ rules, read, write string }{
		"none": {"# none", "may not read", "denied"},
		"read": {`key_prefix "mesh/" { policy = "read" }`, "", "denied"},
	} {
		w := writer(t, kv.Config{Addr: agent.Addr, Token: agent.NewToken(tc.rules).Secret})
		_, err := w.Held(t.Context(), []policy.Key{c.Key})
		if (err == nil) != (tc.read == "") || err != nil && !strings.Contains(err.Error(), tc.read) {
			t.Errorf("%s: Held = %v", name, err)
		}
		if err := w.Write(t.Context(), []policy.Change{c}); err == nil || !strings.Contains(err.Error(), tc.write) {
			t.Errorf("%s: Write = %v", name, err)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	w := writer(t, kv.Config{Addr: agent.Addr, Token: agent.NewToken(`key_prefix "mesh/" { policy = "write" }`).Secret})
	if err := w.Write(t.Context(), []policy.Change{c}); err != nil {
		t.Errorf("with the right: %v", err)
	}
}
