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

// twoDatacenters starts the Consuls of dc1, the lab's registry, and of dc2,
// joined over WAN.
func twoDatacenters(l *lab.Lab) (here, far *lab.Consul) {
	l.Helper()
	wan := lab.FreePort(l)
	quick := "-hcl=gossip_wan { gossip_interval = \"100ms\" probe_interval = \"100ms\" probe_timeout = \"100ms\" }"
	far = l.UseConsul("-dev", "-datacenter=dc2", fmt.Sprint("-serf-wan-port=", wan), quick)
	here = l.UseConsul("-dev", "-datacenter=dc1", fmt.Sprint("-serf-wan-port=", lab.FreePort(l)),
		fmt.Sprintf("-retry-join-wan=127.0.0.1:%d", wan), "-retry-interval-wan=1s", quick)
	lab.Until(l, 20*time.Second, "dc1 knows dc2", func() error {
		return here.Try(http.MethodGet, "/v1/catalog/nodes?dc=dc2", nil)
	})
	return here, far
}

// TestARouteToAnotherDatacenterLosesNoCall: a rule that newly names a
// datacenter is in force once its instances are known, not before.
func TestARouteToAnotherDatacenterLosesNoCall(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	here, far := twoDatacenters(l)
	here.Register(lab.Instances(l.StartEcho("orders", 1, nil))...)
	remote := l.StartEcho("remote", 1, nil)[0].Instance
	remote.Name = "orders"
	far.Register(remote)
	l.StartServer()
	client := l.Sidecar("client")
	client.WaitStatus("http://orders/", http.StatusOK, 15*time.Second)
	load := client.Load(500, http.MethodGet, "http://orders/")
	waitCalls(t, load, 500)
	l.Policies.Write("orders.yaml", `apiVersion: meshlite.dev/v1alpha1
kind: TrafficRoute
metadata: {name: orders}
spec: {service: orders, rules: [{name: all, backends: [{datacenter: dc2}]}]}
`)
	lab.Until(t, 10*time.Second, "calls go to dc2", func() error {
		if a := client.Get("http://orders/"); a.Instance != "remote-1" {
			return fmt.Errorf("%d from %q", a.Status, a.Instance)
		}
		return nil
	})
	waitCalls(t, load, 500)
	clean(t, load.Finish())
}

// TestFailoverToAnotherDatacenter: a rule names a datacenter; where nothing of
// its own is healthy, calls go there, whatever becomes of that datacenter's
// Consul and of the server meanwhile.
func TestFailoverToAnotherDatacenter(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	here, far := twoDatacenters(l)
	orders := l.StartEcho("orders", 1, nil)
	orders[0].Check = lab.TTL("orders-1")
	here.Register(lab.Instances(orders)...)
	remote := l.StartEcho("remote", 1, nil)[0].Instance
	remote.Name = "orders"
	far.Register(remote)

	l.Policies.Write("orders.yaml", `apiVersion: meshlite.dev/v1alpha1
kind: TrafficRoute
metadata: {name: orders}
spec:
  service: orders
  rules:
  - {name: far, matches: [{path: {type: Prefix, value: /far}}], backends: [{datacenter: dc2}]}
  - {name: own, matches: [{path: {type: Prefix, value: /own}}], backends: [{datacenter: dc1}]}
  - {name: all, failover: [{datacenter: dc2}]}
`)
	server := l.StartServer()
	client := l.Sidecar("client")
	arrives := func(path, instance string) func() error {
		return func() error {
			if a := client.Get("http://orders" + path); a.Status != http.StatusOK || a.Instance != instance {
				return fmt.Errorf("%d %s from %q", a.Status, a.Reason, a.Instance)
			}
			return nil
		}
	}
	lab.Until(t, 20*time.Second, "the other datacenter is reached", arrives("/far", "remote-1"))
	lab.Until(t, 5*time.Second, "a rule may name its own datacenter", arrives("/own", "orders-1"))
	lab.Until(t, 5*time.Second, "the own datacenter comes first", arrives("/", "orders-1"))

	load := client.Load(100, http.MethodGet, "http://orders/")
	waitCalls(t, load, 100)
	here.SetHealth("orders-1", "critical")
	lab.Until(t, 5*time.Second, "the other datacenter takes over", arrives("/", "remote-1"))
	far.Kill()
	lab.Hold(t, 3*time.Second, "its Consul is away, its instances stay", arrives("/", "remote-1"))
	lastKnownGood(t, l, "remote-1")
	server.Kill()
	server.Start()
	server.WaitReady(30 * time.Second)
	newcomer := l.Sidecar("newcomer")
	newcomer.WaitStatus("http://orders/far", http.StatusOK, 15*time.Second)
	lab.Hold(t, 2*time.Second, "a new server knows them from the one before", arrives("/", "remote-1"))
	here.SetHealth("orders-1", "passing")
	lab.Until(t, 10*time.Second, "the own datacenter is back", arrives("/", "orders-1"))
	clean(t, load.Finish())
	if out := l.Meshctl("doctor"); out.Code != 79 || !strings.Contains(out.Stdout, "datacenter dc2 does not answer") {
		t.Errorf("doctor: exit %d\n%s", out.Code, out.Stdout)
	}
}
