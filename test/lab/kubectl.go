package lab

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Kubeconfig returns the administrator's kubeconfig file.
func (c *Cluster) Kubeconfig() string { return c.path("admin.kubeconfig") }

// KubeconfigFor returns a kubeconfig file of a ServiceAccount that exists,
// NAMESPACE/NAME, with a fresh token: what its holder may do is what RBAC says.
func (c *Cluster) KubeconfigFor(serviceAccount string) string {
	c.lab.Helper()
	namespace, name, ok := strings.Cut(serviceAccount, "/")
	if !ok {
		c.lab.Fatalf("a ServiceAccount is NAMESPACE/NAME, not %q", serviceAccount)
	}
	token := c.MustKubectl("create", "token", name, "--namespace", namespace)
	file := namespace + "." + name + ".kubeconfig"
	c.write(file, c.kubeconfig(name, namespace, strings.TrimSpace(token)))
	return c.path(file)
}

func (c *Cluster) kubeconfig(user, namespace, token string) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: lab
  cluster: {server: "https://%s", certificate-authority: %q}
users:
- name: %[3]q
  user: {token: %[5]q}
contexts:
- name: lab
  context: {cluster: lab, user: %[3]q, namespace: %[4]q}
current-context: lab
`, c.Addr, c.path("certs", "apiserver.crt"), user, namespace, token)
}

// env makes a client act as the administrator, with a home of its own.
func (c *Cluster) env() []string {
	return []string{"KUBECONFIG=" + c.Kubeconfig(), "HOME=" + c.dir}
}

// Kubectl runs kubectl as the administrator; --kubeconfig among args makes it
// someone else. The error is not nil for any exit code but 0.
func (c *Cluster) Kubectl(args ...string) (stdout, stderr string, err error) {
	return c.KubectlIn("", args...)
}

// KubectlIn is Kubectl with stdin.
func (c *Cluster) KubectlIn(stdin string, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(c.lab.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, Binaries.Kubectl, args...)
	cmd.Dir = c.lab.Dir
	cmd.Env = append(cmd.Environ(), c.env()...)
	out, err := run(cmd, stdin)
	return out.Stdout, out.Stderr, err
}

// MustKubectl is Kubectl that must succeed; it returns what it printed.
func (c *Cluster) MustKubectl(args ...string) string {
	c.lab.Helper()
	return c.must("", args...)
}

// Apply applies manifests, one or more documents, as the administrator.
func (c *Cluster) Apply(manifest string) {
	c.lab.Helper()
	c.must(manifest, "apply", "-f", "-")
}

// InstallCRDs applies the project's CRDs and waits until the API serves them.
func (c *Cluster) InstallCRDs() {
	c.lab.Helper()
	root, err := Root()
	if err != nil {
		c.lab.Fatalf("find go.mod above the working folder: %v", err)
	}
	crds := filepath.Join(root, "manifests", "crds")
	c.MustKubectl("apply", "-k", crds)
	c.MustKubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
	Until(c.lab, 30*time.Second, "the API serves the kinds of Meshlite", func() error {
		return c.get("/apis/meshlite.dev/v1alpha1") // a moment after Established
	})
}

func (c *Cluster) must(stdin string, args ...string) string {
	c.lab.Helper()
	out, errs, err := c.KubectlIn(stdin, args...)
	if err != nil {
		c.lab.Fatalf("kubectl %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	return out
}
