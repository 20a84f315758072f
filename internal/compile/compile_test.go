package compile_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
)

// world is the input of a compiler, changed step by step.
type world struct {
	tb       testing.TB
	services map[string]*catalog.Service
	docs     map[policy.Key]*policy.Document
	problems []mesh.Finding
	home     string // the own datacenter
	refused  []policy.Refusal
	changed  map[string]bool
	keys     map[policy.Key]bool
	steps    int
}

func newWorld(tb testing.TB) *world {
	return &world{
		tb: tb, services: map[string]*catalog.Service{}, docs: map[policy.Key]*policy.Document{},
		changed: map[string]bool{}, keys: map[policy.Key]bool{},
	}
}

// service adds or replaces a synced http1 service with n instances.
func (w *world) service(name string, n int, edit ...func(*catalog.Service)) {
	s := &catalog.Service{Name: name, Protocol: mesh.HTTP1, Synced: true}
	for i := range n {
		s.Endpoints = append(s.Endpoints, mesh.Endpoint{ID: fmt.Sprint(i), Address: fmt.Sprintf("10.0.0.%d", i+1), Port: 80, Weight: 1})
	}
	for _, e := range edit {
		e(s)
	}
	w.services[name] = s
	w.changed[name] = true
}

func (w *world) removeService(name string) {
	delete(w.services, name)
	w.changed[name] = true
}

// keyOf is the key of "namespace/name".
func keyOf(kind, name string) policy.Key {
	namespace, short, _ := strings.Cut(name, "/")
	return policy.Key{Kind: kind, Namespace: namespace, Name: short}
}

// policy adds or replaces a ResiliencePolicy: "namespace/name" and the YAML of
// its spec. Each change counts a generation.
func (w *world) policy(name, spec string) {
	w.tb.Helper()
	d := w.document(keyOf(policy.KindResiliencePolicy, name), spec)
	d.Resilience = &v1alpha1.ResiliencePolicySpec{}
	w.read(d, spec, d.Resilience)
}

// route is the same for a TrafficRoute.
func (w *world) route(name, spec string) {
	w.tb.Helper()
	d := w.document(keyOf(policy.KindTrafficRoute, name), spec)
	d.Route = &v1alpha1.TrafficRouteSpec{}
	w.read(d, spec, d.Route)
}

func (w *world) document(key policy.Key, spec string) *policy.Document {
	generation := int64(1)
	if old, ok := w.docs[key]; ok {
		generation = old.Generation + 1
	}
	w.keys[key] = true
	w.docs[key] = &policy.Document{Key: key, Generation: generation, Hash: spec, Source: key.Name + ".yaml"}
	return w.docs[key]
}

func (w *world) read(d *policy.Document, spec string, into any) {
	w.tb.Helper()
	if err := yaml.UnmarshalStrict([]byte(spec), into); err != nil {
		w.tb.Fatalf("%s: %v", d.Key, err)
	}
}

func (w *world) removePolicy(name string) { w.remove(keyOf(policy.KindResiliencePolicy, name)) }

func (w *world) removeRoute(name string) { w.remove(keyOf(policy.KindTrafficRoute, name)) }

func (w *world) remove(key policy.Key) {
	delete(w.docs, key)
	w.keys[key] = true
}

// take returns the inputs with what changed since the last take.
func (w *world) take() (catalog.Snapshot, policy.Revision) {
	w.steps++
	snap := catalog.Snapshot{Services: pmap.From(w.services), Changed: slices.Sorted(maps.Keys(w.changed)), Problems: w.problems, Datacenter: w.home}
	rev := policy.Revision{Hash: fmt.Sprint("revision ", w.steps), Refused: w.refused}
	rev.Documents = slices.Collect(maps.Values(w.docs))
	slices.SortFunc(rev.Documents, func(a, b *policy.Document) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	rev.Changed = slices.Collect(maps.Keys(w.keys))
	slices.SortFunc(rev.Changed, func(a, b policy.Key) int { return strings.Compare(a.String(), b.String()) })
	if len(rev.Changed) == 0 && w.steps > 1 {
		w.steps--
		rev.Hash = fmt.Sprint("revision ", w.steps)
	}
	clear(w.changed)
	clear(w.keys)
	return snap, rev
}

func (w *world) full() compile.Result {
	snap, rev := w.take()
	return compile.Full(compile.Default(), snap, rev)
}

// on returns what caller gets of service.
func on(tb testing.TB, r compile.Result, service, caller string) *mesh.Destination {
	tb.Helper()
	s, ok := r.Model.Services.Get(service)
	if !ok {
		tb.Fatalf("the model has no service %s", service)
	}
	return s.For(caller)
}

// codes lists findings as "CODE service document path".
func codes(fs []mesh.Finding) []string {
	var out []string
	for _, f := range fs {
		out = append(out, strings.TrimRight(fmt.Sprintf("%s %s %s %s", f.Code, f.Service, f.Document, f.Path), " "))
	}
	return out
}

func TestPrecedence(t *testing.T) {
	for _, tc := range []struct {
		name     string
		policies [][2]string
		caller   string
		want     uint32 // limits.connections of service orders
		origin   string
		why      string
		lost     []string
	}{
		{
			name: "without documents the built-in default counts",
			want: 1024, origin: "mesh-default", why: "built-in",
		},
		{
			name:     "a Mesh document overrides the default",
			policies: [][2]string{{"default/all", `{targetRefs: [{kind: Mesh}], limits: {connections: 1}}`}},
			want:     1, origin: "rp/default/all@1", why: "Mesh",
			lost: []string{"mesh-default 1024 less specific"},
		},
		{
			name: "a Service document overrides the Mesh",
			policies: [][2]string{
				{"default/all", `{targetRefs: [{kind: Mesh}], limits: {connections: 1}}`},
				{"default/orders", `{targetRefs: [{kind: Service, name: orders}], limits: {connections: 2}}`},
			},
			want: 2, origin: "rp/default/orders@1", why: "Service",
			lost: []string{"rp/default/all@1 1 less specific", "mesh-default 1024 less specific"},
		},
		{
			name: "`from` overrides the Service for the callers it names",
			policies: [][2]string{
				{"default/orders", `{targetRefs: [{kind: Service, name: orders}], limits: {connections: 2}}`},
				{"default/zfrom", `{targetRefs: [{kind: Service, name: orders}], from: [{service: checkout}], limits: {connections: 3}}`},
			},
			caller: "checkout",
			want:   3, origin: "rp/default/zfrom@1", why: "Service, from checkout",
			lost: []string{"rp/default/orders@1 2 less specific", "mesh-default 1024 less specific"},
		},
		{
			name: "`from` says nothing about other callers",
			policies: [][2]string{
				{"default/orders", `{targetRefs: [{kind: Service, name: orders}], limits: {connections: 2}}`},
				{"default/zfrom", `{targetRefs: [{kind: Service, name: orders}], from: [{service: checkout}], limits: {connections: 3}}`},
			},
			caller: "web",
			want:   2, origin: "rp/default/orders@1", why: "Service",
			lost: []string{"mesh-default 1024 less specific"},
		},
		{
			name: "of two documents of one level the lower name wins",
			policies: [][2]string{
				{"default/b", `{targetRefs: [{kind: Service, name: orders}], limits: {connections: 2}}`},
				{"default/a", `{targetRefs: [{kind: Service, name: orders}], limits: {connections: 3}}`},
			},
			want: 3, origin: "rp/default/a@1", why: "Service",
			lost: []string{"rp/default/b@1 2 Conflicted: higher name", "mesh-default 1024 less specific"},
		},
		{
			name:     "a document that targets the mesh and the service is not its own rival",
			policies: [][2]string{{"default/both", `{targetRefs: [{kind: Mesh}, {kind: Service, name: orders}], limits: {connections: 4}}`}},
			want:     4, origin: "rp/default/both@1", why: "Service",
			lost: []string{"mesh-default 1024 less specific"},
		},
		{
			name:     "a document in shadow is not in force",
			policies: [][2]string{{"default/s", `{targetRefs: [{kind: Service, name: orders}], effect: shadow, limits: {connections: 4}}`}},
			want:     1024, origin: "mesh-default", why: "built-in",
		},
		{
			name:     "another namespace has no say over a service of the root namespace",
			policies: [][2]string{{"team/s", `{targetRefs: [{kind: Service, name: orders}], limits: {connections: 4}}`}},
			want:     1024, origin: "mesh-default", why: "built-in",
		},
		{
			name:     "only the root namespace has a say over the mesh",
			policies: [][2]string{{"team/s", `{targetRefs: [{kind: Mesh}], limits: {connections: 4}}`}},
			want:     1024, origin: "mesh-default", why: "built-in",
		},
		{
			name:     "a document with the reserved name is not applied",
			policies: [][2]string{{"default/mesh-default", `{targetRefs: [{kind: Mesh}], limits: {connections: 4}}`}},
			want:     1024, origin: "mesh-default", why: "built-in",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.service("orders", 1)
			for _, p := range tc.policies {
				w.policy(p[0], p[1])
			}
			d := on(t, w.full(), "orders", tc.caller)
			if d.Limits.Connections != tc.want {
				t.Errorf("connections = %d, want %d", d.Limits.Connections, tc.want)
			}
			o := d.Origins["limits.connections"]
			if o.DocumentRef.String() != tc.origin || o.Why != tc.why {
				t.Errorf("origin = %s (%s), want %s (%s)", o.DocumentRef, o.Why, tc.origin, tc.why)
			}
			var lost []string
			for _, l := range o.Lost {
				lost = append(lost, fmt.Sprintf("%s %s %s", l.DocumentRef, l.Value, l.Why))
			}
			if !slices.Equal(lost, tc.lost) {
				t.Errorf("lost = %q, want %q", lost, tc.lost)
			}
		})
	}
}

func TestFieldsOfSeveralDocumentsMergeOneByOne(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	w.policy("default/all", `{targetRefs: [{kind: Mesh}], retry: {attempts: 4, methods: [GET, PUT]}}`)
	w.policy("default/orders", `{targetRefs: [{kind: Service, name: orders}], retry: {methods: [POST], statusCodes: []}, timeouts: {connect: 1s}}`)
	d := on(t, w.full(), "orders", "")
	if d.Retry.Attempts != 4 || !slices.Equal(d.Retry.Methods, []string{"POST"}) {
		t.Errorf("attempts, methods = %d, %v; a list replaces whole, a scalar stays", d.Retry.Attempts, d.Retry.Methods)
	}
	if got := d.Origins["retry.statusCodes"]; got.Name != "orders" || got.Value != "[]" {
		t.Errorf("an empty list is a value: origin %+v", got)
	}
	for what, got := range map[string]mesh.DocumentRef{"Route": d.Route, "Cluster": d.Cluster, "TimeoutsBy": d.TimeoutsBy} {
		if got.Name != "orders" {
			t.Errorf("%s = %s, want rp/default/orders@1", what, got)
		}
	}
	if !d.LimitsBy.IsDefault() || !d.RateLimitBy.IsDefault() {
		t.Errorf("LimitsBy, RateLimitBy = %s, %s; want mesh-default", d.LimitsBy, d.RateLimitBy)
	}
	if got := fmt.Sprint(d.Documents); got != "[rp/default/all@1 rp/default/orders@1]" {
		t.Errorf("Documents = %s", got)
	}
}

func TestDestinationsUnderOneStackShareOneResult(t *testing.T) {
	w := newWorld(t)
	w.service("a", 1)
	w.service("b", 2)
	w.service("g", 2, func(s *catalog.Service) { s.Protocol = mesh.GRPC })
	r := w.full()
	if on(t, r, "a", "").Effective != on(t, r, "b", "").Effective {
		t.Error("two services under mesh-default have a result each")
	}
	if on(t, r, "a", "").Effective == on(t, r, "g", "").Effective {
		t.Error("a grpc service shares the result of an http one")
	}
}

func TestGRPCHasNoRequestTimeoutAndSaysSo(t *testing.T) {
	w := newWorld(t)
	w.service("rpc", 1, func(s *catalog.Service) { s.Protocol = mesh.GRPC })
	w.policy("default/rpc", `{targetRefs: [{kind: Service, name: rpc}], timeouts: {request: 3s}, retry: {perTryTimeout: 20s}}`)
	r := w.full()
	d := on(t, r, "rpc", "")
	o := d.Origins["timeouts.request"]
	if d.Timeouts.Request != 0 || o.Value != "0s" || o.Why != "grpc: the caller's grpc-timeout counts" {
		t.Errorf("request = %s, origin %+v", d.Timeouts.Request, o)
	}
	if len(o.Lost) != 2 || o.Lost[0].Name != "rpc" || o.Lost[0].Value != "3s" || !o.Lost[1].IsDefault() {
		t.Errorf("lost = %+v, want the document, then mesh-default", o.Lost)
	}
	if fs := r.Findings(); len(fs) != 0 {
		t.Errorf("perTryTimeout is over a request timeout that does not count: %v", fs)
	}
}

func TestATCPServiceHasDefaultsOfItsOwn(t *testing.T) {
	w := newWorld(t)
	w.service("broker", 1, speaks(mesh.TCP))
	d := on(t, w.full(), "broker", "")
	if d.Timeouts.Idle != 0 || d.Retry.TCPConnectAttempts != 3 || d.Connection.TCPKeepaliveIdle != time.Minute || d.Connection.TCPKeepaliveProbes != 4 {
		t.Errorf("%+v, %d attempts, %+v", d.Timeouts, d.Retry.TCPConnectAttempts, d.Connection)
	}
	if o := d.Origins["timeouts.idle"]; o.Value != "0s" || o.Why != "built-in, for tcp" || !o.IsDefault() || o.Lost != nil {
		t.Errorf("idle comes from %+v", o)
	}
	w.policy("default/broker", `{targetRefs: [{kind: Service, name: broker}], timeouts: {idle: 2h}, connection: {tcpKeepalive: {idle: 0s}}}`)
	d = on(t, w.full(), "broker", "")
	if d.Timeouts.Idle != 2*time.Hour || d.Connection.TCPKeepaliveIdle != 0 || d.Connection.TCPKeepaliveInterval != 15*time.Second {
		t.Errorf("%+v, %+v", d.Timeouts, d.Connection)
	}
	if o := d.Origins["timeouts.idle"]; o.Name != "broker" || len(o.Lost) != 1 || o.Lost[0].Value != "0s" {
		t.Errorf("idle comes from %+v", o)
	}
	w.policy("default/broker", `{targetRefs: [{kind: Service, name: broker}], connection: {protocol: http1}}`)
	if d = on(t, w.full(), "broker", ""); d.Timeouts.Idle != time.Minute || d.Retry.TCPConnectAttempts != 1 {
		t.Errorf("http1 has the defaults of tcp: %+v", d.Timeouts)
	}
}

func TestProtocolOverride(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	r := w.full()
	if o := on(t, r, "orders", "").Origins["connection.protocol"]; o.Value != "http1" || o.Why != "catalog" {
		t.Errorf("origin = %+v, want http1 of the catalog", o)
	}
	w.policy("default/orders", `{targetRefs: [{kind: Service, name: orders}], connection: {protocol: grpc}}`)
	d := on(t, w.full(), "orders", "")
	if d.Protocol != mesh.GRPC || d.Timeouts.Request != 0 {
		t.Errorf("protocol, request timeout = %s, %s; want grpc, 0s", d.Protocol, d.Timeouts.Request)
	}
}

func TestAnEmptyListOverridesOnItsWayThroughTheStoreToo(t *testing.T) {
	p := policy.Decode("orders.yaml", []byte("apiVersion: meshlite.dev/v1alpha1\nkind: ResiliencePolicy\nmetadata: {name: orders}\n"+
		"spec: {targetRefs: [{kind: Service, name: orders}], retry: {retryOn: [], statusCodes: []}}"))
	if len(p.Documents) != 1 {
		t.Fatalf("refused: %+v", p.Refused)
	}
	stored, err := policy.DecodeCanonical("orders.yaml", p.Documents[0].Canonical)
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range []*policy.Document{p.Documents[0], stored} {
		w := newWorld(t)
		w.service("orders", 1)
		w.docs[doc.Key] = doc
		d := on(t, w.full(), "orders", "")
		if len(d.Retry.RetryOn) != 0 || d.Origins["retry.retryOn"].Name != "orders" {
			t.Errorf("retryOn = %v of %+v, want none, of the document", d.Retry.RetryOn, d.Origins["retry.retryOn"])
		}
	}
}
