//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"meshlite.dev/test/lab"
)

// applied starts a Kubernetes API with everything that manifests/ holds.
func applied(t *testing.T, l *lab.Lab) *lab.Cluster {
	t.Helper()
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	cluster := l.StartCluster()
	cluster.MustKubectl("apply", "-k", filepath.Join(root, "manifests"))
	cluster.InstallCRDs() // once more, and waits until they are served
	return cluster
}

// TestManifestsAreAccepted: the base, the example overlay and the sample
// policies by a real Kubernetes API, and a workload with an injected sidecar.
func TestManifestsAreAccepted(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	cluster := applied(t, l)
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	cluster.MustKubectl("apply", "-k", filepath.Join(root, "manifests")) // again: no field is fought over
	cluster.MustKubectl("apply", "--dry-run=server", "-k", filepath.Join(root, "manifests", "overlays", "example"))
	cluster.MustKubectl("apply", "--dry-run=server", "-f", filepath.Join(root, "manifests", "examples"))

	in, err := os.ReadFile(filepath.Join(root, "internal", "ctl", "inject", "testdata", "in.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	out := l.MeshctlIn(string(in), "proxy", "inject", "-f", "-", "--tls-secret", "mesh")
	if out.Code != 0 {
		t.Fatalf("meshctl proxy inject: exit %d %s", out.Code, out.Stderr)
	}
	cluster.Apply(out.Stdout)
	if got := cluster.MustKubectl("get", "deployment", "checkout", "-o", "jsonpath={.spec.template.spec.initContainers[0].name}"); got != "meshlite-proxy" {
		t.Errorf("the first init container is %q", got)
	}
}

// TestTheServiceAccountSuffices: xds-server with the settings of the manifests
// and the rights of its own ServiceAccount puts policies in force and says so;
// what it does not need is refused.
func TestTheServiceAccountSuffices(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	cluster := applied(t, l)
	l.Service("orders", 1)
	kubeconfig := cluster.KubeconfigFor("meshlite-system/xds-server")
	l.StartServer("--policy-source", "kube", "--kubeconfig", kubeconfig, "--policy-dir", "", "--root-namespace", "meshlite-system")
	client := l.Sidecar("client")
	cluster.Apply(strings.Replace(policyYAML("orders", "\n  timeouts: {request: 7s}"), "{name: orders}", "{name: orders, namespace: meshlite-system}", 1))
	lab.Until(t, 10*time.Second, "the policy is in force", func() error {
		if got := at(readDump(t, client).part(route, "orders"), "route.timeout"); got != "7s" {
			return fmt.Errorf("the timeout is %v", got)
		}
		return nil
	})
	cluster.MustKubectl("wait", "--for=condition=Enforced", "--timeout=10s", "-n", "meshlite-system", "rp/orders")
	out := cluster.MustKubectl("get", "rp", "-n", "meshlite-system")
	if got := strings.Fields(out); !slices.Equal(got[:min(6, len(got))], []string{"NAME", "TARGET", "ACCEPTED", "PROGRAMMED", "ENFORCED", "AGE"}) {
		t.Errorf("kubectl get rp shows\n%s", out)
	}
	lab.Hold(t, 7*time.Second, "nothing is forbidden", func() error { // what is done every few seconds too
		if line := grep(l.Server.Log(), "is forbidden"); line != "" {
			return lab.Stop(fmt.Errorf("a right is missing: %s", line))
		}
		return nil
	})
	for _, asks := range []string{
		"create resiliencepolicies", "update resiliencepolicies", "delete trafficroutes -A", "update resiliencepolicies --subresource=status",
		"get secrets -n meshlite-system", "list pods -A", "create policyrevisions -n default", "delete leases -n kube-system", "get nodes",
	} {
		out, _, _ := cluster.Kubectl(append([]string{"auth", "can-i", "--as=system:serviceaccount:meshlite-system:xds-server"}, strings.Fields(asks)...)...)
		if strings.TrimSpace(out) != "no" {
			t.Errorf("may it %s? %q, want no", asks, out)
		}
	}
}

// TestTheManifestsSettingsAreSettings: the ConfigMap holds a configuration that
// xds-server reads.
func TestTheManifestsSettingsAreSettings(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"base/config.yaml", "overlays/example/config.yaml"} {
		raw, err := os.ReadFile(filepath.Join(root, "manifests", file))
		if err != nil {
			t.Fatal(err)
		}
		var m struct {
			Data map[string]string `json:"data"`
		}
		if err := yaml.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(l.Dir, "config.yaml")
		if err := os.WriteFile(path, []byte(m.Data["config.yaml"]), 0o600); err != nil {
			t.Fatal(err)
		}
		// The credentials that it names are not on this machine: the last thing
		// to be read, after every setting has passed.
		p := l.Start("xds-server", nil, lab.Binaries.XDSServer, "--config", path, "--state-dir", t.TempDir(), "--kubeconfig", filepath.Join(l.Dir, "none"))
		lab.Until(t, 20*time.Second, "it ends", func() error {
			if p.Alive() {
				return fmt.Errorf("it runs")
			}
			return nil
		})
		if log := p.Log(); !strings.Contains(log, "no such file") || strings.Contains(log, "no such setting") {
			t.Errorf("%s: xds-server says\n%s", file, log)
		}
	}
}

// grep returns the lines that hold what.
func grep(text, what string) string {
	var out []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, what) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}
