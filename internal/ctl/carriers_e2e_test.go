//go:build e2e

package ctl_test

import (
	"os"
	"path/filepath"
	"testing"

	"meshlite.dev/internal/app"
	"meshlite.dev/internal/catalog/consul/consultest"
	"meshlite.dev/test/lab"
)

// TestConsulScripts: $SERVER reads its policies from the Consul at $CONSUL, which
// demands tokens; $TOKEN and $READER are files with one that may write policies
// and one that may not.
func TestConsulScripts(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{ACL: true})
	t.Setenv("CONSUL_HTTP_TOKEN", consultest.RootToken) // of the server
	cfg := app.Default()
	cfg.PolicySource, cfg.Consul.Addr = "consul", agent.Addr
	dir := t.TempDir()
	file := func(name, rules string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(agent.NewToken(rules).Secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	runScripts(t, "testdata/consul", map[string]string{
		"SERVER": startConfigured(t, cfg), "CONSUL": agent.Addr, "CONSUL_BINARY": consultest.Binary(t), "ROOT_TOKEN": consultest.RootToken,
		"TOKEN":  file("writer", `key_prefix "mesh/policies/" { policy = "write" }`),
		"READER": file("reader", `key_prefix "mesh/policies/" { policy = "read" }`),
	})
}

// TestKubeScripts: $KUBE is the administrator's kubeconfig of a real API server
// with our kinds; nothing listens at the server that meshctl would ask.
func TestKubeScripts(t *testing.T) {
	if err := lab.FindTools(); err != nil {
		t.Fatal(err)
	}
	c := lab.New(t).StartCluster()
	c.InstallCRDs()
	runScripts(t, "testdata/kube", map[string]string{"KUBE": c.Kubeconfig(), "KUBECTL": lab.Binaries.Kubectl})
}
