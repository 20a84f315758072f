// Package lab sets up a small mesh of real parts on loopback: echo services, a
// catalog folder or a Consul, a Kubernetes API, xds-server and Envoy sidecars, and
// load on them.
// End-to-end tests and the demo share it. Every process is a child that the lab
// ends by its id; waiting is polling of the condition itself.
package lab

import (
	"context"
	"os"
	"path/filepath"
	"sync"
)

// T is the part of testing.TB that the lab needs; the demo brings its own.
type T interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
	TempDir() string
	Context() context.Context // ends before the clean-up
	Failed() bool
}

// Lab is one mesh. Its methods fail its T where they cannot do what they say.
type Lab struct {
	T
	Dir      string
	Policies *Policies
	Registry Registry
	Server   *Server
	Cluster  *Cluster // nil without StartCluster

	mu        sync.Mutex
	processes []*Process
}

// New makes an empty mesh over a catalog folder: no server, no instance yet.
func New(t T) *Lab {
	t.Helper()
	l := &Lab{T: t, Dir: t.TempDir()}
	files := &FileCatalog{t: t, dir: l.folder("catalog"), services: map[string][]Instance{}}
	l.Registry = files
	l.Policies = &Policies{t: t, Dir: l.folder("policies")}
	t.Cleanup(l.dumpLogs)
	return l
}

func (l *Lab) folder(name string) string {
	l.Helper()
	dir := filepath.Join(l.Dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.Fatalf("make a folder: %v", err)
	}
	return dir
}

// dumpLogs shows the end of every log once the test failed.
func (l *Lab) dumpLogs() {
	if !l.Failed() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.processes {
		l.Logf("---- %s, the last of its log\n%s", p.Name, tail(p.Log(), 40))
	}
}

// Root returns the project's folder, the one with go.mod.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", os.ErrNotExist
		}
		dir = up
	}
}
