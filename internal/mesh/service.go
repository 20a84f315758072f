package mesh

import "meshlite.dev/internal/pmap"

// Protocol is what an instance speaks on its port.
type Protocol string

// The protocols that Meshlite routes. The zero value is not valid; a service
// that says nothing speaks HTTP1.
const (
	HTTP1 Protocol = "http1"
	HTTP2 Protocol = "http2"
	GRPC  Protocol = "grpc"
	TCP   Protocol = "tcp"
)

// HTTP reports whether requests, and not only bytes, can be routed.
func (p Protocol) HTTP() bool { return p != TCP }

// Health is an endpoint's state in the catalog. Unhealthy endpoints are sent
// to Envoy as well: they take traffic when nothing healthy is left.
type Health uint8

// The states of core.v3.HealthStatus that Meshlite uses.
const (
	Healthy Health = iota
	Unhealthy
	Draining
)

// String returns Envoy's word for the state.
func (h Health) String() string {
	switch h {
	case Healthy:
		return "HEALTHY"
	case Unhealthy:
		return "UNHEALTHY"
	case Draining:
		return "DRAINING"
	default:
		return "UNKNOWN"
	}
}

// Locality is where an instance runs. Empty parts are unknown.
type Locality struct{ Region, Zone string }

// Endpoint is one instance of a service.
type Endpoint struct {
	ID         string // catalog's instance id, unique within the service and node
	Address    string // IP address; a host name is reported and skipped by the catalog
	Port       uint32 // 1..65535
	Health     Health
	Weight     uint32 // 1..128
	Locality   Locality
	Node       string
	Datacenter string
	Tags       []string          // sorted
	Meta       map[string]string // never changed after publishing

	// Index is the catalog's own count of changes of this instance, 0 where it
	// has none: it tells two changes to the same state apart. Two endpoints that
	// differ in it alone are the same.
	Index uint64
}

// Service is one destination as every caller sees it.
type Service struct {
	Name      string // a DNS label, or ServiceKey for another datacenter's; also the name of its cluster and route configuration
	Namespace string // owner of its policies; never empty

	// Synced is false while the catalog has not answered for this service and
	// no last known good exists: its cluster is then withheld, never empty.
	Synced bool

	// Endpoints are sorted by address, port and id, without two of one
	// address and port.
	Endpoints []Endpoint

	// Subsets are the parts that its TrafficRoute names, sorted by name.
	Subsets []Subset

	// Default is what callers get that have nothing of their own. Never nil.
	Default *Destination
	// ByCaller holds the callers named by a policy's `from`.
	ByCaller map[string]*Destination
}

// For returns what caller gets when it calls s.
func (s *Service) For(caller string) *Destination {
	if d, ok := s.ByCaller[caller]; ok {
		return d
	}
	return s.Default
}

// Destination is a service as one caller, or all callers without a policy of
// their own, may use it. Effective is shared by all services under the same
// documents.
type Destination struct {
	Caller   string // "" for the default
	Protocol Protocol
	*Effective
	// Routes are the rules of the service's TrafficRoute; nil where it has
	// none. The pointer stays the same while they do.
	Routes *Routes
}

// Model is the compiled mesh.
type Model struct {
	Services pmap.Map[*Service]
	Revision string // hash of the policy revision that was compiled
}
