package xdstest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/resource"
)

// Transport is the client end of a delta stream.
type Transport interface {
	Send(*discoveryv3.DeltaDiscoveryRequest) error
	Recv() (*discoveryv3.DeltaDiscoveryResponse, error)
}

// End is the client end of a delta pipe as a Transport.
type End struct{ *Delta }

// Send implements Transport.
func (e End) Send(r *discoveryv3.DeltaDiscoveryRequest) error {
	e.Say(r)
	return nil
}

// Recv implements Transport.
func (e End) Recv() (*discoveryv3.DeltaDiscoveryResponse, error) { return e.Hear() }

// Envoy models an Envoy on a delta stream: the order in which it subscribes,
// what it drops, what it keeps over a reconnect, and how a refused response
// is applied (in part, as section 5 of the measurements has it). After every
// response it checks that its routes lead to clusters it knows.
type Envoy struct {
	Node *corev3.Node
	// Refuse returns what is wrong with a resource; "" accepts it. Nil accepts
	// everything.
	Refuse func(typeURL string, r *discoveryv3.Resource) string
	// Partial applies the resources in front of a refused one, as Envoy does
	// for routes; else nothing of a refused response is applied.
	Partial bool

	mu         sync.Mutex
	has        map[string]map[string]*discoveryv3.Resource
	wants      map[string]map[string]bool // named subscriptions: EDS, RDS
	asked      map[string]bool            // on this stream
	Violations []string
	Received   int // resources, on all streams
	Nacks      int
	Responses  [][]string // "CDS +a +b -c", on all streams
}

var order = []string{resource.ClusterType, resource.EndpointType, resource.ListenerType, resource.ScopedRouteType, resource.RouteType}

// Run speaks on t until it ends. What the Envoy has survives for the next Run.
func (e *Envoy) Run(t Transport) error {
	e.begin()
	if err := e.hello(t); err != nil {
		return err
	}
	for {
		r, err := t.Recv()
		if err != nil {
			return err
		}
		for _, req := range e.take(r) {
			if err := t.Send(req); err != nil {
				return err
			}
		}
	}
}

func (e *Envoy) begin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = map[string]bool{}
	if e.has != nil {
		return
	}
	e.has, e.wants = map[string]map[string]*discoveryv3.Resource{}, map[string]map[string]bool{}
	for _, t := range order {
		e.has[t], e.wants[t] = map[string]*discoveryv3.Resource{}, map[string]bool{}
	}
}

// hello sends the first requests: clusters alone by one that starts, all types
// at once with the versions it has by one that comes back.
func (e *Envoy) hello(t Transport) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	first := order[:1]
	if len(e.has[resource.ListenerType])+len(e.has[resource.ClusterType]) > 0 {
		first = order
	}
	for i, typ := range first {
		req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typ, InitialResourceVersions: map[string]string{}}
		if i == 0 {
			req.Node = e.Node
		}
		req.ResourceNamesSubscribe = slices.Sorted(maps.Keys(e.wants[typ]))
		if typ == resource.RouteType && len(req.ResourceNamesSubscribe) == 0 {
			continue
		}
		for name, r := range e.has[typ] {
			req.InitialResourceVersions[name] = r.GetVersion()
		}
		e.asked[typ] = true
		if err := t.Send(req); err != nil {
			return err
		}
	}
	return nil
}

// take applies a response and returns the requests that follow from it:
// changes of subscription first, the answer last.
func (e *Envoy) take(r *discoveryv3.DeltaDiscoveryResponse) (out []*discoveryv3.DeltaDiscoveryRequest) {
	e.mu.Lock()
	defer e.mu.Unlock()
	typ := r.GetTypeUrl()
	e.log(r)
	answer := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typ, ResponseNonce: r.GetNonce()}
	if why := e.apply(typ, r); why != "" {
		e.Nacks++
		answer.ErrorDetail = &status.Status{Code: 13, Message: why}
	}
	if sub := e.resubscribe(typ); sub != nil {
		out = append(out, sub)
	}
	out = append(out, answer)
	next := map[string]string{resource.ClusterType: resource.ListenerType, resource.ListenerType: resource.ScopedRouteType}[typ]
	if next != "" && !e.asked[next] {
		e.asked[next] = true
		out = append(out, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: next})
	}
	e.check()
	return out
}

func (e *Envoy) log(r *discoveryv3.DeltaDiscoveryResponse) {
	line := []string{short(r.GetTypeUrl())}
	names := map[string]int{}
	for _, x := range r.GetResources() {
		line = append(line, "+"+x.GetName())
		names[x.GetName()]++
		e.Received++
	}
	for _, x := range r.GetRemovedResources() {
		line = append(line, "-"+x)
		names[x]++
	}
	for name, n := range names {
		if n > 1 {
			e.Violations = append(e.Violations, fmt.Sprintf("%s: %s stands %d times in one response", line[0], name, n))
		}
	}
	e.Responses = append(e.Responses, line)
}

func short(typeURL string) string {
	return []string{"CDS", "EDS", "LDS", "SRDS", "RDS"}[slices.Index(order, typeURL)]
}

// apply changes what the Envoy has and returns why it refuses, if it does.
func (e *Envoy) apply(typ string, r *discoveryv3.DeltaDiscoveryResponse) (why string) {
	for _, x := range r.GetResources() {
		if e.Refuse != nil && why == "" {
			why = e.Refuse(typ, x)
		}
	}
	if why != "" && !e.Partial {
		return why
	}
	for _, x := range r.GetResources() {
		if why != "" && e.Refuse(typ, x) != "" {
			return why
		}
		named := typ == resource.EndpointType || typ == resource.RouteType
		if named && !e.wants[typ][x.GetName()] {
			continue // told, not asked: acknowledged and dropped
		}
		e.has[typ][x.GetName()] = x
	}
	for _, name := range r.GetRemovedResources() {
		if typ != resource.RouteType { // Envoy ignores these
			delete(e.has[typ], name)
		}
	}
	return why
}

// resubscribe derives the named subscriptions of endpoints and routes.
func (e *Envoy) resubscribe(typ string) *discoveryv3.DeltaDiscoveryRequest {
	want := map[string]bool{}
	switch typ {
	case resource.ClusterType:
		typ = resource.EndpointType
		for name, x := range e.has[resource.ClusterType] {
			c := &clusterv3.Cluster{}
			if proto.Unmarshal(x.GetResource().GetValue(), c) == nil && c.GetType() == clusterv3.Cluster_EDS {
				want[name] = true
			}
		}
	case resource.ScopedRouteType, resource.ListenerType:
		typ = resource.RouteType
		if e.has[resource.ListenerType][mesh.BallotListener] != nil {
			want[mesh.BallotRoute] = true
		}
		for _, x := range e.has[resource.ScopedRouteType] {
			s := &routev3.ScopedRouteConfiguration{}
			if proto.Unmarshal(x.GetResource().GetValue(), s) == nil {
				want[s.GetRouteConfigurationName()] = true
			}
		}
	default:
		return nil
	}
	req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typ}
	for _, n := range slices.Sorted(maps.Keys(want)) {
		if !e.wants[typ][n] {
			req.ResourceNamesSubscribe = append(req.ResourceNamesSubscribe, n)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(e.wants[typ])) {
		if !want[n] {
			req.ResourceNamesUnsubscribe = append(req.ResourceNamesUnsubscribe, n)
			delete(e.has[typ], n)
		}
	}
	e.wants[typ] = want
	if len(req.ResourceNamesSubscribe)+len(req.ResourceNamesUnsubscribe) == 0 {
		return nil
	}
	e.asked[typ] = true
	return req
}

// check records every route in use that leads to no cluster, or to a failover
// list of which one is not there.
func (e *Envoy) check() {
	for name := range e.wants[resource.RouteType] {
		x := e.has[resource.RouteType][name]
		if x == nil || name == mesh.BallotRoute {
			continue // a host that is not known, as before; what serves nothing
		}
		rc := &routev3.RouteConfiguration{}
		if err := proto.Unmarshal(x.GetResource().GetValue(), rc); err != nil {
			e.Violations = append(e.Violations, err.Error())
			continue
		}
		for _, c := range LeadsTo(rc) {
			for _, to := range append(Members(e.has[resource.ClusterType][c].GetResource().GetValue()), c) {
				if e.has[resource.ClusterType][to] == nil {
					e.Violations = append(e.Violations, fmt.Sprintf("route %s leads to cluster %s, which is not there", name, to))
				}
			}
		}
	}
}

// Has returns the versions of a type by name.
func (e *Envoy) Has(typeURL string) map[string]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[string]string{}
	for name, r := range e.has[typeURL] {
		out[name] = r.GetVersion()
	}
	return out
}

// Log returns the responses so far, one per line, and forgets them.
func (e *Envoy) Log() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	lines := make([]string, len(e.Responses))
	for i, l := range e.Responses {
		slices.Sort(l[1:])
		lines[i] = strings.Join(l, " ")
	}
	e.Responses = nil
	return strings.Join(lines, "\n")
}

// Faults returns what was wrong so far.
func (e *Envoy) Faults() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.Violations)
}
