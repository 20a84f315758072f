//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"meshlite.dev/test/lab"
)

// outage is how long a dead control plane or catalog stays dead.
const outage = 60 * time.Second

// underLoad starts orders with three instances, a server, a client and its
// load, and hands over once calls are answered.
func underLoad(t *testing.T, l *lab.Lab, meta map[string]string) ([]*lab.Echo, *lab.Sidecar, *lab.Load) {
	t.Helper()
	es := l.StartEcho("orders", 3, meta)
	ins := lab.Instances(es)
	if _, ok := l.Registry.(*lab.Consul); ok {
		for i := range ins {
			ins[i].Check = lab.TTL(ins[i].ID)
			es[i].Check = ins[i].Check
		}
	}
	l.Registry.Register(ins...)
	if l.Server == nil {
		l.StartServer("--drain-grace", "5s")
	}
	client := l.Sidecar("client")
	client.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	load := client.Load(rate, http.MethodGet, "http://orders/")
	waitCalls(t, load, rate)
	return es, client, load
}

// gone waits until an instance gets no call any more.
func gone(t *testing.T, load *lab.Load, id string, limit time.Duration) {
	t.Helper()
	lab.Until(t, limit, "no call reaches "+id, func() error {
		if n := load.Calls().Since(time.Now().Add(-time.Second)).ByInstance()[id]; n > 0 {
			return fmt.Errorf("%d calls within a second", n)
		}
		return nil
	})
}

// TestInstanceDeregisters takes an instance away under load.
func TestInstanceDeregisters(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, l *lab.Lab) {
		es, _, load := underLoad(t, l, nil)
		l.Registry.Deregister(es[0].Instance)
		gone(t, load, es[0].ID, 20*time.Second)
		es[0].Stop(5 * time.Second)
		waitCalls(t, load, 2*rate)
		calls := load.Finish()
		clean(t, calls)
		if n := len(calls.Since(time.Now().Add(-time.Second)).ByInstance()); n != 2 {
			t.Errorf("%d instances answer at the end, want 2", n)
		}
	})
}

// TestInstanceGoesCritical stops calling an instance whose check fails, and
// calls it again once it passes.
func TestInstanceGoesCritical(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	consul := l.UseConsul()
	es, client, load := underLoad(t, l, nil)
	consul.SetHealth(es[0].ID, "critical")
	gone(t, load, es[0].ID, 10*time.Second)
	if hosts := client.Hosts("orders"); len(hosts) != 3 {
		t.Errorf("Envoy knows %d endpoints; critical ones are sent, not dropped", len(hosts))
	}
	consul.SetHealth(es[1].ID, "critical")
	gone(t, load, es[1].ID, 10*time.Second)
	waitCalls(t, load, rate)
	if by := load.Calls().Since(time.Now().Add(-500 * time.Millisecond)).ByInstance(); len(by) != 1 {
		t.Errorf("with 2 of 3 critical, calls reach %v", by)
	}
	consul.SetHealth(es[2].ID, "critical")
	lab.Until(t, 10*time.Second, "all critical are all called", func() error {
		if by := load.Calls().Since(time.Now().Add(-time.Second)).ByInstance(); len(by) != 3 {
			return fmt.Errorf("calls reach %v", by)
		}
		return nil
	})
	consul.SetHealth(es[0].ID, "passing")
	gone(t, load, es[1].ID, 10*time.Second)
	clean(t, load.Finish())
}

// TestInstanceMaintenance drains an instance, which then dies.
func TestInstanceMaintenance(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	consul := l.UseConsul()
	es, client, load := underLoad(t, l, nil)
	consul.Maintenance(es[0].ID, true)
	gone(t, load, es[0].ID, 10*time.Second)
	es[0].Kill()
	waitCalls(t, load, rate)
	lab.Until(t, 20*time.Second, "the drained instance is removed after the grace", func() error {
		if n := len(client.Hosts("orders")); n != 2 {
			return fmt.Errorf("Envoy knows %d endpoints", n)
		}
		return nil
	})
	clean(t, load.Finish())
}

// TestInstanceKilled ends a process, its connections with it, while 50 slow
// GETs are in flight: they are tried again elsewhere and the instance is
// ejected.
func TestInstanceKilled(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	es, client, load := underLoad(t, l, nil)
	var inFlight sync.WaitGroup
	slow := make([]lab.Call, 50)
	for i := range slow {
		inFlight.Go(func() {
			slow[i].At = time.Now()
			slow[i].Answer, slow[i].Err = client.Do(http.MethodGet, "http://orders/?delay=8s")
		})
	}
	lab.Until(t, 10*time.Second, "some of them are in flight on the victim", func() error {
		if c := es[0].Counts(); c.InFlight < 8 {
			return fmt.Errorf("%d in flight", c.InFlight)
		}
		return nil
	})
	es[0].Kill()
	lab.Until(t, 15*time.Second, "the instance is ejected", func() error {
		if n := client.Ejected("orders"); n != 1 {
			return fmt.Errorf("%d ejected", n)
		}
		return nil
	})
	inFlight.Wait()
	clean(t, slow)
	waitCalls(t, load, rate)
	calls := load.Finish()
	clean(t, calls)
	if n := calls.Since(time.Now().Add(-500 * time.Millisecond)).ByInstance()[es[0].ID]; n > 0 {
		t.Errorf("%d calls were answered by a dead instance", n)
	}
}

// TestP1StaticStabilityWhenTheServerIsKilled lets the control plane be dead for a minute and come back:
// unchanged proxies then receive nothing.
func TestP1StaticStabilityWhenTheServerIsKilled(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, l *lab.Lab) {
		es, client, load := underLoad(t, l, nil)
		updates := func() int {
			return client.Stat("cluster_manager.cds.update_success") + client.Stat("listener_manager.lds.update_success") + client.Stat("cluster.orders.update_success")
		}
		before := updates()
		l.Server.Kill()
		died := time.Now()
		lab.Hold(t, outage/2, "Envoy keeps its endpoints", keeps(client, 3))
		es[2].Kill() // and an instance dies meanwhile: retry and ejection need no control plane
		lab.Hold(t, outage-time.Since(died), "Envoy keeps its endpoints", keeps(client, 3))
		es[2].Restart()
		l.Server.Start()
		l.Server.WaitReady(20 * time.Second)
		lab.Until(t, 60*time.Second, "the proxy is back and SYNCED", func() error {
			proxies, err := l.Server.Proxies()
			if err != nil {
				return err
			}
			if len(proxies) != 1 || !proxies[0].Connected || proxies[0].Status != "SYNCED" {
				return fmt.Errorf("proxies: %+v", proxies)
			}
			return nil
		})
		waitCalls(t, load, rate)
		clean(t, load.Finish())
		if n := metric(t, l.Server, "meshlite_xds_resources_sent_total"); n != 0 {
			t.Errorf("an unchanged proxy received %v resources after the restart", n)
		}
		if after := updates(); after != before {
			t.Logf("Envoy counts %d updates before and %d after (empty answers count)", before, after)
		}
	})
}

func keeps(client *lab.Sidecar, n int) func() error {
	return func() error {
		if got := len(client.Hosts("orders")); got != n {
			return fmt.Errorf("Envoy knows %d endpoints of orders, want %d", got, n)
		}
		return nil
	}
}

// metric sums the samples of a Prometheus metric; 0 when there is none.
func metric(t *testing.T, s *lab.Server, name string) float64 {
	t.Helper()
	sum := 0.0
	for line := range strings.Lines(s.Text("/metrics")) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || (rest[0] != ' ' && rest[0] != '{') {
			continue
		}
		var v float64
		if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' ')+1:], &v); err != nil {
			t.Fatalf("metric %s: %v", line, err)
		}
		sum += v
	}
	return sum
}

// TestP1StaticStabilityWhenConsulIsKilled kills a Consul server that keeps its data for a minute.
func TestP1StaticStabilityWhenConsulIsKilled(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	consul := l.UseConsul(l.DataFolder()...)
	_, client, load := underLoad(t, l, nil)
	consul.Kill()
	lab.Hold(t, outage, "no endpoint goes", keeps(client, 3))
	consul.Start()
	consul.WaitReady(60 * time.Second)
	lab.Hold(t, 10*time.Second, "no endpoint goes once Consul is back", keeps(client, 3))
	waitCalls(t, load, rate)
	clean(t, load.Finish())
}

// TestConsulRestoredEmpty kills a Consul that forgets everything: its return
// is a mass loss that the guard holds until somebody accepts it.
func TestConsulRestoredEmpty(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	consul := l.UseConsul()
	es, client, load := underLoad(t, l, nil)
	consul.Kill()
	lab.Hold(t, 5*time.Second, "no endpoint goes", keeps(client, 3))
	consul.Start()
	consul.WaitReady(60 * time.Second)
	lab.Until(t, 30*time.Second, "the guard holds and says so", func() error {
		out := l.Meshctl("service", "list")
		if out.Code != 0 || metric(t, l.Server, "meshlite_catalog_holds") == 0 {
			return fmt.Errorf("no hold: %s%s", out.Stdout, out.Stderr)
		}
		return nil
	})
	lab.Hold(t, 10*time.Second, "no endpoint goes", keeps(client, 3))
	// Two of three come back; the third is believed lost only by a word.
	l.Registry.Register(es[0].Instance, es[1].Instance)
	lab.Hold(t, 5*time.Second, "no endpoint goes", keeps(client, 3))
	clean(t, load.Finish())
	l.MustMeshctl("service", "accept", "orders")
	lab.Until(t, 15*time.Second, "the loss is accepted", keeps(client, 2))
}

// TestP4LastKnownGoodWithPolicies serves last known good, with its policies,
// marked stale, and is ready.
func TestP4LastKnownGoodWithPolicies(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	consul := l.UseConsul(l.DataFolder()...)
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 7s}"))
	_, client, load := underLoad(t, l, nil)
	inForce(t, l, "rp/default/orders@1")
	lastKnownGood(t, l, "orders-3", "7s")
	consul.Kill()
	l.Server.Kill()
	l.Server.Start()
	l.Server.WaitReady(30 * time.Second)
	newcomer := l.Sidecar("newcomer")
	newcomer.WaitStatus("http://orders/", http.StatusOK, 15*time.Second)
	if out := l.MustMeshctl("policy", "explain", "orders", "--field", "timeouts.request"); !strings.Contains(out, "7s") || !strings.Contains(out, "rp/default/orders@1") {
		t.Errorf("explain says\n%s", out)
	}
	var catalog struct {
		Stale bool `json:"stale"`
	}
	l.Server.Get("/debug/catalog", &catalog)
	if !catalog.Stale {
		t.Errorf("/debug/catalog does not say stale: %s", l.Server.Text("/debug/catalog"))
	}
	lab.Hold(t, 5*time.Second, "no endpoint goes", keeps(client, 3))
	consul.Start()
	consul.WaitReady(60 * time.Second)
	lab.Until(t, 60*time.Second, "the server reads Consul again", func() error {
		l.Server.Get("/debug/catalog", &catalog)
		if catalog.Stale {
			return errors.New("still stale")
		}
		return nil
	})
	lab.Hold(t, 3*time.Second, "no endpoint goes", keeps(client, 3))
	waitCalls(t, load, rate)
	clean(t, load.Finish())
}

// lastKnownGood waits until the state file holds each text.
func lastKnownGood(t *testing.T, l *lab.Lab, texts ...string) {
	t.Helper()
	lab.Until(t, 20*time.Second, "state.json holds the last known good", func() error {
		raw, err := os.ReadFile(filepath.Join(l.Server.State, "state.json"))
		if err != nil {
			return err
		}
		for _, text := range texts {
			if !strings.Contains(string(raw), text) {
				return fmt.Errorf("it lacks %s", text)
			}
		}
		return nil
	})
}

// TestServerReadsItsSettings: a taken port and a missing folder fail the
// start with a sentence.
func TestServerRefusesToStart(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	running := l.StartServer()
	for _, tc := range []struct {
		name  string
		flags []string
		want  string
	}{
		{"a port that is taken", []string{"--xds-addr", running.XDS}, running.XDS},
		{"a folder that is not there", []string{"--catalog-dir", "/nonexistent/catalog"}, "/nonexistent/catalog"},
		{"policies that are not there", []string{"--policy-dir", "/nonexistent/policies"}, "/nonexistent/policies"},
		{"an address for others without credentials", []string{"--admin-addr", "0.0.0.0:0"}, "--insecure"},
		{"an unknown flag", []string{"--frobnicate"}, "frobnicate"},
		{"a file with an unknown setting", []string{"--config", config(t, l, "xdsAddress: 127.0.0.1:1")}, "xdsAddress"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inner := &lab.Lab{T: t, Dir: t.TempDir(), Registry: l.Registry, Policies: l.Policies}
			s := inner.NewServer(tc.flags...)
			s.Start()
			select {
			case <-s.Done():
			case <-time.After(15 * time.Second):
				t.Fatalf("it runs")
			}
			log := s.Log()
			if s.ExitCode() == 0 || !strings.Contains(log, tc.want) || strings.Contains(log, "goroutine ") {
				t.Errorf("exit %d, log %q; want %q in it", s.ExitCode(), log, tc.want)
			}
		})
	}
}

func config(t *testing.T, l *lab.Lab, spec string) string {
	t.Helper()
	path := filepath.Join(l.Dir, "config.yaml")
	if err := os.WriteFile(path, []byte("apiVersion: config.meshlite.dev/v1alpha1\nkind: ServerConfig\nspec:\n  "+spec+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
