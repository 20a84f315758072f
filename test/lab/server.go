package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"time"

	"meshlite.dev/internal/admin/adminapi"
)

// Server is an xds-server that can be killed and started again on its ports.
type Server struct {
	*Process
	XDS, Admin string // HOST:PORT
	State      string
	lab        *Lab
	flags, env []string
	within     []string // what its command line begins with
}

// StartServer starts xds-server over the lab's registry and policies, waits
// until it is ready, and keeps it as l.Server. Flags are added last; a
// "KEY=value" among them goes into the environment.
func (l *Lab) StartServer(flags ...string) *Server {
	l.Helper()
	s := l.NewServer(flags...)
	s.Start()
	s.WaitReady(20 * time.Second)
	return s
}

// NewServer is StartServer without the start.
func (l *Lab) NewServer(flags ...string) *Server {
	l.Helper()
	s := &Server{lab: l, State: l.folder("state")}
	s.XDS, s.Admin = fmt.Sprintf("127.0.0.1:%d", FreePort(l)), fmt.Sprintf("127.0.0.1:%d", FreePort(l))
	s.flags = append([]string{"--xds-addr", s.XDS, "--admin-addr", s.Admin, "--state-dir", s.State, "--policy-dir", l.Policies.Dir, "--policy-quiet", "100ms"}, l.Registry.Flags()...)
	for _, f := range flags {
		if key, _, ok := strings.Cut(f, "="); ok && key == strings.ToUpper(key) {
			s.env = append(s.env, f)
			continue
		}
		s.flags = append(s.flags, f)
	}
	l.Server = s
	return s
}

// Start starts it, first time or again, and does not wait.
func (s *Server) Start() {
	s.lab.Helper()
	s.Process = s.lab.Start("xds-server", s.env, slices.Concat(s.within, []string{Binaries.XDSServer}, s.flags)...)
}

// Add gives it further flags from the next start on.
func (s *Server) Add(flags ...string) { s.flags = append(s.flags, flags...) }

// WaitReady waits for /readyz.
func (s *Server) WaitReady(limit time.Duration) {
	s.lab.Helper()
	Until(s.lab, limit, "xds-server is ready", func() error {
		if s.Process != nil && !s.Alive() {
			return Stop(errEnded(s.Process))
		}
		status, body, err := s.get("/readyz")
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
}

func (s *Server) get(path string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Admin+path, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// Try reads a page of the admin API into v.
func (s *Server) Try(path string, v any) error {
	status, body, err := s.get(path)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("GET %s: %d %s", path, status, body)
	}
	return json.Unmarshal(body, v)
}

// Get is Try that must succeed.
func (s *Server) Get(path string, v any) {
	s.lab.Helper()
	if err := s.Try(path, v); err != nil {
		s.lab.Fatalf("%v", err)
	}
}

// Text returns a page as it is, such as /metrics.
func (s *Server) Text(path string) string {
	s.lab.Helper()
	status, body, err := s.get(path)
	if err != nil || status != http.StatusOK {
		s.lab.Fatalf("GET %s: %d %v %s", path, status, err, body)
	}
	return string(body)
}

// Output is what a command left behind.
type Output struct {
	Stdout, Stderr string
	Code           int
}

// Meshctl runs meshctl against the lab's server.
func (l *Lab) Meshctl(args ...string) Output {
	l.Helper()
	return l.MeshctlIn("", args...)
}

// MeshctlIn is Meshctl with stdin.
func (l *Lab) MeshctlIn(stdin string, args ...string) Output {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, Binaries.Meshctl, args...)
	cmd.Dir = l.Dir
	cmd.Env = append(cmd.Environ(), "NO_COLOR=1")
	if l.Server != nil {
		cmd.Env = append(cmd.Env, "MESHCTL_SERVER=http://"+l.Server.Admin)
	}
	if consul, ok := l.Registry.(*Consul); ok {
		cmd.Env = append(cmd.Env, "CONSUL_HTTP_ADDR="+consul.Addr)
	}
	if l.Cluster != nil {
		cmd.Env = append(cmd.Env, l.Cluster.env()...)
	}
	out, err := run(cmd, stdin)
	if err != nil && cmd.ProcessState == nil {
		l.Fatalf("meshctl %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// run runs cmd to its end. The error is that of exec.Cmd: not nil for any exit
// code but 0.
func run(cmd *exec.Cmd, stdin string) (Output, error) {
	var out, errs logBuffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	code := -1
	if cmd.ProcessState != nil {
		code = cmd.ProcessState.ExitCode()
	}
	return Output{out.String(), errs.String(), code}, err
}

// MustMeshctl is Meshctl that must end with 0; it returns what it printed.
func (l *Lab) MustMeshctl(args ...string) string {
	l.Helper()
	out := l.Meshctl(args...)
	if out.Code != 0 {
		l.Fatalf("meshctl %s: exit %d\n%s%s", strings.Join(args, " "), out.Code, out.Stdout, out.Stderr)
	}
	return out.Stdout
}

// Proxies returns what the server says of its sidecars.
func (s *Server) Proxies() ([]adminapi.Proxy, error) {
	var ps []adminapi.Proxy
	err := s.Try("/v1/proxies", &ps)
	return ps, err
}

// Attach makes a server that runs elsewhere, in the test itself, the lab's.
func (l *Lab) Attach(xds, admin string) {
	l.Server = &Server{lab: l, XDS: xds, Admin: admin}
}
