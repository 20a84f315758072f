//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/app"
	"meshlite.dev/test/lab"
)

// standing is a status as it stands in Consul, with the index of its last write.
type standing struct {
	Conditions        []adminapi.Condition `json:"conditions"`
	InForceGeneration int64                `json:"inForceGeneration"`
	index             uint64
}

func statusIn(consul *lab.Consul, key string) (out standing, err error) {
	var pairs []struct {
		Key         string
		Value       []byte
		ModifyIndex uint64
	}
	if err := json.Unmarshal(consul.Must(http.MethodGet, "/v1/kv/mesh/?recurse", nil), &pairs); err != nil {
		return out, err
	}
	for _, p := range pairs {
		if p.Key == "mesh/status/ResiliencePolicy/"+key {
			out.index = p.ModifyIndex
			return out, json.Unmarshal(p.Value, &out)
		}
	}
	return out, fmt.Errorf("no status of %s among %d keys", key, len(pairs))
}

// says waits until the status of a document in Consul has "TYPE STATUS REASON"
// and a message with the words.
func says(t *testing.T, consul *lab.Consul, key, condition, words string) (last standing) {
	t.Helper()
	lab.Until(t, 20*time.Second, key+" is "+condition, func() (err error) {
		if last, err = statusIn(consul, key); err != nil {
			return err
		}
		for _, c := range last.Conditions {
			if c.Type+" "+c.Status+" "+c.Reason == condition && strings.Contains(c.Message, words) {
				return nil
			}
		}
		return fmt.Errorf("%+v", last.Conditions)
	})
	return last
}

// TestStatusInConsul: what becomes of documents in Consul stands beside them,
// with the count of real Envoys; a restart writes nothing of it again, and it
// goes with its document.
func TestStatusInConsul(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	consul := l.UseConsul(l.DataFolder()...)
	l.Service("orders", 1)
	l.ServiceWith("stock", 1, map[string]string{"namespace": "shop"})
	l.StartServer("--policy-source", "consul", "--policy-dir", "")
	client := l.Sidecar("client")
	client.WaitStatus("http://orders/", http.StatusOK, 15*time.Second)

	inKV(t, consul, "orders", policyYAML("orders", "\n  timeouts: {request: 6s}"))
	s := says(t, consul, "default/orders", "Enforced True Enforced", "1/1 proxies acknowledged revision")
	if s.InForceGeneration != 1 {
		t.Errorf("in force is generation %d", s.InForceGeneration)
	}
	inKV(t, consul, "other", strings.Replace(policyYAML("orders", "\n  timeouts: {request: 8s}"), "{name: orders}\nspec", "{name: other}\nspec", 1))
	says(t, consul, "default/other", "Accepted False Conflicted", "default/orders")
	inKV(t, consul, "nowhere", policyYAML("nowhere", "\n  timeouts: {request: 8s}"))
	says(t, consul, "default/nowhere", "Accepted False TargetNotFound", "nowhere")
	consul.Must(http.MethodPut, "/v1/kv/mesh/policies/ResiliencePolicy/other/orders", []byte(`{"apiVersion":"meshlite.dev/v1alpha1","kind":"ResiliencePolicy","metadata":{"name":"orders","namespace":"other"},"spec":{"targetRefs":[{"kind":"Service","name":"stock"}],"limits":{"requests":9}}}`))
	says(t, consul, "other/orders", "Accepted False NotPermitted", "other")

	before := says(t, consul, "default/orders", "Enforced True Enforced", "1/1")
	l.Server.Kill()
	l.Server.Start()
	l.Server.WaitReady(30 * time.Second)
	lab.Until(t, 40*time.Second, "the Envoy is back and the restarted server writes", func() error {
		var made struct {
			Writes    bool
			Connected int
		}
		if err := l.Server.Try("/debug/status", &made); err != nil {
			return err
		}
		if !made.Writes || made.Connected != 1 {
			return fmt.Errorf("%+v", made)
		}
		return nil
	})
	lab.Hold(t, 3*time.Second, "nothing is written again", func() error {
		now, err := statusIn(consul, "default/orders")
		if err == nil && now.index != before.index {
			err = fmt.Errorf("written at %d, then at %d: %+v", before.index, now.index, now)
		}
		return err
	})
	consul.Must(http.MethodDelete, "/v1/kv/mesh/policies/ResiliencePolicy/default/nowhere", nil)
	lab.Until(t, 15*time.Second, "a status goes with its document", func() error {
		if _, err := statusIn(consul, "default/nowhere"); err == nil {
			return fmt.Errorf("it stands")
		}
		return nil
	})
}

// TestStatusOfARefusal: what an Envoy refuses is told with its words, and as
// over when it is cured.
func TestStatusOfARefusal(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	inProcess(t, l, direct, app.WithMutate(poison))
	client := l.Sidecar("client")
	client.WaitStatus("http://orders/", http.StatusOK, 15*time.Second)
	told := func(condition, words string) {
		t.Helper()
		lab.Until(t, 20*time.Second, "it is "+condition, func() error {
			var p adminapi.Policy
			if err := l.Server.Try("/v1/policies/rp/default/orders", &p); err != nil {
				return err
			}
			for _, c := range p.Conditions {
				if c.Type+" "+c.Status+" "+c.Reason == condition && strings.Contains(c.Message, words) {
					return nil
				}
			}
			return fmt.Errorf("%+v", p.Conditions)
		})
	}
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 7s}"))
	told("Enforced False RejectedByProxies", "missing )")
	told("Programmed False RejectedByProxies", client.ID)
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 6s}"))
	told("Enforced True Enforced", "1/1 proxies")
}
