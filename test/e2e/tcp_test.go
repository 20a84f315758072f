//go:build e2e

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"meshlite.dev/test/lab"
)

// line is a connection through a local port: a word, and its answer.
type line struct {
	net.Conn
	in       *bufio.Reader
	instance string // that it leads to
}

// dialLine opens one and waits for the first answer.
func dialLine(t *testing.T, c *lab.Sidecar, service string) *line {
	t.Helper()
	var l *line
	lab.Until(t, 20*time.Second, "a connection to "+service+" answers", func() error {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", c.Upstreams[service]))
		if err != nil {
			return err
		}
		l = &line{Conn: conn, in: bufio.NewReader(conn)}
		if l.instance, err = l.say("hello"); err != nil {
			conn.Close()
		}
		return err
	})
	t.Cleanup(func() { l.Close() })
	return l
}

// say sends a word and returns what comes back.
func (l *line) say(word string) (answer string, err error) {
	if err := l.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(l, word); err != nil {
		return "", err
	}
	return l.in.ReadString('\n')
}

// lines are open connections through one sidecar.
type lines struct {
	client   *lab.Sidecar
	all      []*line
	clusters int // that its Envoy has
}

// dialLines opens connections until both instances have some.
func dialLines(t *testing.T, c *lab.Sidecar, service string) *lines {
	t.Helper()
	out, reached := &lines{client: c}, map[string]bool{}
	for len(out.all) < 4 || len(reached) < 2 {
		l := dialLine(t, c, service)
		out.all = append(out.all, l)
		if reached[l.instance] = true; len(out.all) == 50 {
			t.Fatalf("50 connections reach %v", reached)
		}
	}
	return out
}

// hold fails t unless every connection answers as it did, and its listener is the
// one of the start.
func (ls *lines) hold(t *testing.T, after string) {
	t.Helper()
	for _, l := range ls.all {
		if got, err := l.say("hello"); err != nil || got != l.instance {
			t.Fatalf("%s: after %s: %q, %v; want %q", ls.client.ID, after, got, err, l.instance)
		}
	}
	for _, name := range []string{"listener_modified", "listener_in_place_updated", "listener_removed", "total_filter_chains_draining"} {
		if n := ls.client.Stat("listener_manager." + name); n != 0 {
			t.Errorf("%s: after %s: %s is %d", ls.client.ID, after, name, n)
		}
	}
}

// TestConnectionsOutliveChanges of a tcp service: of every policy that its cluster
// has, of instances, theirs too, of the server, and of the service as a whole, on
// the newest Envoy and the oldest supported one. Its local port stays as it is.
func TestConnectionsOutliveChanges(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	es := l.StartEcho("ledger", 3, map[string]string{"protocol": "tcp"})
	l.Registry.Register(lab.Instances(es[:2])...)
	s := l.StartServer()
	all := []*lines{
		dialLines(t, l.Sidecar("client", "--upstream", "ledger"), "ledger"),
		dialLines(t, l.OldSidecar("client", "--upstream", "ledger"), "ledger"),
	}
	hold := func(after string) {
		t.Helper()
		for _, ls := range all {
			ls.hold(t, after)
		}
	}
	edit := func(sections string) {
		t.Helper()
		before := []int{}
		for _, ls := range all {
			before = append(before, ls.client.Stat("cluster_manager.cluster_modified"))
		}
		l.Policies.Write("ledger.yaml", policyYAML("ledger", "\n  "+sections))
		for i, ls := range all {
			lab.Until(t, 20*time.Second, ls.client.ID+" has "+sections, func() error {
				if ls.client.Stat("cluster_manager.cluster_modified") == before[i] {
					return errors.New("its cluster is as it was")
				}
				return nil
			})
		}
		hold(sections)
	}
	for _, sections := range []string{
		"timeouts: {connect: 3s, idle: 1s}", "retry: {tcpConnectAttempts: 7}", "limits: {connections: 1, pendingRequests: 1}",
		"outlierDetection: {interval: 1s, localOrigin: {consecutive: 1}}", "loadBalancing: {type: RoundRobin}",
		"healthCheck: {type: TCP, interval: 1s}", "connection: {tcpKeepalive: {idle: 7s}}", "connection: {protocol: http1}",
	} {
		edit(sections)
	}
	has := func(n int, without string) {
		t.Helper()
		for _, ls := range all {
			lab.Until(t, 60*time.Second, fmt.Sprintf("%s has %d instances", ls.client.ID, n), func() error {
				hosts := ls.client.Hosts("ledger")
				if _, there := hosts[without]; len(hosts) != n || there {
					return fmt.Errorf("%v", hosts)
				}
				return nil
			})
		}
		hold(fmt.Sprintf("a change to %d instances", n))
	}
	l.Registry.Register(es[2].Instance)
	has(3, "")
	l.Registry.Deregister(es[0].Instance)
	has(2, fmt.Sprintf("%s:%d", es[0].Address, es[0].Port))
	s.Kill()
	hold("the death of the server")
	s.Start()
	s.WaitReady(20 * time.Second)
	edit("timeouts: {connect: 2s}")

	for _, ls := range all {
		ls.clusters = ls.client.Stat("cluster_manager.active_clusters")
	}
	l.Registry.Deregister(lab.Instances(es)...)
	for _, ls := range all {
		lab.Until(t, 90*time.Second, "the service is gone from "+ls.client.ID, func() error {
			if n := ls.client.Stat("cluster_manager.active_clusters"); n != ls.clusters-1 {
				return fmt.Errorf("it has %d clusters, and had %d", n, ls.clusters)
			}
			return nil
		})
	}
	hold("the end of the service")
	l.Registry.Register(lab.Instances(es[:2])...)
	has(2, "")
	for _, ls := range all {
		dialLine(t, ls.client, "ledger")
	}
}

// TestALocalPortForATCPServiceThatIsNotThereYet is one of tcp all the same, which
// closes what is dialled until the service comes, and what is over its limit.
func TestALocalPortForATCPServiceThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.StartServer()
	client := l.Sidecar("client", "--upstream", "ledger/tcp")
	dial := func() *line {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", client.Upstreams["ledger"]))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return &line{Conn: conn, in: bufio.NewReader(conn)}
	}
	var slow net.Error
	if got, err := dial().say("hello"); err == nil || errors.As(err, &slow) && slow.Timeout() {
		t.Errorf("a connection to nothing: %q, %v", got, err)
	}
	es := l.ServiceWith("ledger", 1, map[string]string{"protocol": "tcp"})
	if late := dialLine(t, client, "ledger"); late.instance != es[0].ID+": hello\n" {
		t.Errorf("answered %q", late.instance)
	}
	l.Policies.Write("ledger.yaml", policyYAML("ledger", "\n  limits: {connections: 1}"))
	inForce(t, l, "rp/default/ledger@1")
	first := dialLine(t, client, "ledger")
	if got, err := dial().say("hello"); err == nil {
		t.Errorf("a connection over the limit: %q", got)
	}
	first.Close()
	dialLine(t, client, "ledger")
}
