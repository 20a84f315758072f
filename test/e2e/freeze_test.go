//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"meshlite.dev/test/lab"
)

// TestFreeze: while frozen instances come and go on the Envoy and policies wait,
// over a restart too; the end lets them in.
func TestFreeze(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	s := l.StartServer()
	client := l.Sidecar("client")
	client.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	timeout := func(want string) func() error {
		return func() error {
			if got := at(readDump(t, client).part(route, "orders"), "route.timeout"); got != want {
				return fmt.Errorf("the timeout is %v", got)
			}
			return nil
		}
	}
	l.MustMeshctl("freeze", "--reason", "sale")
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 7s}"))
	l.Registry.Register(lab.Instance{ID: "more", Name: "orders", Address: "127.0.1.9", Port: 9}, lab.Instance{ID: "fresh", Name: "fresh", Address: "127.0.1.8", Port: 9})
	lab.Until(t, 10*time.Second, "the new instance is there", func() error {
		if n := len(client.Hosts("orders")); n != 2 {
			return fmt.Errorf("%d instances", n)
		}
		return nil
	})
	lab.Hold(t, time.Second, "the policy and the new service wait", func() error {
		a, err := client.Do(http.MethodGet, "http://fresh/")
		if err == nil && a.Status != http.StatusNotFound {
			err = fmt.Errorf("fresh answers %d", a.Status)
		}
		if err != nil {
			return err
		}
		return timeout("15s")()
	})
	s.Kill()
	s.Start()
	s.WaitReady(20 * time.Second)
	if out := l.Meshctl("freeze"); out.Code != 79 || !strings.Contains(out.Stdout, "sale") {
		t.Errorf("after a restart meshctl freeze ends with %d: %s%s", out.Code, out.Stdout, out.Stderr)
	}
	lab.Hold(t, time.Second, "the policy waits on", timeout("15s"))
	l.MustMeshctl("freeze", "--off")
	lab.Until(t, 10*time.Second, "the policy is in force", timeout("7s"))
}
