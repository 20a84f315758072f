package lab

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestLoadCountsWhatHappens puts the measuring itself to the test: a load on
// an instance that is healthy, fails, hangs up, and dies.
func TestLoadCountsWhatHappens(t *testing.T) {
	Binaries.Echo = filepath.Join(t.TempDir(), "echo")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", Binaries.Echo, "meshlite.dev/test/apps/echo").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l := New(t)
	e := l.Service("orders", 1)[0]
	client := &http.Client{Timeout: 5 * time.Second}
	url := fmt.Sprintf("http://%s:%d", e.Address, e.Port)
	step := func(name string, n int) Calls {
		load := l.Load(200, client, http.MethodGet, url)
		Until(t, 10*time.Second, name, func() error {
			if len(load.Calls()) < n {
				return errNotYet
			}
			return nil
		})
		return load.Finish()
	}
	good := step("healthy", 50)
	if len(good.Failed()) > 0 || good.ByInstance()["orders-1"] != len(good) {
		t.Errorf("a healthy instance: %s", good)
	}
	if c := e.ResetCounts(); c.Total != len(good) || c.Methods["GET"] != len(good) || c.InFlight != 0 {
		t.Errorf("the instance counts %+v for %s", c, good)
	}
	e.Fail("status=503")
	if bad := step("at 503", 20); len(bad.Failed()) != len(bad) || bad[0].Status != 503 {
		t.Errorf("an instance that answers 503: %s", bad)
	}
	e.Fail("reset=true")
	if bad := step("hanging up", 20); len(bad.Failed()) != len(bad) || bad[0].Err == nil {
		t.Errorf("an instance that hangs up: %s", bad)
	}
	e.Fail("delay=200ms")
	if slow := step("slow", 20); len(slow.Failed()) > 0 || slow.Slowest() < 200*time.Millisecond {
		t.Errorf("a slow instance: %s, slowest %s", slow, slow.Slowest())
	}
	e.Kill()
	if bad := step("dead", 20); len(bad.Failed()) != len(bad) {
		t.Errorf("a dead instance: %s", bad)
	}
	e.Restart()
	if again := step("restarted", 20); len(again.Failed()) > 0 {
		t.Errorf("a restarted instance: %s", again)
	}
}
