// Package envoy runs an Envoy as a child process: start, readiness, drain, end.
package envoy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// Config says what to run.
type Config struct {
	Path      string   // of the binary; looked up on PATH when it has no slash
	Args      []string // more flags for Envoy
	Bootstrap []byte   // YAML
	AdminPort uint16   // as in Bootstrap
	DrainTime time.Duration
	Out, Err  io.Writer
}

func (c Config) admin() string { return fmt.Sprintf("127.0.0.1:%d", c.AdminPort) }

// ExitError reports an Envoy that ended by itself.
type ExitError struct{ Code int }

// Error implements error.
func (e *ExitError) Error() string { return fmt.Sprintf("envoy ended with exit code %d", e.Code) }

// killAfter is how long Envoy may take from SIGTERM to its end.
const killAfter = 5 * time.Second

// Run starts Envoy and returns when it has ended. When ctx ends it drains
// Envoy first and returns nil; a SIGINT or SIGTERM from then on ends Envoy at
// once. An Envoy that ends otherwise is an *ExitError.
func Run(ctx context.Context, cfg Config) error {
	path, err := exec.LookPath(cfg.Path)
	if err != nil {
		return fmt.Errorf("find envoy: %w", err)
	}
	dir, err := os.MkdirTemp("", "meshlite-sidecar-")
	if err != nil {
		return fmt.Errorf("make a folder for the bootstrap: %w", err)
	}
	defer os.RemoveAll(dir) // the process ends anyway
	file := filepath.Join(dir, "bootstrap.yaml")
	if err := os.WriteFile(file, cfg.Bootstrap, 0o600); err != nil {
		return fmt.Errorf("write the bootstrap: %w", err)
	}
	cmd := exec.Command(path, append([]string{"-c", file, "--disable-hot-restart"}, cfg.Args...)...)
	cmd.Stdout, cmd.Stderr = cfg.Out, cfg.Err
	cmd.SysProcAttr = childAttr() // a Ctrl-C reaches us alone
	// Linux ties the death signal to the thread that starts the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", path, err)
	}
	c := &child{Process: cmd.Process, ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		c.err = cmd.Wait()
	}()
	return c.attend(ctx, cfg)
}

// child is a started Envoy.
type child struct {
	*os.Process
	ended chan struct{}
	err   error // of its end, once ended is closed
}

// attend stays with Envoy until it ends.
func (c *child) attend(ctx context.Context, cfg Config) error {
	watch, stop := context.WithCancel(ctx)
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		if newAdmin(cfg.admin()).waitReady(watch) == nil {
			fmt.Fprintln(cfg.Err, "meshctl: ready: the first complete configuration is in force")
		}
	}()
	defer func() { stop(); <-ready }()
	select {
	case <-c.ended:
		return exit(c.err)
	case <-ctx.Done():
		c.drain(context.WithoutCancel(ctx), cfg)
		return nil
	}
}

// drain lets calls under way end, then ends Envoy.
func (c *child) drain(ctx context.Context, cfg Config) {
	again := make(chan os.Signal, 1)
	signal.Notify(again, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(again)
	ctx, cancel := context.WithTimeout(ctx, cfg.DrainTime)
	defer cancel()
	fmt.Fprintf(cfg.Err, "meshctl: draining for up to %s\n", cfg.DrainTime)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		if err := Drain(ctx, cfg.admin()); err != nil {
			fmt.Fprintf(cfg.Err, "meshctl: %v\n", err)
		}
	}()
	defer func() { cancel(); <-drained }()
	select {
	case <-c.ended:
		return
	case <-again:
	case <-drained:
	}
	c.end()
}

// end asks Envoy to end, then makes it.
func (c *child) end() {
	_ = c.Signal(syscall.SIGTERM) // it may be gone already
	select {
	case <-c.ended:
	case <-time.After(killAfter):
		_ = c.Kill()
		<-c.ended
	}
}

// exit turns the end of a process that nobody asked to end into an error.
func exit(err error) error {
	var failed *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &failed) && failed.ExitCode() > 0:
		return &ExitError{failed.ExitCode()}
	case errors.As(err, &failed): // by a signal
		return &ExitError{128 + int(failed.Sys().(syscall.WaitStatus).Signal())}
	}
	return fmt.Errorf("wait for envoy: %w", err)
}
