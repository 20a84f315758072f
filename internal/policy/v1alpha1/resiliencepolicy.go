package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ResiliencePolicy is all resilience of one destination, so that it is one unit
// to explain and to roll out. A field that is left out is inherited.
//
// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=rp,categories=mesh
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.spec.targetRefs[*].name`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Enforced",type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name != 'mesh-default'",message="metadata.name: mesh-default is reserved for the built-in policy; choose another name"
type ResiliencePolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ResiliencePolicySpec `json:"spec"`
	// +optional
	Status PolicyStatus `json:"status,omitempty"`
}

// ResiliencePolicyList is a list of policies.
//
// +kubebuilder:object:root=true
type ResiliencePolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ResiliencePolicy `json:"items"`
}

// ResiliencePolicySpec says where the policy applies and what it sets. Absent
// means inherited from the less specific documents and at last mesh-default.
//
// +kubebuilder:validation:XValidation:rule="!has(self.from) || self.targetRefs.all(t, t.kind == 'Service')",message="goes with targets of kind Service only; remove from, or target a Service",fieldPath=".from"
// +kubebuilder:validation:XValidation:rule="!self.targetRefs.exists(t, t.kind == 'TrafficRoute') || !has(self.limits) && !has(self.outlierDetection) && !has(self.loadBalancing) && !has(self.healthCheck) && !has(self.connection)",message="limits, outlierDetection, loadBalancing, healthCheck and connection live in Envoy's cluster, which all rules share: set them in a document that targets the Service"
// +kubebuilder:validation:XValidation:rule="!self.targetRefs.exists(t, t.kind == 'TrafficRoute') || !has(self.timeouts) || !has(self.timeouts.connect)",message="lives in Envoy's cluster, which all rules share: set it in a document that targets the Service",fieldPath=".timeouts.connect"
// +kubebuilder:validation:XValidation:rule="!self.targetRefs.exists(t, t.kind == 'TrafficRoute') || !has(self.timeouts) || !has(self.timeouts.idle)",message="lives in Envoy's cluster, which all rules share: set it in a document that targets the Service",fieldPath=".timeouts.idle"
// +kubebuilder:validation:XValidation:rule="!self.targetRefs.exists(t, t.kind == 'TrafficRoute') || !has(self.retry) || !has(self.retry.budget)",message="lives in Envoy's cluster, which all rules share: set it in a document that targets the Service",fieldPath=".retry.budget"
// +kubebuilder:validation:XValidation:rule="!self.targetRefs.exists(t, t.kind == 'TrafficRoute') || !has(self.retry) || !has(self.retry.tcpConnectAttempts)",message="belongs to tcp services, which have no rules: set it in a document that targets the Service",fieldPath=".retry.tcpConnectAttempts"
type ResiliencePolicySpec struct {
	// TargetRefs name the destinations that the policy is for.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	TargetRefs []TargetRef `json:"targetRefs"`
	// From limits the policy to these callers. Absent means all.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	From []CallerRef `json:"from,omitempty"`
	// Effect: enforce puts the policy in force; shadow compiles, validates and
	// diffs it and never sends it to a proxy.
	// +optional
	// +kubebuilder:default=enforce
	Effect Effect `json:"effect,omitempty"`
	// +optional
	Timeouts *Timeouts `json:"timeouts,omitempty"`
	// +optional
	Retry *Retry `json:"retry,omitempty"`
	// +optional
	Limits *Limits `json:"limits,omitempty"`
	// +optional
	OutlierDetection *OutlierDetection `json:"outlierDetection,omitempty"`
	// +optional
	LoadBalancing *LoadBalancing `json:"loadBalancing,omitempty"`
	// +optional
	HealthCheck *HealthCheck `json:"healthCheck,omitempty"`
	// +optional
	RateLimit *RateLimit `json:"rateLimit,omitempty"`
	// +optional
	Connection *Connection `json:"connection,omitempty"`
}

// Effect says whether a policy counts.
//
// +kubebuilder:validation:Enum=enforce;shadow
type Effect string

// The effects.
const (
	Enforce Effect = "enforce"
	Shadow  Effect = "shadow"
)

// TargetRef names what a policy is for.
//
// +kubebuilder:validation:XValidation:rule="self.kind == 'Mesh' ? !has(self.name) : has(self.name)",message="Service and TrafficRoute need a name, Mesh has none",fieldPath=".name"
// +kubebuilder:validation:XValidation:rule="!has(self.sectionName) || self.kind == 'TrafficRoute'",message="names a rule of a TrafficRoute; remove it for other kinds",fieldPath=".sectionName"
type TargetRef struct {
	// Group is meshlite.dev, and may be left out.
	// +optional
	// +kubebuilder:validation:Enum=meshlite.dev
	Group string `json:"group,omitempty"`
	// +kubebuilder:validation:Enum=Mesh;Service;TrafficRoute
	Kind string `json:"kind"`
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`
	// SectionName is a rule of the TrafficRoute.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	SectionName string `json:"sectionName,omitempty"`
}

// Kinds of targets.
const (
	TargetMesh         = "Mesh"
	TargetService      = "Service"
	TargetTrafficRoute = "TrafficRoute"
)

// CallerRef names a calling service.
type CallerRef struct {
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Service string `json:"service"`
}

// Timeouts of a destination; 0s turns each off.
type Timeouts struct {
	// Connect bounds the time to a connection; over 0s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="must be over 0s"
	Connect *Duration `json:"connect,omitempty"`
	// Request bounds the whole call with its retries. A grpc service gets none:
	// the caller's grpc-timeout counts.
	// +optional
	Request *Duration `json:"request,omitempty"`
	// Idle closes an upstream connection without requests; of a tcp service, one
	// without a byte either way, and only where a document says so.
	// +optional
	Idle *Duration `json:"idle,omitempty"`
	// StreamIdle ends a request without a byte either way.
	// +optional
	StreamIdle *Duration `json:"streamIdle,omitempty"`
	// MaxStreamDuration bounds a request or stream whatever happens on it.
	// +optional
	MaxStreamDuration *Duration `json:"maxStreamDuration,omitempty"`
}

// Limits are circuit breakers per proxy and destination; 0 is unlimited.
type Limits struct {
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	Connections *int32 `json:"connections,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	PendingRequests *int32 `json:"pendingRequests,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	Requests *int32 `json:"requests,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	ConnectionPools *int32 `json:"connectionPools,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	PerEndpointConnections *int32 `json:"perEndpointConnections,omitempty"`
	// RequestsPerConnection closes a connection after so many.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	RequestsPerConnection *int32 `json:"requestsPerConnection,omitempty"`
}

// HealthCheck is Envoy's own probe.
//
// +kubebuilder:validation:XValidation:rule="!has(self.path) || !has(self.type) || self.type == 'HTTP'",message="goes with type HTTP only",fieldPath=".path"
type HealthCheck struct {
	// +optional
	// +kubebuilder:validation:Enum=HTTP;GRPC;TCP
	Type *string `json:"type,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^/[^\s]*$`
	Path *string `json:"path,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be 1ms or more"
	Interval *Duration `json:"interval,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be 1ms or more"
	Timeout *Duration `json:"timeout,omitempty"`
	// UnhealthyAfter so many failures in a row.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	UnhealthyAfter *int32 `json:"unhealthyAfter,omitempty"`
	// HealthyAfter so many successes in a row.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	HealthyAfter *int32 `json:"healthyAfter,omitempty"`
}

// RateLimit bounds the calls that a caller may make.
type RateLimit struct {
	// +optional
	PerCaller *TokenBucket `json:"perCaller,omitempty"`
}

// TokenBucket in each caller's sidecar.
type TokenBucket struct {
	// Requests are added every per.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000
	Requests *int32 `json:"requests,omitempty"`
	// Per is 50ms or more (Envoy's limit).
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('50ms')",message="must be 50ms or more, Envoy's limit"
	Per *Duration `json:"per,omitempty"`
	// Burst is the size of the bucket; absent: requests.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000
	Burst *int32 `json:"burst,omitempty"`
}

// Connection holds what is set on upstream connections.
type Connection struct {
	// Protocol overrides the catalog's.
	// +optional
	// +kubebuilder:validation:Enum=http1;http2;grpc;tcp
	Protocol *string `json:"protocol,omitempty"`
	// +optional
	HTTP2 *HTTP2 `json:"http2,omitempty"`
	// +optional
	TCPKeepalive *TCPKeepalive `json:"tcpKeepalive,omitempty"`
}

// HTTP2 settings; 0 leaves Envoy's own.
type HTTP2 struct {
	// +optional
	KeepaliveInterval *Duration `json:"keepaliveInterval,omitempty"`
	// +optional
	KeepaliveTimeout *Duration `json:"keepaliveTimeout,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	MaxConcurrentStreams *int32 `json:"maxConcurrentStreams,omitempty"`
}

// TCPKeepalive settings; 0 leaves the system's own. A tcp service has 60s, 15s
// and 4 where no document says.
type TCPKeepalive struct {
	// +optional
	Idle *Duration `json:"idle,omitempty"`
	// +optional
	Interval *Duration `json:"interval,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=127
	Probes *int32 `json:"probes,omitempty"`
}

// AncestorStatus is what became of the policy for one target.
type AncestorStatus struct {
	AncestorRef TargetRef `json:"ancestorRef"`
	// ControllerName is meshlite.dev/xds-server.
	// +kubebuilder:validation:MaxLength=253
	ControllerName string `json:"controllerName"`
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
