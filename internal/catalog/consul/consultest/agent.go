// Package consultest starts real Consul agents for tests: on loopback ports
// of their own, in a folder of their own, ended with the test that started
// them. It needs .tools/bin/consul, which `make tools` installs.
package consultest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// RootToken is the management token of agents started with ACL.
const RootToken = "6f1b1f0e-8d3a-4c9f-9d53-5a0c8b1d7e01"

// Options choose the kind of agent. The zero value is `consul agent -dev`,
// which forgets everything when it is killed.
type Options struct {
	// Data makes it a server with a data folder, which survives Kill.
	Data bool
	// ACL denies what no token allows; RootToken may do everything.
	ACL bool
	// TLS opens a second port of the API for HTTPS, with a certificate of an
	// authority that is the test's own.
	TLS bool
	// Datacenter is the agent's own, with servers that others reach over WAN;
	// "" is dc1, for itself.
	Datacenter string
	// Join is an agent with Datacenter whose servers this one's join over WAN.
	Join *Agent
	// Config is more configuration in HCL.
	Config string
}

// Agent is a running Consul, or one that was killed and may start again.
type Agent struct {
	Addr string // HOST:PORT of the HTTP API
	// TLSAddr is HOST:PORT of the HTTPS API, CA the file of its authority; ""
	// without Options.TLS.
	TLSAddr, CA string

	tb     testing.TB
	wan    string // HOST:PORT for servers of other datacenters
	args   []string
	cmd    *exec.Cmd
	exited chan struct{}
	output *bytes.Buffer
	api    *api.Client
}

// Start starts an agent and waits until it answers consistently. It is killed
// at the end of the test.
func Start(tb testing.TB, o Options) *Agent {
	tb.Helper()
	ports := freePorts(tb, 5)
	dir := tb.TempDir()
	a := &Agent{tb: tb, Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))}
	a.args = []string{
		"agent", "-node=test", "-bind=127.0.0.1", "-client=127.0.0.1", "-log-level=warn",
		fmt.Sprint("-http-port=", ports[0]), fmt.Sprint("-serf-lan-port=", ports[1]), fmt.Sprint("-server-port=", ports[2]),
		"-dns-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1", "-config-dir=" + dir,
	}
	a.federate(o, ports[4])
	if o.Data {
		a.args = append(a.args, "-server", "-bootstrap-expect=1", "-data-dir="+filepath.Join(dir, "data"))
	} else {
		a.args = append(a.args, "-dev")
	}
	config := "performance { raft_multiplier = 1 }\ndisable_update_check = true\n" + quickWAN + o.Config
	if o.ACL {
		config += fmt.Sprintf("\nacl { enabled = true\n default_policy = \"deny\"\n tokens { initial_management = %q\n agent = %q } }\n", RootToken, RootToken)
	}
	if o.TLS {
		var files string
		a.CA, files = certify(tb, tb.TempDir())
		a.TLSAddr = net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[3]))
		config += fmt.Sprintf("\nports { https = %d }\n%s", ports[3], files)
	}
	if err := os.WriteFile(filepath.Join(dir, "agent.hcl"), []byte(config), 0o600); err != nil {
		tb.Fatal(err)
	}
	client := &api.Config{Address: a.Addr, Scheme: "http", Transport: &http.Transport{DisableKeepAlives: true}}
	if o.ACL {
		client.Token = RootToken
	}
	var err error
	if a.api, err = api.NewClient(client); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		a.Kill()
		if tb.Failed() {
			tb.Logf("consul at %s said:\n%s", a.Addr, a.output)
		}
	})
	a.Run()
	return a
}

// quickWAN makes servers notice within a second that those of another
// datacenter are away: all run on one machine.
const quickWAN = `gossip_wan { gossip_interval = "100ms"
 probe_interval = "100ms"
 probe_timeout = "100ms"
 suspicion_mult = 3 }
reconnect_timeout_wan = "8h"
`

// federate adds what concerns other datacenters to the arguments.
func (a *Agent) federate(o Options, port int) {
	if o.Datacenter == "" {
		a.args = append(a.args, "-serf-wan-port=-1")
		return
	}
	a.wan = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	a.args = append(a.args, "-datacenter="+o.Datacenter, fmt.Sprint("-serf-wan-port=", port))
	if o.Join != nil {
		a.args = append(a.args, "-retry-join-wan="+o.Join.wan, "-retry-interval-wan=1s")
	}
}

// API is Consul's own client, with all rights.
func (a *Agent) API() *api.Client { return a.api }

// Run starts a killed agent again, with the same ports and data.
func (a *Agent) Run() {
	a.tb.Helper()
	a.output = &bytes.Buffer{}
	a.cmd = exec.Command(Binary(a.tb), a.args...)
	a.cmd.Stdout, a.cmd.Stderr = a.output, a.output
	a.cmd.Env = []string{"HOME=" + a.tb.TempDir(), "PATH=" + os.Getenv("PATH")}
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := a.cmd.Start(); err != nil {
		a.tb.Fatalf("start consul: %v", err)
	}
	exited := make(chan struct{})
	a.exited = exited
	go func() {
		_ = a.cmd.Wait() // how it ended is of no interest: Kill ends it
		close(exited)
	}()
	Eventually(a.tb, 60*time.Second, "consul answers", func() error {
		select {
		case <-exited:
			return errors.New("it ended: " + a.output.String())
		default:
		}
		_, _, err := a.api.Catalog().Service("consul", "", &api.QueryOptions{RequireConsistent: true})
		if err == nil {
			_, err = a.api.Agent().Self()
		}
		return err
	})
}

// Kill ends the agent with SIGKILL and waits for that.
func (a *Agent) Kill() {
	select {
	case <-a.exited:
		return
	default:
	}
	_ = a.cmd.Process.Kill() // it may have ended by itself
	<-a.exited
}

// Binary finds .tools/bin/consul beside go.mod.
func Binary(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		up := filepath.Dir(dir)
		if up == dir {
			tb.Fatal("no go.mod above the test")
		}
		dir = up
	}
	path := filepath.Join(dir, ".tools", "bin", "consul")
	if _, err := os.Stat(path); err != nil {
		tb.Fatalf("%v; run `make tools`", err)
	}
	return path
}

// Eventually waits until check succeeds, and fails the test when it has not
// within limit.
func Eventually(tb testing.TB, limit time.Duration, what string, check func() error) {
	tb.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatalf("%s: not within %s: %v", what, limit, err)
		}
	}
}

// freePorts finds ports that nobody listens on. All stay taken until the last
// is found, so that they differ.
func freePorts(tb testing.TB, n int) []int {
	tb.Helper()
	var ports []int
	var open []net.Listener
	defer func() {
		for _, l := range open {
			l.Close()
		}
	}()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		open = append(open, l)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}
