package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"meshlite.dev/test/lab"
)

// rate is the calls a second of every load in the demo.
const rate = 100

type scene struct {
	*stage
	lab    *lab.Lab
	orders []*lab.Echo
	client *lab.Sidecar
}

func play(s *stage, consul bool) {
	sc := &scene{stage: s, lab: lab.New(s)}
	sc.start(consul)
	sc.callsSpread()
	sc.instanceDies()
	sc.policyEdited()
	sc.badPolicy()
	sc.trafficSplit()
	sc.controlPlaneKilled()
}

// start brings up the mesh.
func (s *scene) start(consul bool) {
	if consul {
		s.title("Start Consul, three instances of orders, xds-server, and an Envoy beside each process")
		s.lab.UseConsul()
	} else {
		s.title("Start three instances of orders, xds-server, and an Envoy beside each process")
	}
	s.orders = s.lab.Service("orders", 3)
	server := s.lab.StartServer()
	s.lab.Sidecars("orders", len(s.orders))
	s.client = s.lab.Sidecar("client")
	s.Logf("xds-server %s", strings.Join(s.lab.Registry.Flags(), " "))
	s.Logf("orders     %s", strings.Join(addresses(s.orders), "  "))
	s.Logf("client     HTTP_PROXY=http://127.0.0.1:%d", s.client.Outbound)
	s.client.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	var version struct {
		Version string `json:"version"`
	}
	server.Get("/v1/version", &version)
	s.show("4 Envoys take their configuration from xds-server %s", version.Version)
}

func (s *scene) callsSpread() {
	s.title("The client calls http://orders/ through its sidecar; no service has a library")
	calls := s.load(2 * time.Second)
	s.clean(calls)
	by := calls.ByInstance()
	if len(by) != 3 {
		s.Fatalf("calls reached %v", by)
	}
	for _, host := range []string{"orders.mesh", "orders.service.consul:8080"} {
		if a := s.client.Get("http://" + host + "/"); a.Status != http.StatusOK {
			s.Fatalf("http://%s/ answered %d %s", host, a.Status, a.Reason)
		}
	}
	unknown := s.client.Get("http://nobody/")
	s.Logf("http://nobody/ → %d, x-mesh-reason: %s", unknown.Status, unknown.Reason)
	s.show("%d calls, 0 failed, spread over three instances: %s", len(calls), spread(by))
}

func (s *scene) instanceDies() {
	victim := s.orders[1]
	s.title("kill -9 of " + victim.ID + " under load: tried again elsewhere, then ejected")
	load := s.client.Load(rate, http.MethodGet, "http://orders/")
	s.waitCalls(load, 50)
	victim.Kill()
	killed := time.Now()
	took := lab.Until(s, 15*time.Second, "the client's Envoy ejects "+victim.ID, func() error {
		if n := s.client.Ejected("orders"); n != 1 {
			return fmt.Errorf("%d ejected", n)
		}
		return nil
	})
	s.waitCalls(load, len(load.Calls())+100)
	calls := load.Finish()
	s.clean(calls)
	s.Logf("ejected %s after the kill", took.Round(10*time.Millisecond))
	s.show("%d calls, %d of them after the kill, 0 failed; %s is ejected", len(calls), len(calls.Since(killed)), victim.ID)
	s.lab.Registry.Deregister(victim.Instance)
	s.lab.MustMeshctl("service", "accept", "orders")
}

const retryPolicy = `apiVersion: meshlite.dev/v1alpha1
kind: ResiliencePolicy
metadata: {name: orders}
spec:
  targetRefs: [{kind: Service, name: orders}]
  retry:
    attempts: 4
    statusCodes: [503]
    budget: {percent: 100, minConcurrency: 20}
  outlierDetection: {mode: Monitor}
`

func (s *scene) policyEdited() {
	sick := s.orders[0]
	s.title(sick.ID + " answers 503 to every second call; a policy says: try again elsewhere")
	sick.Fail("status=503&percent=50")
	before := s.load(time.Second)
	s.Logf("before: %s", before)
	if len(before.Failed()) == 0 {
		s.Fatalf("no call failed, although %s answers 503", sick.ID)
	}
	s.lab.Policies.Write("orders.yaml", retryPolicy)
	s.Logf("write policies/orders.yaml:")
	s.quote(retryPolicy)
	lab.Until(s, 15*time.Second, "the policy is in force", func() error {
		out := s.lab.Meshctl("policy", "explain", "orders", "--field", "retry.attempts")
		if !strings.Contains(out.Stdout, "rp/default/orders") {
			return fmt.Errorf("%s%s", out.Stdout, out.Stderr)
		}
		return nil
	})
	s.waitSynced()
	after := s.load(2 * time.Second)
	s.clean(after)
	s.Logf("$ meshctl policy explain orders --field retry.attempts")
	s.quote(s.lab.MustMeshctl("policy", "explain", "orders", "--field", "retry.attempts"))
	s.show("before %d of %d calls failed, with the policy 0 of %d; explain names rp/default/orders", len(before.Failed()), len(before), len(after))
	sick.Fail("")
}

const badPolicy = `apiVersion: meshlite.dev/v1alpha1
kind: ResiliencePolicy
metadata: {name: orders}
spec:
  targetRefs: [{kind: Service, name: orders}]
  retry: {attempts: 40}
  timeouts: {request: soon}
`

func (s *scene) badPolicy() {
	s.title("The same file with two mistakes: refused with the reasons, the last good one stays")
	path := s.lab.Policies.Write("orders.yaml", badPolicy)
	s.Logf("$ meshctl policy validate -f policies/orders.yaml")
	out := s.lab.Meshctl("policy", "validate", "-f", path)
	s.quote(out.Stdout + out.Stderr)
	if out.Code != 65 {
		s.Fatalf("meshctl policy validate ended with %d; 65 is bad input", out.Code)
	}
	var findings struct {
		Items []struct{ Code, Document, Path, Message string }
	}
	lab.Until(s, 15*time.Second, "the server reports the refusal", func() error {
		if err := s.lab.Server.Try("/v1/findings", &findings); err != nil {
			return err
		}
		if !slices.ContainsFunc(findings.Items, func(f struct{ Code, Document, Path, Message string }) bool { return f.Code == "MESH0019" }) {
			return fmt.Errorf("findings: %v", findings.Items)
		}
		return nil
	})
	explain := s.lab.MustMeshctl("policy", "explain", "orders", "--field", "retry.attempts")
	if !strings.Contains(explain, "rp/default/orders@1") {
		s.Fatalf("explain says %s", explain)
	}
	calls := s.load(time.Second)
	s.clean(calls)
	s.show("refused (exit code 65, finding MESH0019); rp/default/orders@1 stays in force, %d calls, 0 failed", len(calls))
}

func (s *scene) controlPlaneKilled() {
	s.title("kill -9 of xds-server: calls go on without it")
	load := s.client.Load(rate, http.MethodGet, "http://orders/")
	s.lab.Server.Kill()
	killed := time.Now()
	lab.Until(s, 20*time.Second, "5 seconds of calls", func() error {
		if n := len(load.Calls()); n < 5*rate {
			return fmt.Errorf("%d calls so far", n)
		}
		return nil
	})
	s.Logf("%s without a control plane: %s", time.Since(killed).Round(time.Second), load.Calls())
	s.lab.Server.Start()
	s.lab.Server.WaitReady(20 * time.Second)
	s.waitSynced()
	calls := load.Finish()
	s.clean(calls)
	s.Logf("$ meshctl proxy status")
	s.quote(s.lab.MustMeshctl("proxy", "status"))
	s.show("%d calls, 0 failed, while xds-server was dead and while it came back", len(calls))
}

// load calls orders for span and returns the calls.
func (s *scene) load(span time.Duration) lab.Calls {
	load := s.client.Load(rate, http.MethodGet, "http://orders/")
	s.waitCalls(load, int(span.Seconds()*rate))
	return load.Finish()
}

func (s *scene) waitCalls(load *lab.Load, n int) {
	lab.Until(s, 30*time.Second, "calls are answered", func() error {
		if got := len(load.Calls()); got < n {
			return fmt.Errorf("%d of %d", got, n)
		}
		return nil
	})
}

// waitSynced waits until every sidecar has what the server wants it to have.
func (s *scene) waitSynced() {
	lab.Until(s, 30*time.Second, "all proxies are SYNCED", func() error {
		proxies, err := s.lab.Server.Proxies()
		if err != nil {
			return err
		}
		if len(proxies) < 4 {
			return fmt.Errorf("%d proxies of 4", len(proxies))
		}
		for _, p := range proxies {
			if p.Status != "SYNCED" {
				return fmt.Errorf("%s is %s", p.ID, p.Status)
			}
		}
		return nil
	})
}

func (s *scene) clean(calls lab.Calls) {
	if len(calls.Failed()) > 0 {
		s.Fatalf("%s", calls)
	}
}

func (s *scene) quote(text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		fmt.Print("     | " + line)
	}
}

func addresses(es []*lab.Echo) []string {
	var out []string
	for _, e := range es {
		out = append(out, fmt.Sprintf("%s %s:%d", e.ID, e.Address, e.Port))
	}
	return out
}

func spread(by map[string]int) string {
	var out []string
	for id, n := range by {
		out = append(out, fmt.Sprintf("%s %d", id, n))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
