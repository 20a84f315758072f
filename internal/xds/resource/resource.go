// Package resource turns the compiled model into Envoy's messages: pure
// functions from values to bytes, a file per kind of message. The same input
// gives the same bytes and the same version on every replica and after every
// restart. Every message passes protobuf validation, inside Any too, before it
// leaves this package.
package resource

import "meshlite.dev/internal/mesh"

// Type URLs of the resources that Meshlite serves, in the order in which a
// flush sends them.
const (
	ClusterType     = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointType    = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	ListenerType    = "type.googleapis.com/envoy.config.listener.v3.Listener"
	ScopedRouteType = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
	RouteType       = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
)

// State says how the engine treats a resource.
type State uint8

const (
	// Normal resources are sent whenever they differ from what a proxy has.
	Normal State = iota
	// IfAbsent resources are sent only to a proxy that holds nothing under
	// that name, and never replace: the answer for a service that the catalog
	// has not told about yet, and the listeners fixed at a proxy's start.
	IfAbsent
	// Withheld resources are neither sent nor removed: what a proxy holds
	// under that name stays.
	Withheld
)

// Resource is one Envoy message, built once per content and shared by all
// proxies that get it. Immutable.
type Resource struct {
	Type    string // one of the type URLs above
	Name    string
	Caller  string // proxies with this node.cluster get it; "" is for all without a variant of their own
	Service string // whose change makes it; "" for what belongs to the mesh
	State   State
	Version string // 16 hex digits of a hash of Body; equal content, equal version
	// Body is the message, deterministically marshalled (without the Any).
	// Nil when State is Withheld.
	Body []byte
	// Refs are what must be known to Envoy before this resource: the clusters
	// of a route configuration, the route configuration of a scope.
	Refs []Ref
	// Policies are all documents that the content comes from, most specific
	// first, as mesh.DocumentRef.String gives them.
	Policies []string
	// Certified is whether Body names mesh.ClientSecret: a proxy without a
	// certificate gets it as Uncertified leaves it.
	Certified bool
}

// Ref names another resource.
type Ref struct{ Type, Name string }

// Set is everything made of one service (or of the mesh itself: Service "").
type Set struct {
	Service   string
	Resources []*Resource // sorted by Type (send order), Name, Caller
	Faults    []Fault
}

// Fault is a message that validation refused: it is not in Resources and its
// last good version stays.
type Fault struct {
	Service            string
	Type, Name, Caller string
	Err                error
	Policies           []string
}

// Config is what the messages depend on beside the model.
type Config struct {
	Egress Egress
	// Mutate, when set, edits each message before it is validated and
	// marshalled. Tests use it to make what an Envoy rejects.
	Mutate func(name string, message any)
}

// Egress says where a request for a host outside the mesh goes.
type Egress string

// The egress modes.
const (
	Deny        Egress = "deny"
	Passthrough Egress = "passthrough"
)

// Profile is what a proxy says of itself and its listeners depend on.
type Profile struct {
	Service      string // node.cluster
	OutboundPort uint32 // 0: no outbound listener
	Upstreams    []Upstream
}

// Upstream is a local port of a proxy.
type Upstream struct {
	Service  string
	Port     uint32
	Protocol mesh.Protocol     // the proxy's word, or the catalog's; HTTP1 when unknown
	Dest     *mesh.Destination // nil when the service is unknown; a tcp listener reads timeouts.idle and tcpConnectAttempts
}
