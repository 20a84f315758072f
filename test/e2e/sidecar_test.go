//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"meshlite.dev/test/lab"
)

// TestProxyRun starts Envoy through meshctl, drains it on SIGTERM, and lets
// calls under way end.
func TestProxyRun(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	l.StartServer()
	s := l.NewSidecar("client", "client-run")
	s.Run()
	s.WaitReady(20 * time.Second)
	s.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	var wg sync.WaitGroup
	var slow lab.Answer
	var slowErr error
	wg.Go(func() { slow, slowErr = s.Do(http.MethodGet, "http://orders/?delay=2s") })
	lab.Until(t, 5*time.Second, "the slow call is under way", func() error {
		if s.Stat("cluster.orders.upstream_rq_active") == 0 {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	s.Signal(syscall.SIGTERM)
	wg.Wait()
	if slowErr != nil || slow.Status != http.StatusOK {
		t.Errorf("a call under way while the sidecar drains: %d %v", slow.Status, slowErr)
	}
	select {
	case <-s.Done():
	case <-time.After(40 * time.Second):
		t.Fatal("meshctl proxy run does not end")
	}
	if code := s.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := s.Do(http.MethodGet, "http://orders/"); err == nil {
		t.Error("Envoy still listens")
	}
}

// TestProxyDrain: meshctl finds the Envoy by the server, calls under way end,
// new ones are not taken, and the Envoy goes on.
func TestProxyDrain(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	l.StartServer()
	s := l.Sidecar("client")
	s.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	slow := make(chan lab.Answer, 1)
	go func() {
		a, _ := s.Do(http.MethodGet, "http://orders/?delay=2s") // judged by its status
		slow <- a
	}()
	lab.Until(t, 5*time.Second, "the slow call is under way", func() error {
		if s.Stat("cluster.orders.upstream_rq_active") == 0 {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	out := l.MustMeshctl("proxy", "drain", s.ID)
	if a := <-slow; a.Status != http.StatusOK {
		t.Errorf("the call under way ended with %d", a.Status)
	}
	if !strings.Contains(out, s.ID+" is drained") {
		t.Errorf("drain says %q", out)
	}
	lab.Until(t, 10*time.Second, "no new call is taken", func() error {
		s.Client().CloseIdleConnections()
		if a, err := s.Do(http.MethodGet, "http://orders/"); err == nil {
			return fmt.Errorf("%d", a.Status)
		}
		return nil
	})
	if !s.Alive() {
		t.Error("Envoy has ended")
	}
}

// TestStateOfTheWorld serves a real Envoy that speaks the older form of xDS.
func TestStateOfTheWorld(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	es := l.Service("orders", 3)
	l.StartServer()
	s := l.NewSidecar("client", "client-sotw", "--upstream", "orders")
	s.EditBootstrap(func(text string) string { return strings.ReplaceAll(text, "DELTA_GRPC", "GRPC") })
	s.Start()
	s.WaitReady(20 * time.Second)
	s.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	proxies, err := l.Server.Proxies()
	if err != nil || len(proxies) != 1 || proxies[0].Protocol != "sotw" {
		t.Errorf("proxies: %+v, %v", proxies, err)
	}
	load := s.Load(rate, http.MethodGet, "http://orders/")
	l.Service("stock", 1)
	s.WaitStatus("http://stock/", http.StatusOK, 10*time.Second)
	l.Registry.Deregister(es[0].Instance)
	gone(t, load, es[0].ID, 10*time.Second)
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  timeouts: {request: 6s}"))
	lab.Until(t, 15*time.Second, "the policy arrives", func() error {
		if got := at(readDump(t, s).part(route, "orders"), "route.timeout"); got != "6s" {
			return fmt.Errorf("the timeout is %v", got)
		}
		return nil
	})
	l.Server.Kill()
	waitCalls(t, load, rate)
	l.Server.Start()
	l.Server.WaitReady(20 * time.Second)
	l.Service("billing", 1)
	s.WaitStatus("http://billing/", http.StatusOK, 30*time.Second)
	clean(t, load.Finish())
	lab.Until(t, 10*time.Second, "all is acknowledged", func() error { return allSynced(l) })
}

// TestServicesComeAndGo adds and removes services under load on others: no
// call meets a route without its cluster.
func TestServicesComeAndGo(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 2)
	one := l.StartEcho("one", 1, nil)[0]
	l.StartServer()
	client := l.Sidecar("client")
	client.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	load := client.Load(rate, http.MethodGet, "http://orders/")
	for i := range 10 {
		in := one.Instance
		in.Name, in.ID = fmt.Sprintf("s%d", i), fmt.Sprintf("s%d-1", i)
		l.Registry.Register(in)
		lab.Until(t, 10*time.Second, in.Name+" answers", func() error {
			a, err := client.Do(http.MethodGet, "http://"+in.Name+"/")
			switch {
			case err != nil:
				return err
			case a.Status == http.StatusNotFound:
				return fmt.Errorf("404")
			case a.Status != http.StatusOK:
				return lab.Stop(fmt.Errorf("%d %s", a.Status, a.Reason))
			}
			return nil
		})
	}
	for i := range 10 {
		l.Registry.Deregister(lab.Instance{Name: fmt.Sprintf("s%d", i), ID: fmt.Sprintf("s%d-1", i)})
		l.Meshctl("service", "accept", "--all")
		lab.Until(t, 20*time.Second, "the service is gone", func() error {
			a, err := client.Do(http.MethodGet, fmt.Sprintf("http://s%d/", i))
			switch {
			case err != nil:
				return err
			case a.Status == http.StatusOK:
				return fmt.Errorf("200")
			case a.Status != http.StatusNotFound && a.Status != http.StatusServiceUnavailable:
				return lab.Stop(fmt.Errorf("%d %s", a.Status, a.Reason))
			}
			return nil
		})
	}
	clean(t, load.Finish())
}

// TestOnlyEndpointsMove: an instance that comes or goes changes no cluster,
// so connections and ejections stay.
func TestOnlyEndpointsMove(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	es := l.Service("orders", 3)
	l.StartServer()
	client := l.Sidecar("client")
	client.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	for range 30 {
		client.Get("http://orders/")
	}
	version := func() string { return fmt.Sprint(readDump(t, client).clusters["orders"]) }
	before, modified := version(), client.Stat("cluster_manager.cluster_modified")
	l.Registry.Deregister(es[0].Instance)
	lab.Until(t, 10*time.Second, "the endpoint is gone", keeps(client, 2))
	l.Registry.Register(es[0].Instance)
	lab.Until(t, 10*time.Second, "the endpoint is back", keeps(client, 3))
	if after := version(); after != before {
		t.Errorf("the cluster changed from\n%s\nto\n%s", before, after)
	}
	if n := client.Stat("cluster_manager.cluster_modified"); n != modified {
		t.Errorf("%d clusters were modified", n-modified)
	}
}
