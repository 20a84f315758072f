package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Binaries are what a lab runs. Fill it once per process with Build.
var Binaries struct {
	XDSServer, Meshctl, Echo     string
	Envoy, Consul                string
	OldEnvoy                     string // the oldest supported one
	Etcd, KubeAPIServer, Kubectl string
	RabbitMQ, PythonPika         string // the latter is a Python with an AMQP client
}

// Build compiles xds-server, meshctl and the echo service into dir and finds
// the tools, of which only Envoy must be there. Race builds xds-server with
// the race detector, which needs a C compiler.
func Build(ctx context.Context, dir string, race bool) error {
	root, err := Root()
	if err != nil {
		return fmt.Errorf("find go.mod above the working folder: %w", err)
	}
	for _, b := range []struct {
		path *string
		pkg  string
		race bool
	}{
		{&Binaries.XDSServer, "./cmd/xds-server", race},
		{&Binaries.Meshctl, "./cmd/meshctl", false},
		{&Binaries.Echo, "./test/apps/echo", false},
	} {
		*b.path = filepath.Join(dir, filepath.Base(b.pkg))
		args := []string{"build", "-o", *b.path}
		if b.race {
			args = append(args, "-race")
		}
		cmd := exec.CommandContext(ctx, "go", append(args, b.pkg)...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", b.pkg, err, out)
		}
	}
	findTools(root)
	if _, err := os.Stat(Binaries.Envoy); err != nil {
		return fmt.Errorf("envoy is missing; run make tools: %w", err)
	}
	return nil
}

// FindTools fills Binaries with the tools, for tests that need no program of
// ours.
func FindTools() error {
	root, err := Root()
	if err != nil {
		return fmt.Errorf("find go.mod above the working folder: %w", err)
	}
	findTools(root)
	return nil
}

// findTools says where hack/tools.sh installs what it installs.
func findTools(root string) {
	for path, tool := range map[*string]string{
		&Binaries.Envoy: "envoy", &Binaries.OldEnvoy: "envoy-1.37", &Binaries.Consul: "consul",
		&Binaries.Etcd: "etcd", &Binaries.KubeAPIServer: "kube-apiserver", &Binaries.Kubectl: "kubectl",
		&Binaries.RabbitMQ: "rabbitmq-server", &Binaries.PythonPika: "python-pika",
	} {
		*path = filepath.Join(root, ".tools", "bin", tool)
	}
}
