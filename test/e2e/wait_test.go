//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"meshlite.dev/test/lab"
)

// waiting is `meshctl policy apply --wait` on documents in a Kubernetes.
type waiting struct {
	*testing.T
	l *lab.Lab
}

// apply demands an exit code and words, and an end long before the limit.
func (w waiting) apply(document string, code int, words ...string) {
	w.Helper()
	begun := time.Now()
	out := w.l.MeshctlIn(document, "policy", "apply", "-f", "-", "--wait", "--timeout", "50s", "--kubeconfig", w.l.Cluster.Kubeconfig())
	took := time.Since(begun)
	w.Logf("exit %d after %s: %s", out.Code, took.Round(10*time.Millisecond), out.Stderr)
	if out.Code != code || took > 20*time.Second {
		w.Errorf("exit %d after %s, want %d\n%s%s", out.Code, took, code, out.Stdout, out.Stderr)
	}
	for _, text := range words {
		if !strings.Contains(out.Stderr, text) {
			w.Errorf("it does not say %q:\n%s", text, out.Stderr)
		}
	}
}

// policyIn is a ResiliencePolicy of a namespace.
func policyIn(namespace, name, target, attempts string) string {
	return fmt.Sprintf("apiVersion: meshlite.dev/v1alpha1\nkind: ResiliencePolicy\nmetadata: {name: %s, namespace: %s}\nspec: {targetRefs: [{kind: Service, name: %s}], retry: {attempts: %s}}\n", name, namespace, target, attempts)
}

// TestAWaitIsForWhatTheSidecarsRun: with policies in Kubernetes `apply --wait`
// returns once a real Envoy runs them, and with the server's own sentence as soon
// as that is decided otherwise.
func TestAWaitIsForWhatTheSidecarsRun(t *testing.T) {
	t.Parallel()
	l, flags := kubeLab(t)
	l.ServiceWith("stock", 1, map[string]string{"namespace": "shop"})
	for _, namespace := range []string{"shop", "other"} {
		l.Cluster.MustKubectl("create", "namespace", namespace)
	}
	l.StartServer(flags...)
	client := l.Sidecar("client")
	const slow = "http://orders/?delay=1s"
	client.WaitStatus(slow, http.StatusOK, 20*time.Second)
	client.WaitStatus("http://stock/", http.StatusOK, 20*time.Second)
	w := waiting{t, l}

	for _, x := range []struct {
		timeout string
		status  int
	}{{"200ms", http.StatusGatewayTimeout}, {"5s", http.StatusOK}} {
		w.apply(inMesh("\n  timeouts: {request: "+x.timeout+"}"), 0, "in force on every sidecar")
		if got, err := client.Do(http.MethodGet, slow); err != nil || got.Status != x.status {
			t.Errorf("right after it the answer with a timeout of %s is %+v, %v", x.timeout, got, err)
		}
	}
	w.apply(policyIn("shop", "stock", "stock", "2"), 0, "in force on every sidecar")
	w.apply(policyIn("shop", "stock", "stock", "2"), 0, "in force on every sidecar") // nothing is to be awaited

	w.apply(policyIn("other", "stock", "stock", "3"), 1, "ResiliencePolicy/other/stock is NotPermitted", "namespace shop")
	w.apply(policyIn("shop", "nowhere", "nowhere", "3"), 1, "ResiliencePolicy/shop/nowhere is TargetNotFound")
	w.apply(policyIn("shop", "twice", "stock", "4"), 1, "ResiliencePolicy/shop/twice is Conflicted", "shop/stock")
	// One that is refused keeps nobody from seeing that another one is in force.
	w.apply(policyIn("shop", "stock", "stock", "1"), 0, "in force on every sidecar")

	begun := time.Now()
	l.MustMeshctl("policy", "delete", "-n", "shop", "rp/stock", "rp/twice", "--wait", "--kubeconfig", l.Cluster.Kubeconfig())
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("the deletion took %s", took)
	}
	if out := l.MustMeshctl("policy", "get", "-n", "shop", "-o", "name"); strings.Contains(out, "stock") {
		t.Errorf("left is %s", out)
	}

	// A label alone is no other version, and is told all the same.
	revision := inKubernetes(t, l.Cluster)
	l.Cluster.MustKubectl("label", "rp", "orders", "-n", "meshlite-system", "team=shop")
	lab.Until(t, 10*time.Second, "the label is told", func() error {
		if out := l.MustMeshctl("policy", "get", "-l", "team in (shop)", "-o", "name"); out != "rp/meshlite-system/orders\n" {
			return fmt.Errorf("chosen are %q", out)
		}
		return nil
	})
	if now := inKubernetes(t, l.Cluster); now != revision {
		t.Errorf("a label took revision %s to %s", revision.label(), now.label())
	}
}
