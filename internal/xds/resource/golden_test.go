package resource_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/xds/resource"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const allFields = `
  timeouts: {connect: 2s, request: 8s, idle: 45s, streamIdle: 90s, maxStreamDuration: 1h}
  retry:
    attempts: 3
    retryOn: [connect-failure, 5xx, reset]
    statusCodes: [429, 503]
    methods: [GET, PUT]
    responseHeaders: [x-retry-me]
    perTryTimeout: 2s
    perTryIdleTimeout: 1s
    backoff: {base: 10ms, max: 1s}
    honorRetryAfter: {max: 5s}
    avoidPreviousHosts: true
    hostSelectionAttempts: 7
    budget: {percent: 10, minConcurrency: 4}
  limits: {connections: 10, pendingRequests: 11, requests: 12, connectionPools: 13, perEndpointConnections: 14, requestsPerConnection: 15}
  outlierDetection:
    interval: 5s
    baseEjectionTime: 20s
    maxEjectionTime: 100s
    maxEjectionTimeJitter: 3s
    maxEjectionPercent: 40
    consecutive5xx: 6
    consecutiveGatewayErrors: 4
    localOrigin: {split: true, consecutive: 3}
    successRate: {enabled: true, minimumHosts: 4, requestVolume: 50, standardDeviationFactor: "2.1"}
    failurePercentage: {enabled: true, threshold: 70, minimumHosts: 4, requestVolume: 40}
    panicThresholdPercent: 30
  loadBalancing:
    type: RingHash
    hash: [{header: x-user}, {sourceIP: true}]
    locality: {mode: ZoneAware, minClusterSize: 3}
  healthCheck: {type: HTTP, path: /healthz, interval: 7s, timeout: 2s, unhealthyAfter: 4, healthyAfter: 3}
  rateLimit: {perCaller: {requests: 20, per: 1s, burst: 30}}
  connection:
    tcpKeepalive: {idle: 30s, interval: 10s, probes: 3}
`

type golden struct {
	name     string
	policies string
	services []*catalog.Service
	cfg      resource.Config
	profile  resource.Profile
	made     func(testing.TB) []*mesh.Service // in place of policies and services
}

func goldens() []golden {
	located := service("orders", mesh.HTTP1, 3)
	located.Endpoints[0].Locality = mesh.Locality{Region: "eu", Zone: "a"}
	located.Endpoints[1].Health, located.Endpoints[1].Weight = mesh.Unhealthy, 5
	located.Endpoints[2].Health = mesh.Draining
	waiting := service("waiting", mesh.HTTP1, 0)
	waiting.Synced = false
	return []golden{
		{name: "defaults", services: []*catalog.Service{located}, profile: resource.Profile{Service: "client", OutboundPort: 15001}},
		{name: "all-fields", policies: one("orders", allFields), services: []*catalog.Service{service("orders", mesh.HTTP1, 1)}},
		{name: "grpc", policies: one("rpc", "  retry: {retryOn: [unavailable, cancelled]}\n  timeouts: {request: 3s}\n"), services: []*catalog.Service{service("rpc", mesh.GRPC, 1)}},
		{name: "http2", policies: one("h2", "  connection: {http2: {keepaliveInterval: 30s, keepaliveTimeout: 5s, maxConcurrentStreams: 100}}\n"), services: []*catalog.Service{service("h2", mesh.HTTP2, 1)}},
		{
			name: "tcp", policies: one("db", "  timeouts: {idle: 1h}\n  retry: {tcpConnectAttempts: 5}\n"), services: []*catalog.Service{service("db", mesh.TCP, 1)},
			profile: resource.Profile{Service: "client", Upstreams: []resource.Upstream{{Service: "db", Port: 9001, Protocol: mesh.TCP}}},
		},
		{name: "not-synced", services: []*catalog.Service{waiting}},
		{name: "rules", made: func(tb testing.TB) []*mesh.Service {
			tb.Helper()
			return shop(tb, one("orders", "  rateLimit: {perCaller: {requests: 20, per: 1s, burst: 30}}\n"), mesh.HTTP1)
		}},
		{name: "rules-caller", made: func(tb testing.TB) []*mesh.Service {
			tb.Helper()
			all := shop(tb, one("orders", "  from: [{service: checkout}]\n  outlierDetection: {panicThresholdPercent: 50}\n  retry: {attempts: 0}\n"), mesh.GRPC)
			orders := all[0]
			orders.Subsets = nil
			all[2].Subsets = nil
			rule := mesh.Rule{Name: "over", Matches: []mesh.Match{path(mesh.MatchPrefix, "/shop.")}, Failover: []mesh.Pool{pool("orders@dc2")}}
			return []*mesh.Service{ruled(orders, rule), all[2]}
		}},
		{name: "rules-not-synced", made: func(tb testing.TB) []*mesh.Service {
			tb.Helper()
			return unanswered(tb)
		}},
		{name: "caller", policies: one("orders", "  from: [{service: checkout}]\n  timeouts: {request: 1s, connect: 1s}\n"), services: []*catalog.Service{service("orders", mesh.HTTP1, 1)}},
		{
			name: "passthrough", services: []*catalog.Service{service("orders", mesh.HTTP1, 1)}, cfg: resource.Config{Egress: resource.Passthrough},
			profile: resource.Profile{Service: "client", OutboundPort: 15001, Upstreams: []resource.Upstream{{Service: "orders", Port: 9002, Protocol: mesh.HTTP1}}},
		},
	}
}

func (g golden) build(tb testing.TB) []*resource.Resource {
	tb.Helper()
	m := compiled(tb, g.policies, g.services...)
	if g.made != nil {
		all := map[string]*mesh.Service{}
		for _, s := range g.made(tb) {
			all[s.Name] = s
		}
		m.Services = pmap.From(all)
	}
	rs, faults := everything(g.cfg, m)
	for i := range g.profile.Upstreams {
		u := &g.profile.Upstreams[i]
		if s, ok := m.Services.Get(u.Service); ok {
			u.Dest = s.For(g.profile.Service)
		}
	}
	ls, more := resource.Listeners(g.cfg, g.profile)
	for _, f := range append(faults, more...) {
		tb.Fatalf("%s %s: %v", f.Type, f.Name, f.Err)
	}
	return append(rs, ls...)
}

// TestGolden shows every message of a case in testdata.
func TestGolden(t *testing.T) {
	for _, g := range goldens() {
		t.Run(g.name, func(t *testing.T) {
			var b strings.Builder
			for _, r := range g.build(t) {
				fmt.Fprintf(&b, "---\n# %s %s", r.Type[strings.LastIndex(r.Type, ".")+1:], r.Name)
				for _, more := range []string{r.Caller, fmt.Sprint(r.State), strings.Join(r.Policies, ","), fmt.Sprint(len(r.Refs))} {
					fmt.Fprintf(&b, " | %s", more)
				}
				b.WriteString("\n")
				if r.Body == nil {
					continue
				}
				raw, err := protojson.Marshal(message(t, r))
				if err == nil {
					raw, err = yaml.JSONToYAML(raw)
				}
				if err != nil {
					t.Fatal(err)
				}
				b.Write(raw)
			}
			path := filepath.Join("testdata", g.name+".golden.yaml")
			if *update {
				if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(path); err != nil || string(want) != b.String() {
				t.Errorf("%s differs (%v); run with -update and look at the diff", path, err)
			}
		})
	}
}
