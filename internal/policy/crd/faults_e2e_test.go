//go:build e2e

package crd_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/crd"
	"meshlite.dev/internal/policy/gather"
	"meshlite.dev/internal/policy/v1alpha1"
	"meshlite.dev/test/lab"
)

func document(kind, name, spec string) string {
	return fmt.Sprintf("apiVersion: meshlite.dev/v1alpha1\nkind: %s\nmetadata: {name: %s}\nspec: %s\n", kind, name, spec)
}

func rp(name string, attempts int) string {
	return document("ResiliencePolicy", name, fmt.Sprintf("{targetRefs: [{kind: Service, name: %s}], retry: {attempts: %d}}", name, attempts))
}

func tr(name string) string {
	return document("TrafficRoute", name, fmt.Sprintf("{service: %s, rules: [{name: all, backends: [{service: %s}]}]}", name, name))
}

// follow runs a source; each proposal is told as its keys, "!" before a refused
// one.
func follow(t *testing.T, s *crd.Source) <-chan policy.Proposal {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	proposals, ended := make(chan policy.Proposal, 64), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func(p policy.Proposal) { proposals <- p }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return proposals
}

func told(p policy.Proposal) string {
	var out []string
	for _, r := range p.Refused {
		out = append(out, "!"+r.Name)
	}
	for _, d := range p.Documents {
		out = append(out, d.Namespace+"/"+d.Name)
	}
	return strings.Join(out, " ")
}

func expect(t *testing.T, proposals <-chan policy.Proposal, want string) policy.Proposal {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		select {
		case p := <-proposals:
			if told(p) == want {
				return p
			}
			t.Logf("proposed %s", told(p))
		case <-late:
			t.Fatalf("not proposed: %s", want)
		}
	}
}

func silent(t *testing.T, proposals <-chan policy.Proposal, d time.Duration) {
	t.Helper()
	select {
	case p := <-proposals:
		t.Fatalf("proposed %s", told(p))
	case <-time.After(d):
	}
}

var quick = gather.Timing{Quiet: 100 * time.Millisecond, Confirm: time.Second}

// TestADeletedDefinitionIsAnOutage: with the definition Kubernetes deletes every
// object of the kind, which none of their authors wished. What was in force
// stays, other kinds go on, and the kind is read again when it is back.
func TestADeletedDefinitionIsAnOutage(t *testing.T) {
	w := start(t)
	w.put(t, rp("a", 1), rp("b", 1), tr("a"))
	s := w.source(t, quick, nil)
	proposals := follow(t, s)
	all := "default/a default/b default/a"
	expect(t, proposals, all)

	w.MustKubectl("delete", "crd", "trafficroutes.meshlite.dev")
	silent(t, proposals, 3*time.Second)
	if p := s.Problem(); !strings.Contains(p, "TrafficRoute") || !strings.Contains(p, "manifests/crds") {
		t.Errorf("the problem is %q", p)
	}
	w.put(t, rp("c", 1))
	expect(t, proposals, "default/a default/b default/c default/a")
	w.MustKubectl("delete", "crd", "resiliencepolicies.meshlite.dev")
	silent(t, proposals, 3*time.Second)

	w.InstallCRDs()
	w.put(t, rp("a", 2), rp("b", 1), rp("c", 1), tr("a"))
	p := expect(t, proposals, "default/a default/b default/c default/a")
	for *p.Documents[0].Resilience.Retry.Attempts != 2 {
		p = expect(t, proposals, "default/a default/b default/c default/a")
	}
	over := func() error {
		if p := s.Problem(); p != "" {
			return errors.New(p)
		}
		return nil
	}
	lab.Until(t, 30*time.Second, "the problem is over", over)

	// A kind that is back without its objects has none, and no event tells of it.
	w.MustKubectl("delete", "crd", "trafficroutes.meshlite.dev")
	lab.Until(t, 30*time.Second, "the outage is told", func() error {
		if over() == nil {
			return errors.New("not yet")
		}
		return nil
	})
	silent(t, proposals, time.Second)
	w.InstallCRDs()
	expect(t, proposals, "default/a default/b default/c")
	lab.Until(t, 30*time.Second, "the problem is over once more", over)
}

// TestAFieldOfANewerVersionIsRefused where the API server's definitions are
// newer than this program: the field is not dropped without a word.
func TestAFieldOfANewerVersionIsRefused(t *testing.T) {
	w := start(t)
	w.put(t, rp("a", 1), rp("b", 1))
	proposals := follow(t, w.source(t, quick, nil))
	expect(t, proposals, "default/a default/b")
	w.MustKubectl("patch", "crd", "resiliencepolicies.meshlite.dev", "--type=json",
		`-p=[{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/retry/properties/patience","value":{"type":"integer"}}]`)
	newer := strings.Replace(rp("a", 2), "attempts: 2", "attempts: 2, patience: 7", 1)
	lab.Until(t, 30*time.Second, "the API server knows the field", func() error {
		w.put(t, newer)
		if got := w.MustKubectl("get", "rp", "a", "-o", "jsonpath={.spec.retry.patience}"); got != "7" {
			return fmt.Errorf("patience is %q", got)
		}
		return nil
	})
	p := expect(t, proposals, "!a default/b")
	fault := p.Refused[0].Faults[0]
	if fault.Path != "spec.retry.patience" || !strings.Contains(fault.Reason, "CRDs are newer than this xds-server") {
		t.Errorf("the fault is %s", fault.Error())
	}
	w.put(t, rp("b", 3))
	expect(t, proposals, "!a default/b")
}

// TestCredentialsThatAreRefusedFailTheStart with what Kubernetes says.
func TestCredentialsThatAreRefusedFailTheStart(t *testing.T) {
	w := start(t)
	w.Apply("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: nobody, namespace: default}\n")
	wrong := w.connect(w.Kubeconfig())
	wrong.BearerToken, wrong.BearerTokenFile = "wrong", ""
	for what, cfg := range map[string]crd.Config{
		"a wrong token":               {REST: wrong},
		"a ServiceAccount's no right": {REST: w.connect(w.KubeconfigFor("default/nobody"))},
	} {
		s, err := crd.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		err = s.Run(t.Context(), func(p policy.Proposal) { t.Errorf("%s: proposed %s", what, told(p)) })
		if !errors.Is(err, crd.ErrCredentials) {
			t.Errorf("%s: Run = %v", what, err)
		}
	}
}

// TestStatusesAreApplied, read back by kubectl, and wake no carrier.
func TestStatusesAreApplied(t *testing.T) {
	w := start(t)
	w.put(t, rp("a", 1), tr("a"))
	proposals := follow(t, w.source(t, quick, nil))
	expect(t, proposals, "default/a default/a")
	sink, err := crd.NewStatusSink(w.rest)
	if err != nil {
		t.Fatal(err)
	}
	status := func(kind, name string, enforced metav1.ConditionStatus) policy.Status {
		out := policy.Status{Key: policy.Key{Kind: kind, Namespace: "default", Name: name}}
		for _, condition := range []string{policy.ConditionAccepted, policy.ConditionEnforced} {
			c := metav1.Condition{Type: condition, Status: metav1.ConditionTrue, Reason: condition, ObservedGeneration: 1, LastTransitionTime: metav1.Now()}
			if condition == policy.ConditionEnforced {
				c.Status, c.Message = enforced, "1/2 proxies acknowledged revision 1"
			}
			out.Conditions = append(out.Conditions, c)
		}
		out.InForceGeneration = 1
		return out
	}
	write := func(statuses ...policy.Status) {
		t.Helper()
		if err := sink.WriteStatus(t.Context(), statuses); err != nil {
			t.Fatal(err)
		}
	}
	write(status("ResiliencePolicy", "a", "False"), status("TrafficRoute", "a", "True"), status("TrafficRoute", "gone", "True"))
	write(status("ResiliencePolicy", "a", "True"))
	write(status("ResiliencePolicy", "a", "True"))
	w.MustKubectl("wait", "--for=condition=Enforced", "--timeout=5s", "rp/a", "tr/a")
	read, err := sink.ReadStatus(t.Context())
	if err != nil || len(read) != 2 || read[0].Key.String() != "ResiliencePolicy/default/a" || read[1].Kind != "TrafficRoute" || read[0].InForceGeneration != 1 || len(read[0].Conditions) != 2 {
		t.Errorf("what stands written is read as %+v, %v", read, err)
	}
	var got v1alpha1.ResiliencePolicy
	if err := json.Unmarshal([]byte(w.MustKubectl("get", "rp", "a", "-o", "json", "--show-managed-fields")), &got); err != nil {
		t.Fatal(err)
	}
	if s := got.Status; len(s.Conditions) != 2 || s.InForceGeneration != 1 || got.Generation != 1 {
		t.Errorf("the status is %+v of generation %d", s, got.Generation)
	}
	owned := false
	for _, f := range got.ManagedFields {
		owned = owned || f.Manager == "meshlite.dev/xds-server" && f.Operation == metav1.ManagedFieldsOperationApply && f.Subresource == "status"
	}
	if !owned {
		t.Errorf("nobody owns the status: %+v", got.ManagedFields)
	}
	// A condition that is told no more goes.
	short := status("ResiliencePolicy", "a", "True")
	short.Conditions = short.Conditions[:1]
	write(short)
	if out := w.MustKubectl("get", "rp", "a", "-o", "jsonpath={.status.conditions[*].type}"); out != policy.ConditionAccepted {
		t.Errorf("the conditions are %q", out)
	}
	silent(t, proposals, time.Second)

	w.Apply("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: nobody, namespace: default}\n")
	// Without the right every document whose status was not written is named.
	reader, err := crd.NewStatusSink(w.connect(w.KubeconfigFor("default/nobody")))
	if err != nil {
		t.Fatal(err)
	}
	err = reader.WriteStatus(t.Context(), []policy.Status{status("ResiliencePolicy", "a", "True"), status("TrafficRoute", "a", "True")})
	if err == nil || !strings.Contains(err.Error(), "ResiliencePolicy/default/a") || !strings.Contains(err.Error(), "TrafficRoute/default/a") {
		t.Errorf("WriteStatus = %v", err)
	}
}
