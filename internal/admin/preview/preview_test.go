package preview_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"meshlite.dev/internal/admin/preview"
	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
)

// world is a mesh with four sidecars: two of web, one of batch, one of a client
// that is in no catalog and has local ports.
type world struct {
	t *testing.T
	preview.Input
}

const head = "apiVersion: meshlite.dev/v1alpha1\nkind: %s\nmetadata: {name: %s}\nspec: %s\n---\n"

func rp(name, spec string) string {
	return fmt.Sprintf(head, policy.KindResiliencePolicy, name, spec)
}

func decode(t *testing.T, text string) []*policy.Document {
	t.Helper()
	p := policy.Decode("test", []byte(text))
	for _, r := range p.Refused {
		t.Fatalf("%v", r.Faults)
	}
	return p.Documents
}

func newWorld(t *testing.T, documents string) *world {
	t.Helper()
	services := map[string]*catalog.Service{}
	for name, protocol := range map[string]mesh.Protocol{"orders": mesh.HTTP1, "stock": mesh.HTTP1, "db": mesh.TCP, "web": mesh.HTTP1} {
		services[name] = &catalog.Service{Name: name, Protocol: protocol, Synced: true, Endpoints: []mesh.Endpoint{{ID: name + "-1", Address: "10.0.0.1", Port: 80, Weight: 1, Tags: []string{"v2"}}}}
	}
	w := &world{t: t}
	w.Compile = compile.Default()
	w.Snapshot = catalog.Snapshot{Services: pmap.From(services)}
	w.Revision = revision.Decide(policy.Revision{}, policy.Proposal{Documents: decode(t, documents)})
	w.Served = compile.Full(w.Compile, w.Snapshot, w.Revision).Model
	for id, service := range map[string]string{"web-1": "web", "web-2": "web", "batch-1": "batch"} {
		w.Proxies = append(w.Proxies, server.Node{ID: id, Service: service, OutboundPort: 15001})
	}
	w.Proxies = append(w.Proxies, server.Node{ID: "client-1", Service: "client", Upstreams: []server.Upstream{{Service: "db", Port: 9001}, {Service: "stock", Port: 9002}}})
	w.Subscribed = func(refs []resource.Ref) map[string][]bool {
		out := map[string][]bool{}
		for _, p := range w.Proxies {
			for _, r := range refs {
				// Clusters and scopes are taken whole; the routes of orders are
				// web's and batch's, those of stock the client's.
				gets := r.Type == resource.ClusterType || r.Type == resource.ScopedRouteType ||
					r.Name == "orders" && p.Service != "client" || r.Name == "stock" && p.Service == "client"
				out[p.ID] = append(out[p.ID], gets)
			}
		}
		return out
	}
	return w
}

func (w *world) put(documents string) *world {
	for _, d := range decode(w.t, documents) {
		w.Changes = append(w.Changes, policy.Change{Key: d.Key, Document: d})
	}
	return w
}

func (w *world) remove(name string) *world {
	w.Changes = append(w.Changes, policy.Change{Key: policy.Key{Kind: policy.KindResiliencePolicy, Namespace: "default", Name: name}})
	return w
}

// shorts are the type URLs in the words of the tests.
var shorts = map[string]string{resource.ClusterType: "CDS", resource.EndpointType: "EDS", resource.ListenerType: "LDS", resource.ScopedRouteType: "SRDS", resource.RouteType: "RDS"}

func lines(o preview.Outcome) []string {
	out := []string{}
	for _, c := range o.Changes {
		line := shorts[c.Type] + " " + c.Name
		for _, more := range []string{c.Caller, string(c.Effect)} {
			if more != "" {
				line += " " + more
			}
		}
		out = append(out, line)
	}
	for _, g := range o.Groups {
		out = append(out, fmt.Sprint(strings.Join(g.Proxies, " "), " ", g.Changes))
	}
	return out
}

func TestOf(t *testing.T) {
	orders := "{targetRefs: [{kind: Service, name: orders}], %s}"
	for _, tc := range []struct {
		name   string
		before string
		world  func(*world) *world
		want   []string
	}{
		{
			name:   "the same document changes nothing",
			before: rp("orders", fmt.Sprintf(orders, "timeouts: {request: 3s}")),
			world:  func(w *world) *world { return w.put(rp("orders", fmt.Sprintf(orders, "timeouts: {request: 3s}"))) },
			want:   []string{},
		},
		{
			name:  "a route closes no connection and reaches who calls the service",
			world: func(w *world) *world { return w.put(rp("orders", fmt.Sprintf(orders, "timeouts: {request: 3s}"))) },
			want:  []string{"RDS orders", "batch-1 web-1 web-2 [0]"},
		},
		{
			name:  "a cluster closes those of everybody",
			world: func(w *world) *world { return w.put(rp("orders", fmt.Sprintf(orders, "limits: {requests: 3}"))) },
			want:  []string{"CDS orders resets", "RDS orders", "batch-1 web-1 web-2 [0 1]", "client-1 [0]"},
		},
		{
			name: "a document for one caller reaches its sidecars alone",
			world: func(w *world) *world {
				return w.put(rp("orders", fmt.Sprintf(orders, "from: [{service: web}], timeouts: {request: 3s}")))
			},
			want: []string{"RDS orders web", "web-1 web-2 [0]"},
		},
		{
			name:   "what a caller has of its own does not follow the others",
			before: rp("web", fmt.Sprintf(orders, "from: [{service: web}], timeouts: {request: 3s}")),
			world:  func(w *world) *world { return w.put(rp("orders", fmt.Sprintf(orders, "timeouts: {request: 4s}"))) },
			want:   []string{"RDS orders", "batch-1 [0]"},
		},
		{
			name:   "a document that goes leaves what is below it",
			before: rp("orders", fmt.Sprintf(orders, "timeouts: {request: 3s}")),
			world:  func(w *world) *world { return w.remove("orders") },
			want:   []string{"RDS orders", "batch-1 web-1 web-2 [0]"},
		},
		{
			name: "a local port of a tcp service needs a restart",
			world: func(w *world) *world {
				return w.put(rp("db", "{targetRefs: [{kind: Service, name: db}], timeouts: {idle: 9s}}"))
			},
			want: []string{"CDS db resets", "LDS upstream/db/9001 client restart", "batch-1 web-1 web-2 [0]", "client-1 [0 1]"},
		},
		{
			name: "a subset is a new cluster, and closes nothing",
			world: func(w *world) *world {
				return w.put(fmt.Sprintf(head, policy.KindTrafficRoute, "orders", "{service: orders, subsets: [{name: v2, tags: [v2]}], rules: [{name: all, backends: [{subset: v2}]}]}"))
			},
			want: []string{"CDS orders/v2", "EDS orders/v2", "RDS orders", "batch-1 web-1 web-2 [0 1 2]", "client-1 [0 1]"},
		},
		{
			name:   "a subset that goes closes its connections",
			before: fmt.Sprintf(head, policy.KindTrafficRoute, "orders", "{service: orders, subsets: [{name: v2, tags: [v2]}]}"),
			world: func(w *world) *world {
				return w.put(fmt.Sprintf(head, policy.KindTrafficRoute, "orders", "{service: orders, rules: [{name: all, timeouts: {request: 4s}}]}"))
			},
			want: []string{"CDS orders/v2 closes", "EDS orders/v2", "RDS orders", "batch-1 web-1 web-2 [0 2]", "client-1 [0]"},
		},
		{
			name: "a document in shadow changes nothing",
			world: func(w *world) *world {
				return w.put(rp("orders", fmt.Sprintf(orders, "effect: shadow, limits: {requests: 3}")))
			},
			want: []string{},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := tc.world(newWorld(t, tc.before))
			o := preview.Of(w.Input)
			if got := lines(o); !slices.Equal(got, tc.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
			next := preview.Next(w.Revision, w.Changes)
			for _, c := range o.Changes {
				w.is(c, next)
			}
		})
	}
}

// is checks that what a change shows is what the engine would serve.
func (w *world) is(c preview.Change, next policy.Revision) {
	w.t.Helper()
	if c.Type == resource.ListenerType {
		return
	}
	for revision, r := range map[*policy.Revision]*resource.Resource{&w.Revision: c.Before, &next: c.After} {
		all := compile.Full(w.Compile, w.Snapshot, *revision).Model
		service, _, _ := strings.Cut(c.Name, "/")
		s, _ := all.Services.Get(service)
		var found *resource.Resource
		for _, have := range resource.Build(w.Messages, s).Resources {
			if have.Type == c.Type && have.Name == c.Name && (have.Caller == c.Caller || have.Caller == "" && found == nil) {
				found = have
			}
		}
		if (found == nil) != (r == nil) || r != nil && found.Version != r.Version {
			w.t.Errorf("%s %s: shown %+v, served %+v", shorts[c.Type], c.Name, r, found)
		}
	}
}

func TestWhatTheDocumentsAreTold(t *testing.T) {
	w := newWorld(t, rp("a-first", "{targetRefs: [{kind: Service, name: orders}], timeouts: {request: 3s}}"))
	w.put(rp("b-second", "{targetRefs: [{kind: Service, name: orders}], timeouts: {request: 4s}}") + rp("nowhere", "{targetRefs: [{kind: Service, name: nowhere}]}"))
	o := preview.Of(w.Input)
	var said []string
	for _, f := range o.Findings {
		said = append(said, f.Code+" "+f.Document)
	}
	if want := []string{mesh.CodeTargetNotFound + " rp/default/nowhere@1", mesh.CodeConflicted + " rp/default/b-second@1"}; !slices.Equal(said, want) {
		t.Errorf("findings %v, want %v", said, want)
	}
	if len(o.Documents) != 2 || o.Documents[0].Accepted != compile.Conflicted || o.Documents[1].Accepted != compile.TargetNotFound {
		t.Errorf("documents %+v", o.Documents)
	}
}

func TestAMessageThatValidationRefusesIsTold(t *testing.T) {
	w := newWorld(t, "")
	w.Messages.Mutate = func(name string, m any) {
		if c, ok := m.(interface{ Reset() }); ok && name == "orders" {
			c.Reset() // without the name that Envoy demands
		}
	}
	w.put(rp("orders", "{targetRefs: [{kind: Service, name: orders}], limits: {requests: 3}}"))
	o := preview.Of(w.Input)
	if len(o.Faults) == 0 || o.Faults[0].Err == nil {
		t.Errorf("faults %+v", o.Faults)
	}
}

func TestAProxyThatLeavesMeanwhileIsInNoGroup(t *testing.T) {
	w := newWorld(t, "")
	w.put(rp("orders", "{targetRefs: [{kind: Service, name: orders}], limits: {requests: 3}}"))
	w.Subscribed = func([]resource.Ref) map[string][]bool { return nil }
	if o := preview.Of(w.Input); len(o.Groups) != 0 || len(o.Changes) != 2 {
		t.Errorf("%v", lines(o))
	}
}
