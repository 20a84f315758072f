//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/app"
	"meshlite.dev/test/lab"
)

// poison turns two policies into what our validation lets through and Envoy
// does not: a regular expression without its end for a request timeout of 7s,
// a CA that is none for a connect timeout of 7s.
func poison(_ string, message any) {
	switch m := message.(type) {
	case *routev3.RouteConfiguration:
		for _, host := range m.GetVirtualHosts() {
			for _, r := range host.GetRoutes() {
				if r.GetRoute().GetTimeout().AsDuration() == 7*time.Second {
					r.Match.Headers = append(r.Match.Headers, &routev3.HeaderMatcher{
						Name: "x", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
							MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "a(b"}},
						}},
					})
				}
			}
		}
	case *clusterv3.Cluster:
		if m.GetConnectTimeout().AsDuration() != (7 * time.Second) {
			return
		}
		tls, err := anypb.New(&tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
			ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
				TrustedCa: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "no certificate"}},
			}},
		}})
		if err != nil {
			panic(err)
		}
		m.ConnectTimeout = durationpb.New(7 * time.Second)
		m.TransportSocket = &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: tls}}
	}
}

// direct serves changes without asking the proxies first: what they refuse then is
// refused in service.
func direct(cfg *app.Config) { cfg.Rollout = adminapi.ModeDirect }

// inProcess runs xds-server inside the test, where options reach it.
func inProcess(t *testing.T, l *lab.Lab, edit func(*app.Config), opts ...app.Option) *syncBuffer {
	t.Helper()
	cfg := app.Default()
	cfg.CatalogDir = l.Registry.(*lab.FileCatalog).Folder()
	cfg.PolicyDir = l.Policies.Dir
	cfg.PolicyQuiet = 50 * time.Millisecond
	cfg.StateDir = t.TempDir()
	cfg.XDSAddr, cfg.AdminAddr = "127.0.0.1:0", "127.0.0.1:0"
	edit(&cfg)
	log := &syncBuffer{}
	started := make(chan app.Addrs, 1)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		ended <- app.Run(ctx, cfg, append(opts, app.WithLogWriter(log), app.WithStarted(func(a app.Addrs) { started <- a }))...)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("app.Run: %v", err)
		}
		if t.Failed() {
			t.Logf("---- xds-server\n%s", log)
		}
	})
	select {
	case a := <-started:
		l.Attach(a.XDS, a.Admin)
	case err := <-ended:
		ended <- err
		t.Fatalf("app.Run: %v", err)
	}
	l.Server.WaitReady(20 * time.Second)
	return log
}

type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestEnvoyRefuses: what an Envoy refuses stays at its last good version
// there; everything else goes on, and everybody is told who is at fault.
func TestEnvoyRefuses(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	orders := l.Service("orders", 2)
	l.Service("stock", 2)
	l.Service("billing", 1)
	log := inProcess(t, l, direct, app.WithMutate(poison))
	client := l.Sidecar("client")
	load := client.Load(rate/3, http.MethodGet, "http://orders/")
	other := client.Load(rate/3, http.MethodGet, "http://stock/")
	for _, name := range []string{"orders", "stock", "billing"} {
		client.WaitStatus("http://"+name+"/", http.StatusOK, 10*time.Second)
	}

	l.Policies.Write("all.yaml", policyYAML("orders", "\n  timeouts: {request: 7s}")+"---\n"+
		policyYAML("stock", "\n  timeouts: {connect: 7s}")+"---\n"+
		policyYAML("billing", "\n  timeouts: {request: 4s}"))
	l.Registry.Register(lab.Instances(l.StartEcho("late", 1, nil))...) // sent beside the refused
	var proxy adminapi.Proxy
	lab.Until(t, 20*time.Second, "both refusals are reported", func() error {
		proxies, err := l.Server.Proxies()
		if err != nil {
			return err
		}
		if len(proxies) != 1 || len(proxies[0].Errors) < 2 {
			return fmt.Errorf("%+v", proxies)
		}
		proxy = proxies[0]
		return nil
	})
	client.WaitStatus("http://late/", http.StatusOK, 10*time.Second)
	if proxy.Status != adminapi.Error {
		t.Errorf("the proxy's status is %s", proxy.Status)
	}
	for _, want := range []struct{ resource, policy, words string }{
		{"orders", "rp/default/orders@1", "missing )"},
		{"stock", "rp/default/stock@1", "trusted CA"},
	} {
		i := slices.IndexFunc(proxy.Errors, func(r adminapi.Rejection) bool { return r.Resource == want.resource })
		if i < 0 {
			t.Fatalf("no word of %s in %+v", want.resource, proxy.Errors)
		}
		r := proxy.Errors[i]
		if !slices.Contains(r.Policies, want.policy) || !strings.Contains(r.Message, want.words) {
			t.Errorf("%s is reported as %+v", want.resource, r)
		}
		out := l.Meshctl("proxy", "status", "-o", "wide")
		for _, text := range []string{client.ID, want.resource, want.policy, want.words} {
			if !strings.Contains(out.Stdout, text) {
				t.Errorf("meshctl proxy status lacks %q:\n%s%s", text, out.Stdout, out.Stderr)
			}
			if !strings.Contains(log.String(), text) {
				t.Errorf("the log lacks %q", text)
			}
		}
	}
	dump := readDump(t, client)
	if got := at(dump.part(route, "orders"), "route.timeout"); got != "15s" {
		t.Errorf("orders' route has a timeout of %v, want the last good 15s", got)
	}
	if got := at(dump.clusters["stock"], "connect_timeout"); got != "5s" {
		t.Errorf("stock's cluster has a connect timeout of %v, want the last good 5s", got)
	}
	if got := at(dump.part(route, "billing"), "route.timeout"); got != "4s" {
		t.Errorf("billing's route has a timeout of %v, want the new 4s", got)
	}

	// Endpoints of the very services go on converging, and nothing is sent again.
	refusals := metric(t, l.Server, "meshlite_xds_nacks_total")
	l.Registry.Deregister(orders[0].Instance)
	gone(t, load, orders[0].ID, 15*time.Second)
	lab.Hold(t, 5*time.Second, "nothing refused is sent again", func() error {
		if n := metric(t, l.Server, "meshlite_xds_nacks_total"); n != refusals || n == 0 {
			return fmt.Errorf("%v NACKs, %v before", n, refusals)
		}
		return nil
	})

	// A cured policy makes the proxy whole.
	l.Policies.Write("all.yaml", policyYAML("orders", "\n  timeouts: {request: 6s}")+"---\n"+
		policyYAML("stock", "\n  timeouts: {connect: 6s}"))
	lab.Until(t, 20*time.Second, "the cured policies are in force", func() error {
		dump := readDump(t, client)
		if got := at(dump.part(route, "orders"), "route.timeout"); got != "6s" {
			return fmt.Errorf("orders: %v", got)
		}
		if got := at(dump.clusters["stock"], "connect_timeout"); got != "6s" {
			return fmt.Errorf("stock: %v", got)
		}
		return allSynced(l)
	})
	clean(t, load.Finish())
	clean(t, other.Finish())
}
