package facts_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/facts"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
)

func service(protocol mesh.Protocol, endpoints ...mesh.Endpoint) *mesh.Service {
	return &mesh.Service{Name: "web", Namespace: "default", Synced: true, Endpoints: endpoints, Default: &mesh.Destination{Protocol: protocol}}
}

func endpoint(id string, h mesh.Health, index uint64) mesh.Endpoint {
	return mesh.Endpoint{ID: id, Address: "10.0.0.7", Port: 8080, Health: h, Weight: 1, Index: index}
}

// types are what is told, with the instance where there is one.
func types(told []facts.Told) []string {
	var out []string
	for _, t := range told {
		var data struct{ ID, Version string }
		_ = json.Unmarshal(t.Data, &data)
		out = append(out, strings.TrimSpace(strings.TrimPrefix(t.Type, "mesh.")+" "+data.ID+" "+t.Version))
	}
	return out
}

func TestServices(t *testing.T) {
	a, b := endpoint("a", mesh.Healthy, 5), endpoint("b", mesh.Unhealthy, 6)
	b.Address = "10.0.0.8"
	heavy, later, moved := a, a, a
	heavy.Weight, heavy.Index, later.Index, moved.Address = 3, 9, 9, "10.0.0.9"
	sick, draining := a, a
	sick.Health, sick.Index, draining.Health, draining.Index = mesh.Unhealthy, 7, mesh.Draining, 8
	for _, tc := range []struct {
		name        string
		before, now facts.Subject
		want        []string
	}{
		{"what comes is told from the whole to its parts", nil, facts.OfService(service(mesh.HTTP1, a, b)), []string{"service.registered", "endpoint.added a 5", "endpoint.added b 6"}},
		{"what goes is told from the parts to the whole", facts.OfService(service(mesh.HTTP1, a, b)), nil, []string{"endpoint.removed b 6", "endpoint.removed a 5", "service.deregistered"}},
		{"nothing changed", facts.OfService(service(mesh.HTTP1, a, b)), facts.OfService(service(mesh.HTTP1, a, b)), nil},
		{"a version alone is nothing to tell", facts.OfService(service(mesh.HTTP1, a)), facts.OfService(service(mesh.HTTP1, later)), nil},
		{"a failing check", facts.OfService(service(mesh.HTTP1, a)), facts.OfService(service(mesh.HTTP1, sick)), []string{"endpoint.unhealthy a 7"}},
		{"a passing one", facts.OfService(service(mesh.HTTP1, sick)), facts.OfService(service(mesh.HTTP1, later)), []string{"endpoint.healthy a 9"}},
		{"maintenance", facts.OfService(service(mesh.HTTP1, a)), facts.OfService(service(mesh.HTTP1, draining)), []string{"endpoint.draining a 8"}},
		{"another weight", facts.OfService(service(mesh.HTTP1, a)), facts.OfService(service(mesh.HTTP1, heavy)), []string{"endpoint.healthy a 9"}},
		{"another address is another place", facts.OfService(service(mesh.HTTP1, a)), facts.OfService(service(mesh.HTTP1, moved)), []string{"endpoint.removed a 5", "endpoint.added a 5"}},
		{"another protocol", facts.OfService(service(mesh.HTTP1, a)), facts.OfService(service(mesh.GRPC, a)), []string{"service.changed"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := types(facts.Diff(tc.before, tc.now)); !slices.Equal(got, tc.want) {
				t.Errorf("told %q, want %q", got, tc.want)
			}
		})
	}
}

func TestAServiceOfAnotherDatacenter(t *testing.T) {
	s := service(mesh.HTTP1)
	s.Name = mesh.ServiceKey("web", "dc2")
	told := facts.Diff(nil, facts.OfService(s))
	if want := `{"service":"web","namespace":"default","datacenter":"dc2","protocol":"http1"}`; len(told) != 1 || string(told[0].Data) != want {
		t.Errorf("told %s", told[0].Data)
	}
}

func accepted(status metav1.ConditionStatus, reason string, generation int64) policy.Status {
	return policy.Status{PolicyStatus: v1alpha1.PolicyStatus{Conditions: []policy.Condition{
		{Type: policy.ConditionAccepted, Status: status, Reason: reason, ObservedGeneration: generation},
	}}}
}

func TestPolicies(t *testing.T) {
	key := policy.Key{Kind: "ResiliencePolicy", Namespace: "default", Name: "web"}
	of := func(generation int64, revision uint64, s policy.Status) facts.Subject {
		return facts.OfPolicy(key, &policy.Document{Key: key, Generation: generation}, s, revision)
	}
	yes := accepted(policy.True, "Accepted", 1)
	for _, tc := range []struct {
		name        string
		before, now facts.Subject
		want        []string
	}{
		{"new", nil, of(1, 4, yes), []string{"policy.created  4", "policy.accepted"}},
		{"in force before its conditions are known", nil, of(1, 4, policy.Status{}), []string{"policy.created  4"}},
		{"another generation", of(1, 4, yes), of(2, 6, accepted(policy.True, "Accepted", 2)), []string{"policy.updated  6", "policy.accepted"}},
		{"another revision in which it stays", of(1, 4, yes), of(1, 6, yes), nil},
		{"refused, the last good one in force", of(1, 4, yes), of(1, 4, accepted(policy.False, "Invalid", 2)), []string{"policy.rejected"}},
		{"refused from the start", nil, facts.OfPolicy(key, nil, accepted(policy.False, "Invalid", 1), 3), []string{"policy.rejected"}},
		{"conflicted", of(1, 4, yes), of(1, 4, accepted(policy.False, "Conflicted", 1)), []string{"policy.conflicted"}},
		{"what is not known is not told", nil, of(1, 4, accepted(policy.Unknown, "Waiting", 1)), []string{"policy.created  4"}},
		{"deleted", of(1, 4, yes), nil, []string{"policy.deleted  4"}},
		{"deleted, its conditions told a while longer", of(1, 4, yes), facts.OfPolicy(key, nil, yes, 5), []string{"policy.deleted  4"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := types(facts.Diff(tc.before, tc.now)); !slices.Equal(got, tc.want) {
				t.Errorf("told %q, want %q", got, tc.want)
			}
		})
	}
}

func TestProxies(t *testing.T) {
	at := time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)
	p := func(sync string, at time.Time, errors ...events.Rejection) facts.Proxy {
		return facts.Proxy{ID: "web-1", Service: "web", Replica: "r", ConnectedAt: at, Sync: sync, Errors: errors}
	}
	synced := facts.OfProxy(p("synced", at), nil)
	version := " r 2026-11-23T14:00:00Z"
	for _, tc := range []struct {
		name        string
		before, now facts.Subject
		want        []string
	}{
		{"connected, nothing sent yet", nil, facts.OfProxy(p("", at), nil), []string{"proxy.connected " + version}},
		{"synced", nil, synced, []string{"proxy.connected " + version, "proxy.synced"}},
		{"on its way", synced, facts.OfProxy(p("", at), synced), nil},
		{"stale", synced, facts.OfProxy(p("stale", at), synced), []string{"proxy.stale"}},
		{"refused", synced, facts.OfProxy(p("nacked", at, events.Rejection{Message: "no"}), synced), []string{"proxy.nacked"}},
		{
			"something else refused", facts.OfProxy(p("nacked", at, events.Rejection{Message: "no"}), nil),
			facts.OfProxy(p("nacked", at, events.Rejection{Message: "no"}, events.Rejection{Message: "nor that"}), nil), []string{"proxy.nacked"},
		},
		{"gone", synced, nil, []string{"proxy.disconnected " + version}},
		{"another stream", synced, facts.OfProxy(p("", at.Add(time.Second)), synced), []string{"proxy.connected  r 2026-11-23T14:00:01Z"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := types(facts.Diff(tc.before, tc.now)); !slices.Equal(got, tc.want) {
				t.Errorf("told %q, want %q", got, tc.want)
			}
		})
	}
}

// TestWhoHearsAllKnowsTheState: whatever happened, and whatever was not seen in
// between, what was told last of each instance is how it is.
func TestWhoHearsAllKnowsTheState(t *testing.T) {
	known := map[string]bool{}
	for _, one := range events.Types() {
		known[one.Name] = true
	}
	rapid.Check(t, func(t *rapid.T) {
		told, index := facts.Subject(nil), uint64(1)
		heard := map[string]string{}
		ids := map[string]bool{}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			want, now := map[string]string{}, facts.Subject(nil)
			if rapid.Bool().Draw(t, "there") {
				var endpoints []mesh.Endpoint
				for _, id := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), rapid.ID[string]).Draw(t, "instances") {
					index++
					e := endpoint(id, rapid.SampledFrom([]mesh.Health{mesh.Healthy, mesh.Unhealthy, mesh.Draining}).Draw(t, "health"), index)
					endpoints = append(endpoints, e)
					want[id] = e.Health.String()
				}
				want[""] = "there"
				now = facts.OfService(service(mesh.HTTP1, endpoints...))
			}
			for _, one := range facts.Diff(told, now) {
				if !known[one.Type] {
					t.Fatalf("%s is no type", one.Type)
				}
				var data events.Endpoint
				if err := json.Unmarshal(one.Data, &data); err != nil {
					t.Fatal(err)
				}
				if id := fmt.Sprint(one.Type, data.ID, one.Version); one.Version != "" && ids[id] {
					t.Fatalf("%s is told twice", id)
				} else {
					ids[id] = true
				}
				switch {
				case one.Type == events.ServiceDeregistered, one.Type == events.EndpointRemoved:
					delete(heard, data.ID)
				case data.ID == "":
					heard[""] = "there"
				default:
					heard[data.ID] = data.Health
				}
			}
			if !reflect.DeepEqual(heard, want) {
				t.Fatalf("heard %v, is %v", heard, want)
			}
			if now != nil || told != nil {
				told = carry(told, now)
			}
		}
	})
}

// carry keeps versions that were told, as the cursor does for what has not
// changed.
func carry(told, now facts.Subject) facts.Subject {
	if len(facts.Diff(told, now)) == 0 && now != nil {
		return told
	}
	return now
}
