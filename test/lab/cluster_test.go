//go:build e2e

package lab

import (
	"path/filepath"
	"strings"
	"testing"
)

const reader = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules:
- {apiGroups: [meshlite.dev], resources: [resiliencepolicies], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects:
- {kind: ServiceAccount, name: reader, namespace: default}
`

// TestClusterKeepsWhatKubectlApplied takes a policy through a real API: in
// with the project's CRDs, out again, once more after the server was killed,
// and through the eyes of a ServiceAccount that may read it and no more.
func TestClusterKeepsWhatKubectlApplied(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	findTools(root)
	c := New(t).StartCluster()
	c.InstallCRDs()
	c.MustKubectl("apply", "-f", filepath.Join(root, "manifests", "examples", "retries.yaml"))
	get := []string{"get", "resiliencepolicy", "orders-retries", "-o", "jsonpath={.metadata.uid} {.spec.retry.budget.percent}"}
	want := c.MustKubectl(get...)
	if _, percent, _ := strings.Cut(want, " "); percent != "20" {
		t.Errorf("kubectl get prints %q, not the policy's budget of 20", want)
	}

	c.Kill()
	if out, _, err := c.Kubectl("get", "--raw", "/readyz"); err == nil {
		t.Errorf("a killed apiserver answers %q", out)
	}
	c.Restart()
	if got := c.MustKubectl(get...); got != want {
		t.Errorf("kubectl get prints %q after a restart, %q before", got, want)
	}

	c.Apply(reader)
	as := "--kubeconfig=" + c.KubeconfigFor("default/reader")
	if got := c.MustKubectl(append(get, as)...); got != want {
		t.Errorf("the ServiceAccount reads %q, the administrator %q", got, want)
	}
	_, errs, err := c.Kubectl("delete", "resiliencepolicy", "orders-retries", as)
	if err == nil || !strings.Contains(errs, "Forbidden") || !strings.Contains(errs, "system:serviceaccount:default:reader") {
		t.Errorf("the ServiceAccount deletes what it may only read: %v %q", err, errs)
	}
	c.Stop()
	if c.API.Alive() || c.Etcd.Alive() {
		t.Error("after Stop a part of the cluster still runs")
	}
}
