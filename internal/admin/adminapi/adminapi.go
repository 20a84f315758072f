// Package adminapi holds the JSON documents of the admin API: what xds-server
// writes and meshctl, scripts and dashboards read. Fields are only ever added.
package adminapi

import (
	"encoding/json"
	"time"

	"meshlite.dev/internal/mesh"
)

// Service is one row of GET /v1/services.
type Service struct {
	Name      string   `json:"name"`
	Namespace string   `json:"namespace"`
	Protocol  string   `json:"protocol"`
	Synced    bool     `json:"synced"` // false: the catalog has not answered for it yet
	Hosts     []string `json:"hosts"`
	Healthy   int      `json:"healthy"`
	Unhealthy int      `json:"unhealthy"`
	Draining  int      `json:"draining"`
	Policies  []string `json:"policies"`       // "rp/default/orders@3"; empty: mesh-default alone
	Held      string   `json:"held,omitempty"` // the guard's reason, when it holds instances
}

// ServiceDetail is GET /v1/services/{name}.
type ServiceDetail struct {
	Service
	Endpoints []Endpoint `json:"endpoints"`
	Callers   []string   `json:"callers,omitempty"` // callers with a policy of their own
	LastRead  *time.Time `json:"lastRead,omitempty"`
	Index     uint64     `json:"index,omitempty"`
	Hold      *Hold      `json:"hold,omitempty"`
}

// Endpoint is one instance.
type Endpoint struct {
	ID         string            `json:"id"`
	Address    string            `json:"address"` // IP:PORT
	Health     string            `json:"health"`  // HEALTHY, UNHEALTHY, DRAINING
	Weight     uint32            `json:"weight"`
	Region     string            `json:"region,omitempty"`
	Zone       string            `json:"zone,omitempty"`
	Node       string            `json:"node,omitempty"`
	Datacenter string            `json:"datacenter,omitempty"`
	Tags       []string          `json:"tags,omitempty"`
	Meta       map[string]string `json:"meta,omitempty"`
}

// Hold is a loss that the guard does not believe yet.
type Hold struct {
	Service string     `json:"service"`
	Lost    []string   `json:"lost"`
	Reason  string     `json:"reason"`
	Since   time.Time  `json:"since"`
	Expires *time.Time `json:"expires,omitempty"`
}

// AcceptRequest is the body of POST /v1/services/accept.
type AcceptRequest struct {
	Names []string `json:"names,omitempty"`
	All   bool     `json:"all,omitempty"`
}

// AcceptResponse names what was held and is believed now.
type AcceptResponse struct {
	Accepted []string `json:"accepted"`
}

// Graph is GET /v1/graph: who called whom, from the proxies' load reports.
type Graph struct {
	Window string `json:"window"` // how far back the counts reach, "10m0s"
	Edges  []Edge `json:"edges"`
}

// Edge counts tries (a retried call counts each try), as Envoy reports them.
type Edge struct {
	From       string  `json:"from"`
	To         string  `json:"to"`
	Successes  uint64  `json:"successes"`
	Errors     uint64  `json:"errors"`
	Dropped    uint64  `json:"dropped"`
	InProgress uint64  `json:"inProgress"`
	Rate       float64 `json:"rate"` // tries per second over the last report
}

// Proxy is one row of GET /v1/proxies.
type Proxy struct {
	ID          string            `json:"id"`
	Service     string            `json:"service"`
	Envoy       string            `json:"envoy"` // build version, "1.40.0"
	Labels      map[string]string `json:"labels,omitempty"`
	Address     string            `json:"address"`
	Protocol    string            `json:"protocol"` // "delta" or "sotw"
	ConnectedAt time.Time         `json:"connectedAt"`
	Connected   bool              `json:"connected"` // false: seen within the last hour, gone now
	Status      string            `json:"status"`    // the worst of its types
	Types       []TypeStatus      `json:"types"`
	Errors      []Rejection       `json:"errors,omitempty"`
	Held        []Held            `json:"held,omitempty"`
}

// States of a type on a proxy, best first.
const (
	Synced  = "SYNCED"   // all that was sent is acknowledged
	NotSent = "NOT SENT" // the proxy has not asked for this type
	Stale   = "STALE"    // sent and not acknowledged, or held back by a gate
	Error   = "ERROR"    // a resource was refused by the Envoy
)

// TypeStatus is one xDS type on one proxy.
type TypeStatus struct {
	Type      string     `json:"type"` // CDS, EDS, LDS, SRDS, RDS
	Status    string     `json:"status"`
	Resources int        `json:"resources"` // the proxy holds, as far as acknowledged
	InFlight  int        `json:"inFlight"`  // responses without an answer
	LastSent  *time.Time `json:"lastSent,omitempty"`
	LastAcked *time.Time `json:"lastAcked,omitempty"`
}

// Rejection is a resource that an Envoy refused; the last good one serves.
type Rejection struct {
	Type     string    `json:"type"`
	Resource string    `json:"resource"`
	Service  string    `json:"service,omitempty"`
	Policies []string  `json:"policies"` // at fault: what the content came from
	Message  string    `json:"message"`  // Envoy's words
	Version  string    `json:"version"`
	LastGood string    `json:"lastGood,omitempty"`
	At       time.Time `json:"at"`
}

// Held is a change that waits for something of the proxy.
type Held struct {
	Type     string    `json:"type"`
	Resource string    `json:"resource"`
	Waits    string    `json:"waits"` // "CDS ACK of orders"
	Since    time.Time `json:"since"`
}

// ProxyResource is one entry of GET /v1/proxies/{id}/config.
type ProxyResource struct {
	Type     string          `json:"type"`
	Name     string          `json:"name"`
	Version  string          `json:"version"`
	Status   string          `json:"status"` // SYNCED, STALE, ERROR, NOT SENT
	Policies []string        `json:"policies,omitempty"`
	Message  string          `json:"message,omitempty"`
	Config   json.RawMessage `json:"config,omitempty"` // protobuf JSON of what was acknowledged last
}

// ProxyDiff is one entry of GET /v1/proxies/{id}/diff: what the server holds
// for a proxy against what the proxy acknowledged.
type ProxyDiff struct {
	Type    string          `json:"type"`
	Name    string          `json:"name"`
	Change  string          `json:"change"` // "add", "change", "remove", "needs a restart"
	Held    json.RawMessage `json:"held,omitempty"`
	Wanted  json.RawMessage `json:"wanted,omitempty"`
	Message string          `json:"message,omitempty"`
}

// Policy is one row of GET /v1/policies; mesh-default comes first.
type Policy struct {
	Kind       string          `json:"kind"`
	Namespace  string          `json:"namespace"`
	Name       string          `json:"name"`
	Generation int64           `json:"generation"`
	Source     string          `json:"source,omitempty"`
	Targets    []string        `json:"targets"`  // "Mesh", "Service/orders"
	Accepted   string          `json:"accepted"` // Accepted, Conflicted, Invalid, TargetNotFound, NotPermitted
	Message    string          `json:"message,omitempty"`
	Document   json.RawMessage `json:"document,omitempty"`

	Labels map[string]string `json:"labels,omitempty"` // as they stand where the document is written, in force or not

	// Conditions sum up all targets: Accepted, ResolvedRefs, Programmed, Enforced.
	Conditions        []Condition `json:"conditions,omitempty"`
	InForceGeneration int64       `json:"inForceGeneration,omitempty"` // what traffic follows; 0: nothing of it
	Ancestors         []Ancestor  `json:"ancestors,omitempty"`         // the same conditions per target
}

// PolicyDetail is GET /v1/policies/{kind}/{namespace}/{name}.
type PolicyDetail struct {
	Policy
	Decides  []Decided       `json:"decides"`
	Findings []mesh.Finding  `json:"findings"` // about it
	Refused  []PolicyRefusal `json:"refused"`  // of what it made
}

// Decided is a set of values in force that came from a document, the same for
// all of Services.
type Decided struct {
	Services []string       `json:"services"`
	Caller   string         `json:"caller,omitempty"` // absent: all without values of their own
	Rule     string         `json:"rule,omitempty"`   // of the service's TrafficRoute, where it differs from the service
	Fields   []DecidedField `json:"fields"`
}

// DecidedField is one value in force.
type DecidedField struct {
	Field string `json:"field"`
	Value string `json:"value"`
	Why   string `json:"why"`
}

// PolicyRefusal is a message that a proxy's Envoy refused.
type PolicyRefusal struct {
	Proxy string `json:"proxy"`
	Rejection
}

// Condition is one statement about a document, as Kubernetes writes them.
type Condition struct {
	Type               string    `json:"type"`
	Status             string    `json:"status"` // True, False, Unknown
	Reason             string    `json:"reason"`
	Message            string    `json:"message"`
	ObservedGeneration int64     `json:"observedGeneration,omitempty"`
	LastTransitionTime time.Time `json:"lastTransitionTime"`
}

// Ancestor is what became of a document for one target.
type Ancestor struct {
	Target     string      `json:"target"` // "Mesh", "Service/orders", "TrafficRoute/orders/canary"
	Conditions []Condition `json:"conditions"`
}

// Policies is GET /v1/policies.
type Policies struct {
	Revision string   `json:"revision"` // "12 (3f9c2a1b)"
	Carrier  string   `json:"carrier"`  // where documents are written: "dir", "consul", "kube", or "" where there is none
	Items    []Policy `json:"items"`
}

// ApplyRequest is the body of POST /v1/policies: documents to put and to
// remove, as one change set. Only the carrier "dir" is written by the server.
type ApplyRequest struct {
	Documents []json.RawMessage `json:"documents,omitempty"`
	Delete    []string          `json:"delete,omitempty"` // "ResiliencePolicy/default/orders"
	DryRun    bool              `json:"dryRun,omitempty"`
	// Expect are the versions that documents must still have, by
	// "KIND/NAMESPACE/NAME"; "absent" is none. Those left out may have any.
	Expect map[string]string `json:"expect,omitempty"`
}

// HeldDocument is GET /v1/policies/{kind}/{namespace}/{name}/held: a document as the
// carrier "dir" holds it, in force or not, with faults or without.
type HeldDocument struct {
	Text    string `json:"text,omitempty"`    // YAML or JSON
	Version string `json:"version,omitempty"` // for ApplyRequest.Expect
	Owner   string `json:"owner,omitempty"`   // the operator's own file that it stands in; it is edited there
}

// Preview is the answer to POST /v1/policies/preview, whose body is an
// ApplyRequest: what the change set would do. Nothing is written.
type Preview struct {
	Revision  string          `json:"revision"`  // that it is compared with, the one in force
	Documents []ApplyResult   `json:"documents"` // against those in force
	Proxies   int             `json:"proxies"`   // connected
	Changes   []PreviewChange `json:"changes"`
	Groups    []PreviewGroup  `json:"groups"`           // proxies that change, those alike together
	Findings  []mesh.Finding  `json:"findings"`         // about the documents of the change set
	Faults    []string        `json:"faults,omitempty"` // messages that would not pass validation and not be sent
}

// PreviewChange is a message that would be another one, the same for every
// proxy that gets it.
type PreviewChange struct {
	Type   string `json:"type"` // CDS, EDS, LDS, SRDS, RDS
	Name   string `json:"name"`
	Caller string `json:"caller,omitempty"` // whose proxies get it; absent: all without one of their own
	Change string `json:"change"`           // "add", "change", "remove", "needs a restart"
	// Effect on the proxy: "resets" (idle connections to the cluster are closed,
	// those in use at their end, and its ejections forgotten), "closes" (the
	// same, and the cluster goes),
	// "restart" (nothing until the proxy starts anew); absent is none.
	Effect string `json:"effect,omitempty"`
	// Before and After are protobuf JSON; of the first 500 changes.
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// PreviewGroup is the proxies to which the same changes happen.
type PreviewGroup struct {
	Proxies []string `json:"proxies"`
	Changes []int    `json:"changes"` // indexes of Preview.Changes
}

// ApplyResponse says what became of each document.
type ApplyResponse struct {
	Results []ApplyResult `json:"results"`
}

// ApplyResult is one document of a change set.
type ApplyResult struct {
	Document string `json:"document"` // "ResiliencePolicy/default/orders"
	Result   string `json:"result"`   // created, configured, unchanged, deleted, absent
}

// Explain is GET /v1/explain?service=&caller=&path=&field=.
type Explain struct {
	Service string `json:"service"`
	Caller  string `json:"caller,omitempty"`
	Path    string `json:"path,omitempty"`
	// Rule is the one of the TrafficRoute that a request of Path falls to; ""
	// where none takes it, or no path was asked for. Sooner are the rules before
	// it that take the request where it meets further conditions.
	Rule     string         `json:"rule,omitempty"`
	Route    string         `json:"route,omitempty"` // the TrafficRoute, "tr/default/orders@3"
	Sooner   []string       `json:"sooner,omitempty"`
	Revision string         `json:"revision"`
	Fields   []ExplainField `json:"fields"`
}

// ExplainField is one effective field, defaults too.
type ExplainField struct {
	Field  string        `json:"field"`
	Value  string        `json:"value"`
	Origin ExplainOrigin `json:"origin"`
	Why    string        `json:"why"`
	Lost   []ExplainLost `json:"lost,omitempty"`
}

// ExplainOrigin names the document a value came from; Name is mesh-default
// for built-in values and "catalog" for the catalog's own.
type ExplainOrigin struct {
	Kind       string `json:"kind,omitempty"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	Generation int64  `json:"generation,omitempty"`
	Path       string `json:"path,omitempty"`
}

// ExplainLost is a value that did not win.
type ExplainLost struct {
	Origin ExplainOrigin `json:"origin"`
	Value  string        `json:"value"`
	Why    string        `json:"why"`
}

// Findings is GET /v1/findings.
type Findings struct {
	Items []mesh.Finding `json:"items"`
}

// Check is one line of GET /v1/doctor.
type Check struct {
	Name    string `json:"name"`
	Status  string `json:"status"` // ok, warning, error
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// Doctor is GET /v1/doctor.
type Doctor struct {
	Time   time.Time `json:"time"` // the server's clock
	Checks []Check   `json:"checks"`
}

// Version is GET /v1/version.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
	Builder string `json:"builder"` // version of the road from model to Envoy messages
}

// Event is one line of GET /v1/watch (newline-delimited JSON).
type Event struct {
	Time     time.Time `json:"time"`
	Type     string    `json:"type"` // service.added|changed|removed, policy.revision|status, proxy.connected|gone, proxy.error, guard.hold|release, rollout.started|PHASE|committed|confirmed|aborted|rolledback|heuristic
	Service  string    `json:"service,omitempty"`
	Proxy    string    `json:"proxy,omitempty"`
	Rollout  string    `json:"rollout,omitempty"` // its id
	Message  string    `json:"message"`
	Healthy  int       `json:"healthy,omitempty"`
	Policies []string  `json:"policies,omitempty"`
}

// TargetGroup is one element of GET /v1/prometheus/targets (Prometheus http_sd).
type TargetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// Failure is the body of every answer that is not 2xx.
type Failure struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
}

// Freeze is GET /v1/freeze, and with On and Reason the body of POST /v1/freeze:
// while it is on nothing but endpoints changes.
type Freeze struct {
	On     bool       `json:"on"`
	Reason string     `json:"reason,omitempty"`
	Since  *time.Time `json:"since,omitempty"`
}
