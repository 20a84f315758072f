package events

import "time"

// Types of what the mesh itself tells. They carry state, not deltas: what is so
// now, so that the newest event of a subject says all about it.
const (
	ServiceRegistered   = "mesh.service.registered"
	ServiceChanged      = "mesh.service.changed"
	ServiceDeregistered = "mesh.service.deregistered"

	EndpointAdded     = "mesh.endpoint.added"
	EndpointRemoved   = "mesh.endpoint.removed"
	EndpointHealthy   = "mesh.endpoint.healthy"
	EndpointUnhealthy = "mesh.endpoint.unhealthy"
	EndpointDraining  = "mesh.endpoint.draining"

	PolicyCreated    = "mesh.policy.created"
	PolicyUpdated    = "mesh.policy.updated"
	PolicyDeleted    = "mesh.policy.deleted"
	PolicyAccepted   = "mesh.policy.accepted"
	PolicyRejected   = "mesh.policy.rejected"
	PolicyConflicted = "mesh.policy.conflicted"

	ProxyConnected    = "mesh.proxy.connected"
	ProxyDisconnected = "mesh.proxy.disconnected"
	ProxySynced       = "mesh.proxy.synced"
	ProxyStale        = "mesh.proxy.stale"
	ProxyNacked       = "mesh.proxy.nacked"

	DeliveryDeadLettered = "mesh.delivery.deadlettered"

	Gap = "mesh.events.gap"
)

// Service is the data of mesh.service events.
type Service struct {
	Service    string `json:"service" doc:"its name in the catalog"`
	Namespace  string `json:"namespace" doc:"owner of its policies"`
	Datacenter string `json:"datacenter,omitempty" doc:"where it is another than the mesh's own"`
	Protocol   string `json:"protocol" doc:"http1, http2, grpc or tcp"`
}

// Endpoint is the data of mesh.endpoint events.
type Endpoint struct {
	Service    string   `json:"service" doc:"its name in the catalog"`
	ID         string   `json:"id" doc:"the instance's id in the catalog"`
	Address    string   `json:"address" doc:"IP:PORT that callers dial"`
	Health     string   `json:"health" doc:"HEALTHY, UNHEALTHY or DRAINING; the last known one where it was removed"`
	Weight     uint32   `json:"weight" doc:"its share of calls, 1 to 128"`
	Node       string   `json:"node,omitempty" doc:"the machine that it runs on"`
	Region     string   `json:"region,omitempty" doc:"where it runs"`
	Zone       string   `json:"zone,omitempty" doc:"where it runs, in the region"`
	Datacenter string   `json:"datacenter,omitempty" doc:"of the catalog"`
	Tags       []string `json:"tags,omitempty" doc:"of the instance, sorted"`
}

// Policy is the data of mesh.policy events.
type Policy struct {
	Kind       string `json:"kind" doc:"ResiliencePolicy, TrafficRoute or EventSubscription"`
	Namespace  string `json:"namespace" doc:"of the document"`
	Name       string `json:"name" doc:"of the document"`
	Generation int64  `json:"generation" doc:"counts its versions; of accepted, rejected and conflicted: the version that is meant"`
	Reason     string `json:"reason,omitempty" doc:"one word for why, of accepted, rejected and conflicted"`
	Message    string `json:"message,omitempty" doc:"the same in a sentence"`
}

// Proxy is the data of mesh.proxy events.
type Proxy struct {
	Proxy       string      `json:"proxy" doc:"id of the sidecar (node.id)"`
	Service     string      `json:"service" doc:"service beside which it runs (node.cluster)"`
	Envoy       string      `json:"envoy" doc:"build of its Envoy"`
	ConnectedAt time.Time   `json:"connectedAt" doc:"start of the stream that is meant"`
	Replica     string      `json:"replica" doc:"the xds-server that serves it"`
	Errors      []Rejection `json:"errors,omitempty" doc:"what its Envoy refused, of nacked"`
}

// Rejection is a resource that an Envoy refused; the last good one serves.
type Rejection struct {
	Type     string   `json:"type" doc:"CDS, EDS, LDS, SRDS or RDS"`
	Resource string   `json:"resource" doc:"its name"`
	Policies []string `json:"policies,omitempty" doc:"documents that the content came from, rp/NAMESPACE/NAME@GENERATION"`
	Message  string   `json:"message" doc:"Envoy's words"`
}

// Delivery is the data of mesh.delivery events.
type Delivery struct {
	Subscription string `json:"subscription" doc:"NAMESPACE/NAME of the EventSubscription"`
	Service      string `json:"service" doc:"of the handler"`
	Queue        string `json:"queue" doc:"dead-letter queue that has the event now"`
	ID           string `json:"id,omitempty" doc:"of the event; absent where what came was none"`
	Source       string `json:"source,omitempty" doc:"of the event"`
	Type         string `json:"type,omitempty" doc:"of the event"`
	Subject      string `json:"subject,omitempty" doc:"of the event"`
	Attempts     int    `json:"attempts" doc:"made to handle it"`
	Reason       string `json:"reason" doc:"why it was given up"`
}

// GapData is the data of mesh.events.gap.
type GapData struct {
	Replica string `json:"replica" doc:"the xds-server whose memory has a gap"`
	Reason  string `json:"reason" doc:"first start, outbox lost, another replica told meanwhile, or what could not be told"`
	Scope   string `json:"scope" doc:"catalog (services, endpoints and policies) or proxies: these are told anew; rollouts or transactions: some were not told, and will not be"`
}

// Type describes one type of event.
type Type struct {
	Name string
	When string // it is told
	Data any    // zero value of its data
}

// Types returns every type that the mesh tells of.
func Types() []Type {
	return append([]Type{
		{ServiceRegistered, "A service is in the catalog that was not.", Service{}},
		{ServiceChanged, "Namespace or protocol of a service changed.", Service{}},
		{ServiceDeregistered, "A service is gone from the catalog; its endpoints were removed before.", Service{}},
		{EndpointAdded, "An instance is in the catalog that was not, in whatever health.", Endpoint{}},
		{EndpointRemoved, "An instance is gone, as the guard believes too.", Endpoint{}},
		{EndpointHealthy, "An instance became healthy, or something else about a healthy one changed: its weight, say.", Endpoint{}},
		{EndpointUnhealthy, "An instance became unhealthy, or something else about an unhealthy one changed.", Endpoint{}},
		{EndpointDraining, "An instance is in maintenance and gets no new calls.", Endpoint{}},
		{PolicyCreated, "A document came in force for the first time.", Policy{}},
		{PolicyUpdated, "Another version of a document came in force.", Policy{}},
		{PolicyDeleted, "A document is in force no more.", Policy{}},
		{PolicyAccepted, "A version of a document is accepted.", Policy{}},
		{PolicyRejected, "A version of a document is not accepted; the last good one stays in force.", Policy{}},
		{PolicyConflicted, "A document sets what another one sets already, which wins.", Policy{}},
		{ProxyConnected, "A sidecar opened its stream.", Proxy{}},
		{ProxyDisconnected, "A sidecar's stream ended; its Envoy goes on with what it has.", Proxy{}},
		{ProxySynced, "A sidecar acknowledged all that it was sent.", Proxy{}},
		{ProxyStale, "A sidecar has not acknowledged for five seconds what it was sent, or something is held back from it.", Proxy{}},
		{ProxyNacked, "A sidecar's Envoy refused something; other refusals of the same sidecar are told again with it.", Proxy{}},
		{DeliveryDeadLettered, "A subscription gave an event up, and it lies in the dead-letter queue. Of dead letters that are of this type themselves nothing is told.", Delivery{}},
		{Gap, "The one who tells has a gap in its memory: events may be missing before this one. Where its scope is catalog or proxies the state of all of that follows; what it does not name is gone.", GapData{}},
	}, ownTypes()...)
}
