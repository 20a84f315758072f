//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/test/apps/echoapi"
	"meshlite.dev/test/lab"
)

const waitUnit = time.Second

// rate is the requests a second of every load here.
const rate = 300

// onBoth runs a scenario over a folder and over a real Consul.
func onBoth(t *testing.T, scenario func(*testing.T, *lab.Lab)) {
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		scenario(t, lab.New(t))
	})
	t.Run("consul", func(t *testing.T) {
		t.Parallel()
		l := lab.New(t)
		l.UseConsul()
		scenario(t, l)
	})
}

// TestCalls reaches every instance of a service in every way a client can.
func TestCalls(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, l *lab.Lab) {
		l.Service("orders", 3)
		l.ServiceWith("stock", 2, map[string]string{"protocol": "http2"})
		l.StartServer()
		client := l.Sidecar("client", "--upstream", "orders", "--upstream", "stock")
		client.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
		client.WaitStatus("http://stock/", http.StatusOK, 10*time.Second)

		for _, url := range []string{
			"http://orders/", "http://orders.mesh/", "http://orders.service.consul:8080/", "http://ORDERS:1/",
			client.Local("orders"), "http://stock/", client.Local("stock"),
		} {
			reached := map[string]bool{}
			for range 60 {
				var a lab.Answer
				if strings.HasPrefix(url, "http://127.") {
					var err error
					if a, err = lab.Do(t.Context(), http.DefaultClient, http.MethodGet, url); err != nil {
						t.Fatalf("GET %s: %v", url, err)
					}
				} else {
					a = client.Get(url)
				}
				if a.Status != http.StatusOK {
					t.Fatalf("GET %s: %d %s %s", url, a.Status, a.Reason, a.Body)
				}
				reached[a.Instance] = true
			}
			want := 3
			if strings.Contains(url, "stock") || url == client.Local("stock") {
				want = 2
			}
			if len(reached) != want {
				t.Errorf("GET %s reached %v", url, reached)
			}
		}
	})
}

// TestProxyEnvironment lets a real client follow `proxy bootstrap --env`.
func TestProxyEnvironment(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	l.StartServer()
	client := l.Sidecar("client")
	out := l.MustMeshctl("proxy", "bootstrap", "--service", "client", "--id", "client-1", "--xds-addr", l.Server.XDS,
		"--outbound-port", fmt.Sprint(client.Outbound), "--env", "--no-proxy", "example.internal")
	for _, want := range []string{
		fmt.Sprintf("HTTP_PROXY=http://127.0.0.1:%d", client.Outbound), "http_proxy=",
		"NO_PROXY=localhost,127.0.0.0/8,::1,169.254.169.254,example.internal", "no_proxy=",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("proxy bootstrap --env lacks %s in\n%s", want, out)
		}
	}
	if strings.Contains(strings.ToUpper(out), "HTTPS_PROXY") {
		t.Errorf("https does not enter the sidecar, yet --env says\n%s", out)
	}
	p := l.Start("python", nil, "sh", "-c", out+"\npython3 -c 'import urllib.request as u; print(u.urlopen(\"http://orders/\").status)'")
	<-p.Done()
	if p.ExitCode() != 0 || !strings.Contains(p.Log(), "200") {
		t.Errorf("python3 after the shell assignments: %s", p.Log())
	}
}

// TestGRPC calls through a local port and through the outbound listener, with
// a stream that outlives the default request timeout of 15 seconds.
func TestGRPC(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.ServiceWith("billing", 2, map[string]string{"protocol": "grpc"})
	l.StartServer()
	client := l.Sidecar("client", "--upstream", "billing")
	for _, way := range []struct{ name, addr, authority string }{
		{"local port", fmt.Sprintf("127.0.0.1:%d", client.Upstreams["billing"]), ""},
		{"by host", fmt.Sprintf("127.0.0.1:%d", client.Outbound), "billing"},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			conn := dialGRPC(t, way.addr, way.authority)
			reached := map[string]bool{}
			for range 40 {
				text, err := echoapi.Say(t.Context(), conn, "hi", grpc.WaitForReady(true))
				if err != nil {
					t.Fatal(err)
				}
				reached[text] = true
			}
			if len(reached) != 2 {
				t.Errorf("reached %v", reached)
			}
			n, begin := 0, time.Now()
			err := echoapi.Tick(t.Context(), conn, 18, time.Second, func(string) { n++ })
			if !errors.Is(err, io.EOF) || n != 18 {
				t.Errorf("a stream of 18 s: %d messages, %v after %s", n, err, time.Since(begin))
			}
		})
	}
	t.Run("unknown host", func(t *testing.T) {
		conn := dialGRPC(t, fmt.Sprintf("127.0.0.1:%d", client.Outbound), "nobody")
		_, err := echoapi.Say(t.Context(), conn, "hi")
		if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "nobody") || strings.Contains(err.Error(), "%0A") {
			t.Errorf("got %v", err)
		}
	})
}

func dialGRPC(t *testing.T, addr, authority string) *grpc.ClientConn {
	t.Helper()
	opts := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy()}
	if authority != "" {
		opts = append(opts, grpc.WithAuthority(authority))
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestWebSocket keeps an upgraded connection past the request timeout.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("chat", 1)
	l.StartServer()
	client := l.Sidecar("client", "--upstream", "chat")
	client.WaitStatus("http://chat/", http.StatusOK, 10*time.Second)
	for _, addr := range []string{fmt.Sprintf("127.0.0.1:%d", client.Outbound), fmt.Sprintf("127.0.0.1:%d", client.Upstreams["chat"])} {
		ws, err := lab.DialWebSocket(t.Context(), addr, "chat")
		if err != nil {
			t.Fatalf("through %s: %v", addr, err)
		}
		defer ws.Close()
		begin := time.Now()
		lab.Hold(t, 17*time.Second, "the WebSocket answers", func() error {
			if text, err := ws.Echo("hello"); err != nil || text != "chat-1: hello" {
				return fmt.Errorf("%q, %w after %s", text, err, time.Since(begin))
			}
			return nil
		})
	}
}

// TestTCP reaches a tcp service by its local port alone.
func TestTCP(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.ServiceWith("ledger", 2, map[string]string{"protocol": "tcp"})
	l.StartServer()
	client := l.Sidecar("client", "--upstream", "ledger")
	reached := map[string]bool{}
	lab.Until(t, 10*time.Second, "both instances answer", func() error {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", client.Upstreams["ledger"]))
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := fmt.Fprintln(conn, "hi"); err != nil {
			return err
		}
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			return err
		}
		reached[line] = true
		if len(reached) < 2 {
			return fmt.Errorf("reached %v", reached)
		}
		return nil
	})
	a := client.WaitStatus("http://ledger/", http.StatusNotFound, 10*time.Second)
	if a.Reason != "tcp-service service=ledger" {
		t.Errorf("x-mesh-reason is %q", a.Reason)
	}
}

// TestUnknownHost says which name nobody has.
func TestUnknownHost(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	l.StartServer()
	client := l.Sidecar("client")
	for _, host := range []string{"nobody", "nobody:8080", "nobody.mesh", "[::1]:80"} {
		a := client.Get("http://" + host + "/")
		if a.Status != http.StatusNotFound || a.Reason != "unknown-host host="+host || !strings.Contains(a.Body, host) || strings.HasSuffix(a.Body, "\n") {
			t.Errorf("http://%s/: %d, x-mesh-reason %q, body %q", host, a.Status, a.Reason, a.Body)
		}
	}
}

// TestEgressPassthrough sends hosts outside the mesh on, and only those.
func TestEgressPassthrough(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	outside := l.StartEcho("outside", 1, nil)[0]
	l.StartServer("--egress", "passthrough")
	client := l.Sidecar("client")
	client.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	a := client.WaitStatus(fmt.Sprintf("http://localhost:%d/", outside.Port), http.StatusOK, 10*time.Second)
	if a.Instance != "outside-1" || strings.Contains(strings.ToLower(a.Body), "x-mesh-host") {
		t.Errorf("answered by %q with %s", a.Instance, a.Body)
	}
	for _, host := range []string{"nobody.mesh", "nobody.service.consul"} {
		if a := client.Get("http://" + host + "/"); a.Status != http.StatusNotFound {
			t.Errorf("http://%s/: %d %s; mesh names never leave", host, a.Status, a.Reason)
		}
	}
}

// TestFailureNamesItsCause looks for reason and policy in the header and in
// the access log of a 503.
func TestFailureNamesItsCause(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	es := l.Service("orders", 1)
	l.Policies.Write("orders.yaml", policyYAML("orders", `
  timeouts: {connect: 1s, request: 1s}
  outlierDetection: {mode: Disabled}
  retry: {attempts: 0}`))
	l.StartServer()
	client := l.Sidecar("client")
	client.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	es[0].Kill()
	down := client.WaitStatus("http://orders/down", http.StatusServiceUnavailable, 10*time.Second)
	if down.Reason == "" || !strings.Contains(down.Reason, "policy=rp/default/orders@1") {
		t.Errorf("x-mesh-reason of a refused connection is %q", down.Reason)
	}
	es[0].Restart()
	slow := client.WaitStatus("http://orders/slow?delay=5s", http.StatusGatewayTimeout, 10*time.Second)
	if !strings.Contains(slow.Reason, "policy=rp/default/orders@1") {
		t.Errorf("x-mesh-reason of a timeout is %q", slow.Reason)
	}
	for path, flag := range map[string]string{"/down": "UF", "/slow": "UT"} {
		line := accessLog(t, client, path)
		for key, want := range map[string]string{"caller": "client", "service": "orders", "method": "GET", "policy": "rp/default/orders", "flags": flag} {
			if got := fmt.Sprint(line[key]); !strings.HasPrefix(got, want) {
				t.Errorf("access log of %s: %s is %q, want %q", path, key, got, want)
			}
		}
		for _, key := range []string{"time", "path", "status", "duration_ms", "attempts", "upstream", "generation", "trace_id"} {
			if _, ok := line[key]; !ok {
				t.Errorf("access log of %s lacks %s: %v", path, key, line)
			}
		}
	}
}

// accessLog returns the last line of the access log about a path.
func accessLog(t *testing.T, s *lab.Sidecar, path string) map[string]any {
	t.Helper()
	var found map[string]any
	// Envoy writes its log every ten seconds, or as soon as 64 KiB are full.
	lab.Until(t, 25*time.Second, "the access log speaks of "+path, func() error {
		for line := range strings.Lines(s.Log()) {
			var entry map[string]any
			if json.Unmarshal([]byte(line), &entry) == nil && strings.HasPrefix(fmt.Sprint(entry["path"]), path) {
				found = entry
			}
		}
		if found == nil {
			return errors.New("it does not")
		}
		return nil
	})
	return found
}

// policyYAML is a ResiliencePolicy of a service with the given sections.
func policyYAML(service, sections string) string {
	return fmt.Sprintf("apiVersion: meshlite.dev/v1alpha1\nkind: ResiliencePolicy\nmetadata: {name: %s}\nspec:\n  targetRefs: [{kind: Service, name: %s}]%s\n", service, service, sections)
}

// inForce waits until the server and all connected proxies hold a policy at
// a generation.
func inForce(t *testing.T, l *lab.Lab, ref string) {
	t.Helper()
	lab.Until(t, 15*time.Second, ref+" is in force", func() error {
		var doc struct {
			Items []struct {
				Kind, Namespace, Name string
				Generation            int64
			} `json:"items"`
		}
		if err := l.Server.Try("/v1/policies", &doc); err != nil {
			return err
		}
		for _, p := range doc.Items {
			if fmt.Sprintf("%s/%s/%s@%d", mesh.ShortKind(p.Kind), p.Namespace, p.Name, p.Generation) == ref {
				return allSynced(l)
			}
		}
		return fmt.Errorf("policies are %v", doc.Items)
	})
}

func allSynced(l *lab.Lab) error {
	proxies, err := l.Server.Proxies()
	if err != nil {
		return err
	}
	for _, p := range proxies {
		if p.Connected && p.Status != "SYNCED" {
			return fmt.Errorf("%s is %s", p.ID, p.Status)
		}
	}
	return nil
}
