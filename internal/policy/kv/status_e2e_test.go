//go:build e2e

package kv_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"meshlite.dev/internal/catalog/consul/consultest"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/kv"
	"meshlite.dev/internal/policy/v1alpha1"
)

func statusOf(name string, generation int64) policy.Status {
	at := policy.Time{Time: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	conditions := []policy.Condition{{Type: policy.ConditionEnforced, Status: policy.True, Reason: "Enforced", Message: "2/2", ObservedGeneration: generation, LastTransitionTime: at}}
	return policy.Status{
		Key: policy.Key{Kind: policy.KindResiliencePolicy, Namespace: "default", Name: name},
		PolicyStatus: v1alpha1.PolicyStatus{Conditions: conditions, InForceGeneration: generation, Ancestors: []v1alpha1.AncestorStatus{
			{AncestorRef: v1alpha1.TargetRef{Kind: "Service", Name: name}, ControllerName: policy.ControllerName, Conditions: conditions},
		}},
	}
}

// Statuses are keys that are written, read back and removed, more of them than
// one transaction holds, and nothing else under the prefix is touched.
func TestStatuses(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	s, err := kv.NewStatusSink(kv.Config{Addr: agent.Addr})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"notes", "ResiliencePolicy/default/odd"} {
		if _, err := agent.API().KV().Put(&api.KVPair{Key: kv.DefaultStatusPrefix + key, Value: []byte("no JSON")}, nil); err != nil {
			t.Fatal(err)
		}
	}
	var all []policy.Status
	var keys []policy.Key
	for i := range 250 {
		all = append(all, statusOf(fmt.Sprintf("p%03d", i), int64(i+1)))
		keys = append(keys, all[i].Key)
	}
	if err := s.WriteStatus(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	pair, _, err := agent.API().KV().Get("mesh/status/ResiliencePolicy/default/p007", nil)
	want := `{"conditions":[{"type":"Enforced","status":"True","observedGeneration":8,"lastTransitionTime":"2026-11-25T12:00:00Z","reason":"Enforced","message":"2/2"}],"inForceGeneration":8,`
	if err != nil || pair == nil || !strings.HasPrefix(string(pair.Value), want) {
		t.Fatalf("the key holds %s, %v; want %s…", pair.Value, err, want)
	}
	got, err := s.ReadStatus(t.Context())
	if err != nil || len(got) != 250 {
		t.Fatalf("%d statuses, %v", len(got), err)
	}
	for i := range got {
		for _, c := range slices.Concat(got[i].Conditions, got[i].Ancestors[0].Conditions) {
			if !c.LastTransitionTime.Equal(&all[i].Conditions[0].LastTransitionTime) {
				t.Fatalf("%s changed at %s", got[i].Key, c.LastTransitionTime)
			}
		}
		got[i].Conditions, got[i].Ancestors = all[i].Conditions, all[i].Ancestors // but for the time zone
	}
	if !reflect.DeepEqual(got, all) {
		t.Errorf("read back %+v", got[0])
	}
	if err := s.RemoveStatus(t.Context(), append(keys, statusOf("never", 1).Key)); err != nil {
		t.Fatal(err)
	}
	left, _, err := agent.API().KV().Keys(kv.DefaultStatusPrefix, "", nil)
	if err != nil || len(left) != 2 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// A token without the right is told of by name, and what can be written is.
func TestStatusesWithoutTheRight(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{ACL: true})
	token := agent.NewToken(`key_prefix "mesh/status/" { policy = "read" }`)
	s, err := kv.NewStatusSink(kv.Config{Addr: agent.Addr, Token: token.Secret})
	if err != nil {
		t.Fatal(err)
	}
	err = s.WriteStatus(t.Context(), []policy.Status{statusOf("a", 1)})
	if err == nil || !strings.Contains(err.Error(), "ResiliencePolicy/default/a") {
		t.Errorf("WriteStatus = %v", err)
	}
	if got, err := s.ReadStatus(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("ReadStatus = %v, %v", got, err)
	}
}
