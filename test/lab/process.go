package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a child with its log.
type Process struct {
	Name string
	t    T
	cmd  *exec.Cmd
	log  logBuffer
	done chan struct{}
	err  error // valid once done is closed
}

// Start runs argv as a child in a process group of its own; the whole group
// is ended at clean-up. Env is added to the environment.
func (l *Lab) Start(name string, env []string, argv ...string) *Process {
	l.Helper()
	p := &Process{Name: name, t: l, done: make(chan struct{})}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Dir = l.Dir
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		l.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	l.mu.Lock()
	l.processes = append(l.processes, p)
	l.mu.Unlock()
	l.Cleanup(func() { p.Stop(5 * time.Second) })
	return p
}

// Kill ends the process and its children at once (SIGKILL) and waits.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// Stop asks the process to end (SIGTERM), and after grace makes it. It
// reports whether the process went by itself.
func (p *Process) Stop(grace time.Duration) bool {
	p.Signal(syscall.SIGTERM)
	after := time.NewTimer(grace)
	defer after.Stop()
	select {
	case <-p.done:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // what it may have left in its group
		return true
	case <-after.C:
		p.Kill()
		return false
	}
}

// Signal sends s to the process alone.
func (p *Process) Signal(s syscall.Signal) {
	if p.Alive() {
		_ = p.cmd.Process.Signal(s)
	}
}

// Alive reports whether the process still runs.
func (p *Process) Alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Resident returns how many bytes of memory the system gave it (VmRSS).
func (p *Process) Resident() int {
	p.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatalf("memory of %s: %v", p.Name, err)
	}
	_, rest, _ := strings.Cut(string(raw), "VmRSS:")
	n := 0
	if _, err := fmt.Sscan(rest, &n); err != nil {
		p.t.Fatalf("memory of %s: %v", p.Name, err)
	}
	return n << 10
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode returns the exit code of an ended process; -1 after a signal.
func (p *Process) ExitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Log returns all output so far.
func (p *Process) Log() string { return p.log.String() }

// WaitLog waits until the log holds text.
func (p *Process) WaitLog(text string, limit time.Duration) {
	p.t.Helper()
	Until(p.t, limit, p.Name+" logs "+text, func() error {
		if strings.Contains(p.Log(), text) {
			return nil
		}
		if !p.Alive() {
			return Stop(errEnded(p))
		}
		return errNotYet
	})
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
