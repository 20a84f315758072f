//go:build e2e

package e2e

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/test/lab"
)

// polls is a server of streams alone, whose candidates the test makes.
type polls struct {
	t       *testing.T
	catalog catalog.Snapshot
	store   *cache.Store
	streams *server.Server
}

// newPolls serves one instance of orders and of stock to l's sidecars.
func newPolls(t *testing.T, l *lab.Lab) *polls {
	p := &polls{t: t, store: cache.New(cache.Default())}
	services := map[string]*catalog.Service{}
	for _, name := range []string{"orders", "stock"} {
		echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(name)) }))
		t.Cleanup(echo.Close)
		addr := echo.Listener.Addr().(*net.TCPAddr)
		services[name] = &catalog.Service{Name: name, Protocol: mesh.HTTP1, Synced: true, Endpoints: []mesh.Endpoint{
			{ID: name + "-1", Address: addr.IP.String(), Port: uint32(addr.Port), Weight: 1, Tags: []string{"v2"}},
		}}
	}
	p.catalog = catalog.Snapshot{Services: pmap.From(services)}
	p.store.Apply(append(p.build(resource.Config{}, ""), resource.Global(resource.Config{})))
	p.streams = server.New(server.Config{
		Store: p.store,
		Listeners: func(n resource.Profile) []*resource.Resource {
			rs, _ := resource.Listeners(resource.Config{}, n)
			return rs
		},
		Synthesize: func(typeURL, name string) *resource.Resource {
			if _, local := mesh.ParseLocalAssignment(name); local && typeURL == resource.EndpointType {
				return resource.EmptyAssignment(name)
			}
			return nil
		},
	})
	g := grpc.NewServer(server.Options()...)
	p.streams.Register(g)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- g.Serve(lis) }()
	t.Cleanup(func() { g.Stop(); <-served })
	l.Server = &lab.Server{XDS: lis.Addr().String()}
	return p
}

// build is everything of both services under documents.
func (p *polls) build(cfg resource.Config, documents string) (sets []resource.Set) {
	p.t.Helper()
	docs := policy.Decode("candidate.yaml", []byte(documents))
	for _, r := range docs.Refused {
		p.t.Fatalf("%s: %v", r.Key, r.Faults)
	}
	for _, d := range docs.Documents {
		d.Generation = 1
	}
	rev := policy.Revision{Number: 1, Hash: "candidate", Documents: docs.Documents}
	for _, s := range compile.Full(compile.Default(), p.catalog, rev).Model.Services.All() {
		sets = append(sets, resource.Build(cfg, s))
	}
	return sets
}

func (p *polls) poll(ctx context.Context, proxy string, cfg resource.Config, documents string) server.Vote {
	return p.streams.Poll(ctx, proxy, resource.Stage("t1", p.store.Lookup, p.build(cfg, documents)))
}

// voted changes clusters, routes, and brings a subset and a failover list.
const voted = `apiVersion: meshlite.dev/v1alpha1
kind: TrafficRoute
metadata: {name: orders}
spec:
  service: orders
  subsets: [{name: v2, tags: [v2]}]
  rules:
  - name: canary
    matches: [{headers: [{name: x-canary, type: Present}]}]
    backends: [{subset: v2}]
    failover: [{service: stock}]
    timeouts: {request: 4s}
---
apiVersion: meshlite.dev/v1alpha1
kind: ResiliencePolicy
metadata: {name: all}
spec:
  targetRefs: [{kind: Mesh}]
  limits: {connections: 77}
  timeouts: {request: 3s}
  rateLimit: {perCaller: {requests: 1000, per: 1s, burst: 1000}}
`

// TestAnEnvoyVotes: a real Envoy, the newest and the oldest, accepts what it could
// serve and refuses what it could not, in its own words; calls notice nothing, and
// nothing stays.
func TestAnEnvoyVotes(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	p := newPolls(t, l)
	newest, oldest := l.Sidecar("client"), l.OldSidecar("client")
	t.Run("newest", func(t *testing.T) { votes(t, p, newest) })
	t.Run("oldest", func(t *testing.T) { votes(t, p, oldest) })
}

func votes(t *testing.T, p *polls, client *lab.Sidecar) {
	client.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	load := client.Load(200, http.MethodGet, "http://orders/")
	none := func() {
		t.Helper()
		lab.Until(t, 5*time.Second, "nothing of the vote is left", func() error { return leftOver(client) })
	}
	bad := func(edit func(name string, message any)) resource.Config { return resource.Config{Mutate: edit} }
	for _, tt := range []struct {
		name   string
		cfg    resource.Config
		answer server.Answer
		names  string // the resource at fault
		words  string
	}{
		{"good", resource.Config{}, server.Yes, "", ""},
		{"a pattern that is none", bad(func(name string, m any) {
			if rc, ok := m.(*routev3.RouteConfiguration); ok && name == "orders" {
				rc.VirtualHosts[0].Routes[0].Match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "a(b"}}
			}
		}), server.No, "orders", "missing ): a(b"},
		{"an extension that it lacks", bad(func(name string, m any) {
			if c, ok := m.(*clusterv3.Cluster); ok && name == "stock" {
				c.TransportSocket = &corev3.TransportSocket{Name: "nope.socket"}
			}
		}), server.No, "stock", "nope.socket"},
		{"a domain that stands twice", bad(func(name string, m any) {
			if rc, ok := m.(*routev3.RouteConfiguration); ok && name == "stock" {
				rc.VirtualHosts[0].Domains = append(rc.VirtualHosts[0].Domains, "twice", "twice")
			}
		}), server.No, "stock", "Only unique values for domains are permitted"},
		{"good again", resource.Config{}, server.Yes, "", ""},
	} {
		vote := p.poll(t.Context(), client.ID, tt.cfg, voted)
		t.Logf("%s: %d in %s", tt.name, vote.Answer, vote.Took)
		if vote.Answer != tt.answer || tt.answer == server.Yes && vote.Text != "" {
			t.Errorf("%s: the vote is %+v", tt.name, vote)
		}
		if tt.answer == server.No && (len(vote.Refusals) != 1 || vote.Refusals[0].Ballot.Of.Name != tt.names || !strings.Contains(vote.Refusals[0].Message, tt.words)) {
			t.Errorf("%s: refused is %+v, want %s with %q", tt.name, vote.Refusals, tt.names, tt.words)
		}
		none()
	}
	if conn, err := net.Dial("tcp", "127.0.0.9:20999"); err == nil {
		_ = conn.Close()
		t.Error("the ballot listener has a socket")
	}
	for _, c := range load.Finish() {
		if !c.Good() {
			t.Errorf("a call during the votes: %d %v", c.Status, c.Err)
		}
	}
}

// TestAStoppedEnvoyAbstains: a proxy that hangs has no say, and is as it was once it
// goes on.
func TestAStoppedEnvoyAbstains(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	p := newPolls(t, l)
	client := l.Sidecar("client")
	client.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	client.Signal(syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	vote := p.poll(ctx, "client-client", resource.Config{}, voted)
	client.Signal(syscall.SIGCONT)
	if vote.Answer != server.Abstain || vote.Text != "did not answer in time" {
		t.Errorf("the vote is %+v", vote)
	}
	if again := p.poll(t.Context(), "client-client", resource.Config{}, voted); again.Answer != server.Yes {
		t.Errorf("once it goes on the vote is %+v", again)
	}
	client.WaitStatus("http://orders/", http.StatusOK, 5*time.Second)
	lab.Until(t, 5*time.Second, "nothing of the vote is left", func() error { return leftOver(client) })
}

// leftOver is what an Envoy still has of a vote.
func leftOver(s *lab.Sidecar) error {
	for _, line := range append(strings.Split(string(s.ConfigDump()), "\n"), s.Stats()...) {
		if strings.Contains(line, "!t1") || strings.Contains(line, "!r") || strings.Contains(line, "rp/default/all") {
			return errors.New(line)
		}
	}
	return nil
}
