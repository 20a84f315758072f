package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TrafficRoute says where a service's HTTP requests go. A service has one; what
// matches none of its rules goes where it would without a TrafficRoute.
//
// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=tr,categories=mesh
// +kubebuilder:printcolumn:name="Service",type=string,JSONPath=`.spec.service`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Enforced",type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type TrafficRoute struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec TrafficRouteSpec `json:"spec"`
	// +optional
	Status PolicyStatus `json:"status,omitempty"`
}

// TrafficRouteList is a list of routes.
//
// +kubebuilder:object:root=true
type TrafficRouteList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TrafficRoute `json:"items"`
}

// TrafficRouteSpec holds the subsets and rules of one service.
type TrafficRouteSpec struct {
	// Service whose requests are routed. A second TrafficRoute of one service is
	// Conflicted; the lower namespace/name wins.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Service string `json:"service"`
	// Effect: enforce puts the route in force; shadow compiles, validates and
	// diffs it and never sends it to a proxy.
	// +optional
	// +kubebuilder:default=enforce
	Effect Effect `json:"effect,omitempty"`
	// Subsets name parts of the service's instances, for its own rules and
	// those of others.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Subsets []Subset `json:"subsets,omitempty"`
	// Rules in order; the first that matches a request wins.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Rules []RouteRule `json:"rules,omitempty"`
}

// Subset is the instances that have all of its tags and meta.
//
// +kubebuilder:validation:XValidation:rule="has(self.tags) && self.tags.size() > 0 || has(self.meta) && self.meta.size() > 0",message="needs tags or meta: without them it is the whole service"
type Subset struct {
	// Name, for backends, failover and mirrors.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// Tags of the catalog, all of which an instance must have.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	Tags []Tag `json:"tags,omitempty"`
	// Meta of the catalog, all of which an instance must have with that value.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	Meta map[string]MetaValue `json:"meta,omitempty"`
}

// Tag of an instance in the catalog.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=255
type Tag string

// MetaValue of an instance in the catalog; at most 512 bytes, as in Consul.
//
// +kubebuilder:validation:MaxLength=512
type MetaValue string

// RouteRule says what happens to the requests that it matches: they go to
// backends, or are redirected, or answered.
//
// +kubebuilder:validation:XValidation:rule="!has(self.filters) || !has(self.filters.redirect) && !has(self.filters.directResponse) || !has(self.backends) && !has(self.failover) && !has(self.timeouts) && !has(self.retry)",message="with redirect or directResponse no backend is called: remove backends, failover, timeouts and retry, or move them to a rule of their own"
// +kubebuilder:validation:XValidation:rule="!has(self.filters) || !has(self.filters.rewrite) || !has(self.filters.rewrite.prefix) || has(self.matches) && self.matches.size() > 0 && self.matches.all(m, has(m.path) && m.path.type == 'Prefix')",message="replaces what the matches name: each of them needs a path of type Prefix; or use path or regex",fieldPath=".filters.rewrite.prefix"
// +kubebuilder:validation:XValidation:rule="!has(self.timeouts) || !has(self.timeouts.connect)",message="lives in Envoy's cluster, which all rules share: set it in a ResiliencePolicy that targets the Service",fieldPath=".timeouts.connect"
// +kubebuilder:validation:XValidation:rule="!has(self.timeouts) || !has(self.timeouts.idle)",message="lives in Envoy's cluster, which all rules share: set it in a ResiliencePolicy that targets the Service",fieldPath=".timeouts.idle"
// +kubebuilder:validation:XValidation:rule="!has(self.retry) || !has(self.retry.budget)",message="lives in Envoy's cluster, which all rules share: set it in a ResiliencePolicy that targets the Service",fieldPath=".retry.budget"
// +kubebuilder:validation:XValidation:rule="!has(self.retry) || !has(self.retry.tcpConnectAttempts)",message="belongs to tcp services, which have no rules: set it in a ResiliencePolicy that targets the Service",fieldPath=".retry.tcpConnectAttempts"
type RouteRule struct {
	// Name of the rule, for sectionName of a ResiliencePolicy, logs and explain.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// Matches: any of them, all parts of one. Absent: every request.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	Matches []RouteMatch `json:"matches,omitempty"`
	// Backends share the requests by weight. Absent without redirect and
	// directResponse: the service itself.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.size() == 0 || self.exists(b, !has(b.weight) || b.weight > 0)",message="need a weight over 0 on one of them: nobody would take the requests"
	Backends []Backend `json:"backends,omitempty"`
	// Failover takes over, in order, where a backend has no healthy instance.
	// +optional
	// +kubebuilder:validation:MaxItems=8
	Failover []FailoverTarget `json:"failover,omitempty"`
	// Filters change requests and answers, or answer themselves.
	// +optional
	Filters *RouteFilters `json:"filters,omitempty"`
	// Timeouts of this rule: request, streamIdle and maxStreamDuration.
	// +optional
	Timeouts *Timeouts `json:"timeouts,omitempty"`
	// Retry of this rule: all but budget and tcpConnectAttempts.
	// +optional
	Retry *Retry `json:"retry,omitempty"`
}

// RouteMatch is met by a request that meets all of its parts.
type RouteMatch struct {
	// Path as requested, without its query.
	// +optional
	Path *PathMatch `json:"path,omitempty"`
	// Method in capitals; absent: every method.
	// +optional
	Method *Method `json:"method,omitempty"`
	// Headers, all of which must match.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	Headers []HeaderMatch `json:"headers,omitempty"`
	// QueryParams, all of which must match.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	QueryParams []QueryParamMatch `json:"queryParams,omitempty"`
}

// PathMatch compares the path without its query.
//
// +kubebuilder:validation:XValidation:rule="self.type in ['Suffix', 'Regex'] || self.value.startsWith('/')",message="must start with / for Exact and Prefix, as every path does",fieldPath=".value"
// +kubebuilder:validation:XValidation:rule="self.type == 'Regex' || !self.value.contains('?') && !self.value.contains('#')",message="is compared without the query: use queryParams for what stands behind the ?",fieldPath=".value"
type PathMatch struct {
	// Type: Exact, Prefix and Suffix compare characters (/api is also a prefix
	// of /apis), Regex must match the whole path.
	// +kubebuilder:validation:Enum=Exact;Prefix;Suffix;Regex
	Type string `json:"type"`
	// Value to compare with.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[^\x00-\x08\x0a-\x1f\x7f]*$`
	Value string `json:"value"`
}

// HeaderMatch compares one header.
//
// +kubebuilder:validation:XValidation:rule="self.type == 'Present' ? !has(self.value) : has(self.value)",message="Present has no value, every other type needs one",fieldPath=".value"
// +kubebuilder:validation:XValidation:rule="self.type in ['Exact', 'Present'] || !has(self.value) || self.value.size() > 0",message="must not be empty for Prefix, Suffix and Regex: use Present",fieldPath=".value"
type HeaderMatch struct {
	// Name of the header; host is the Host header or HTTP/2's :authority.
	Name HeaderName `json:"name"`
	// Type: Present asks for the header alone, Regex (RE2) must match the whole
	// value.
	// +kubebuilder:validation:Enum=Exact;Prefix;Suffix;Regex;Present
	Type string `json:"type"`
	// Value to compare with; none with Present.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[^\x00-\x08\x0a-\x1f\x7f]*$`
	Value *string `json:"value,omitempty"`
	// Invert matches the requests that would not match.
	// +optional
	Invert *bool `json:"invert,omitempty"`
}

// QueryParamMatch compares one parameter of the query.
//
// +kubebuilder:validation:XValidation:rule="self.type == 'Present' ? !has(self.value) : has(self.value)",message="Present has no value, every other type needs one",fieldPath=".value"
// +kubebuilder:validation:XValidation:rule="self.type in ['Exact', 'Present'] || !has(self.value) || self.value.size() > 0",message="must not be empty for Prefix, Suffix and Regex: use Present",fieldPath=".value"
type QueryParamMatch struct {
	// Name of the parameter; capitals count.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`
	// Type: Present asks for the parameter alone, Regex (RE2) must match the
	// whole value.
	// +kubebuilder:validation:Enum=Exact;Prefix;Suffix;Regex;Present
	Type string `json:"type"`
	// Value to compare with; none with Present.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[^\x00-\x08\x0a-\x1f\x7f]*$`
	Value *string `json:"value,omitempty"`
}

// Kinds of comparison.
const (
	MatchExact   = "Exact"
	MatchPrefix  = "Prefix"
	MatchSuffix  = "Suffix"
	MatchRegex   = "Regex"
	MatchPresent = "Present"
)

// Destination names instances: a service, or a subset of it, here or in
// another datacenter. Absent parts are the route's own service, all of its
// instances, the own datacenter.
type Destination struct {
	// Service of the catalog; absent: the route's own.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Service string `json:"service,omitempty"`
	// Subset as the service's own TrafficRoute names it; absent: all instances.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Subset string `json:"subset,omitempty"`
	// Datacenter of the catalog, in lower case; absent: the own.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9_]*[a-z0-9])?$`
	Datacenter string `json:"datacenter,omitempty"`
}

// Backend takes its share of a rule's requests.
type Backend struct {
	Destination `json:",inline"`
	// Weight over the sum of all weights is the share; absent: 1.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Weight *int32 `json:"weight,omitempty"`
}

// FailoverTarget takes over where what stands before it has no healthy instance.
//
// +kubebuilder:validation:XValidation:rule="has(self.service) || has(self.subset) || has(self.datacenter)",message="names who takes over: a service, a subset or a datacenter"
type FailoverTarget struct {
	Destination `json:",inline"`
}

// PolicyStatus is written by xds-server, the same for every kind.
type PolicyStatus struct {
	// Conditions sum up all targets: True only if true for each.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// InForceGeneration is the generation that traffic follows.
	// +optional
	InForceGeneration int64 `json:"inForceGeneration,omitempty"`
	// Ancestors hold the same conditions per target.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	Ancestors []AncestorStatus `json:"ancestors,omitempty"`
}
