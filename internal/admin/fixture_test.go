package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/admin/readiness"
	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
	"meshlite.dev/internal/xds/load"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
)

var update = flag.Bool("update", false, "rewrite testdata")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// source is a catalog with a fixed status that remembers what was accepted.
type source struct {
	status catalog.Status
	held   []string
	asked  []string
	all    bool
}

func (s *source) Status() catalog.Status { return s.status }

func (s *source) Accept(names []string, all bool) []string {
	s.asked, s.all = names, all
	var out []string
	for _, h := range s.held {
		if all || slices.Contains(names, h) {
			out = append(out, h)
		}
	}
	return out
}

// fleet is a stream server with a fixed ledger.
type fleet struct {
	proxies   []server.Proxy
	resources map[string][]server.ResourceState
}

func (f *fleet) Proxies() []server.Proxy { return f.proxies }

func (f *fleet) Proxy(id string) (server.Proxy, bool) {
	for _, p := range f.proxies {
		if p.ID == id {
			return p, true
		}
	}
	return server.Proxy{}, false
}

func (f *fleet) Resources(id string) ([]server.ResourceState, bool) {
	rs, ok := f.resources[id]
	return rs, ok
}

// document makes an accepted document of the YAML of a spec.
func document(t testing.TB, name, spec string) *policy.Document {
	t.Helper()
	d := &policy.Document{
		Key: policy.Key{Kind: "ResiliencePolicy", Namespace: "default", Name: name}, Generation: 3,
		Source: "policies/" + name + ".yaml", Resilience: &v1alpha1.ResiliencePolicySpec{},
	}
	if err := yaml.UnmarshalStrict([]byte(spec), d.Resilience); err != nil {
		t.Fatal(err)
	}
	raw, err := yaml.YAMLToJSON([]byte(spec))
	if err != nil {
		t.Fatal(err)
	}
	d.Canonical, d.Hash = []byte(`{"spec":`+string(raw)+`}`), name
	return d
}

func state(t testing.TB) admin.State {
	t.Helper()
	services := pmap.From(map[string]*catalog.Service{
		"orders": {Name: "orders", Protocol: mesh.HTTP1, Synced: true, Meta: map[string]string{"protocol": "http1"}, Endpoints: []mesh.Endpoint{
			{ID: "orders-1", Address: "10.0.0.1", Port: 8080, Weight: 1, Locality: mesh.Locality{Region: "r1", Zone: "z1"}, Node: "n1", Datacenter: "dc1", Tags: []string{"v2"}, Meta: map[string]string{"track": "beta"}},
			{ID: "orders-2", Address: "10.0.0.2", Port: 8080, Weight: 10, Health: mesh.Unhealthy},
			{ID: "orders-3", Address: "fd00::1", Port: 8080, Weight: 1, Health: mesh.Draining},
		}},
		"late": {Name: "late", Protocol: mesh.HTTP1},
	})
	s := admin.State{
		Snapshot: catalog.Snapshot{Services: services, Changed: []string{"late", "orders"}},
		Revision: policy.Revision{Hash: "3f9c2a1bdeadbeef", Number: 12, Documents: []*policy.Document{
			document(t, "lost", "{targetRefs: [{kind: Service, name: nowhere}], retry: {attempts: 1}}"),
			document(t, "orders", "{targetRefs: [{kind: Service, name: orders}], retry: {attempts: 4}}"),
			document(t, "orders-web", "{targetRefs: [{kind: Service, name: orders}], from: [{service: web}], retry: {attempts: 1}}"),
		}},
		Faults: []resource.Fault{{Service: "orders", Type: resource.RouteType, Name: "orders", Err: errors.New("invalid RouteConfiguration: missing name"), Policies: []string{"rp/default/orders@3"}}},
		At:     now.Add(-time.Minute),
	}
	s.Result = compile.Full(compile.Default(), s.Snapshot, s.Revision)
	return s
}

func cluster(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := proto.Marshal(&clusterv3.Cluster{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func ledger(t testing.TB) *fleet {
	good, next := cluster(t, "orders"), cluster(t, "orders-next")
	at := now.Add(-10 * time.Second)
	return &fleet{
		proxies: []server.Proxy{
			{
				Node:    server.Node{ID: "pay-1", Service: "pay", Envoy: "1.36.2", AdminPort: 15000},
				Address: "10.0.0.9:4000", Protocol: "sotw", ConnectedAt: now.Add(-2 * time.Hour), Status: server.Synced,
			},
			{
				Node:    server.Node{ID: "web-1", Service: "web", Envoy: "1.40.0", AdminPort: 15000},
				Address: "10.0.0.7:40000", Protocol: "delta", ConnectedAt: now.Add(-time.Hour), Connected: true, Status: server.Error,
				Types: []server.TypeStatus{
					{Type: "CDS", Status: server.Error, Resources: 2, InFlight: 1, LastSent: at, LastAcked: at},
					{Type: "EDS", Status: server.NotSent},
				},
				Errors: []server.Rejection{{Type: "CDS", Resource: "orders", Service: "orders", Policies: []string{"rp/default/orders@3"}, Message: "value must be less than or equal to 100", Version: "v2", LastGood: "v1", At: at}},
				Held:   []server.Held{{Type: "RDS", Resource: "orders", Waits: "CDS ACK of orders", Since: at}},
			},
		},
		resources: map[string][]server.ResourceState{"web-1": {
			{Type: resource.ClusterType, Name: "gone", Status: server.Stale, Acked: "v1", Body: good},
			{Type: resource.ClusterType, Name: "new", Status: server.Stale, Wanted: "v1", WantedBody: next, At: at},
			{Type: resource.ClusterType, Name: "orders", Service: "orders", Status: server.Error, Policies: []string{"rp/default/orders@3"}, Message: "value must be less than or equal to 100", Acked: "v1", Body: good, Wanted: "v2", WantedBody: next, At: at},
			{Type: resource.ClusterType, Name: "same", Status: server.Synced, Acked: "v1", Body: good, Wanted: "v1", WantedBody: good, At: at},
			{Type: resource.ListenerType, Name: "upstream/db/9001", Status: server.Synced, Acked: "v1", Wanted: "v1"},
		}},
	}
}

// config is an API over all of the above, ready.
func config(t testing.TB) admin.Config {
	t.Helper()
	s := state(t)
	src := &source{held: []string{"orders", "pay"}, status: catalog.Status{
		Kind: "consul", Address: "127.0.0.1:8500", Connected: true,
		Watches: []catalog.Watch{
			{LastRead: now.Add(-2 * time.Second), Index: 90},
			{Service: "late", LastError: "connection refused"},
			{Service: "orders", LastRead: now.Add(-5 * time.Second), Index: 88},
		},
		Holds:   []catalog.Hold{{Service: "orders", Lost: []string{"orders-1"}, Reason: "mass loss", Since: now.Add(-time.Minute), Expires: now.Add(9 * time.Minute)}},
		Skipped: []catalog.Skipped{{Name: "Bad_Name", Reason: "not a DNS label", Hint: "use a-z, 0-9 and -"}},
		Notes:   []mesh.Finding{{Severity: mesh.Warning, Message: "the token may not read nodes", Hint: "grant node:read"}},
	}}
	return admin.Config{
		State:   func() (admin.State, bool) { return s, true },
		Catalog: src, Fleet: ledger(t), Ready: readiness.New(nil, 0), Hub: admin.NewHub(func() time.Time { return now }),
		Version: adminapi.Version{Version: "1.2.3", Commit: "abc", Go: "go1.26", Builder: "1"},
		Graph: func(time.Time) []load.Edge {
			return []load.Edge{{From: "web", To: "orders", Successes: 10, Errors: 2, Dropped: 1, InProgress: 3, Rate: 1.3}}
		},
		Listeners: func(n server.Node) []*resource.Resource {
			if n.ID != "web-1" {
				t.Errorf("listeners of %s were asked for", n.ID)
			}
			return []*resource.Resource{{Type: resource.ListenerType, Name: "upstream/db/9001", State: resource.IfAbsent, Version: "v2"}}
		},
		Checks: []func(context.Context) []adminapi.Check{func(context.Context) []adminapi.Check {
			return []adminapi.Check{{Name: "extra", Status: "ok", Message: "asked"}}
		}},
		Status: func(k policy.Key) (policy.Status, bool) {
			enforced := []policy.Condition{{
				Type: policy.ConditionEnforced, Status: policy.False, Reason: "RejectedByProxies", Message: "0/1 proxies acknowledged revision 12; web-1: bad",
				ObservedGeneration: 3, LastTransitionTime: policy.Time{Time: now},
			}}
			return policy.Status{Key: k, PolicyStatus: v1alpha1.PolicyStatus{
				Conditions: enforced, InForceGeneration: 3,
				Ancestors: []v1alpha1.AncestorStatus{{AncestorRef: v1alpha1.TargetRef{Kind: "Service", Name: "orders"}, ControllerName: policy.ControllerName, Conditions: enforced}},
			}}, k.Name == "orders"
		},
		Reports: func() any { return map[string]int{"revision": 12} },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "metrics\n") }),
		Now:     func() time.Time { return now },
	}
}

// ask makes one request; edit may change it.
func ask(h http.Handler, method, target, body string, edit ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, e := range edit {
		e(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// golden compares got with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s; run with -update and look at the difference:\n%s", name, diff)
	}
}

func failureOf(t *testing.T, w *httptest.ResponseRecorder) adminapi.Failure {
	t.Helper()
	var f adminapi.Failure
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil || f.Error == "" {
		t.Fatalf("status %d: the body is no Failure: %v", w.Code, err)
	}
	return f
}

// logs returns a logger and what it wrote.
func logs() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}
