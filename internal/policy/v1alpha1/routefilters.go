package v1alpha1

import "k8s.io/apimachinery/pkg/util/intstr"

// RouteFilters change a rule's requests and answers on the way.
//
// +kubebuilder:validation:XValidation:rule="!has(self.redirect) || !has(self.directResponse)",message="redirect and directResponse exclude each other: keep one"
// +kubebuilder:validation:XValidation:rule="!has(self.redirect) && !has(self.directResponse) || !has(self.requestHeaders) && !has(self.rewrite) && !has(self.mirrors) && !has(self.fault)",message="with redirect or directResponse no request goes on: remove requestHeaders, rewrite, mirrors and fault; responseHeaders may stay"
type RouteFilters struct {
	// RequestHeaders are edited before a backend sees them.
	// +optional
	RequestHeaders *HeaderEdits `json:"requestHeaders,omitempty"`
	// ResponseHeaders are edited before the caller sees them.
	// +optional
	ResponseHeaders *HeaderEdits `json:"responseHeaders,omitempty"`
	// Rewrite changes path and host before a backend sees them.
	// +optional
	Rewrite *Rewrite `json:"rewrite,omitempty"`
	// Redirect answers with another place; goes with no backends.
	// +optional
	Redirect *Redirect `json:"redirect,omitempty"`
	// DirectResponse answers in place of a backend.
	// +optional
	DirectResponse *DirectResponse `json:"directResponse,omitempty"`
	// Mirrors get copies; their answers are dropped.
	// +optional
	// +kubebuilder:validation:MaxItems=8
	Mirrors []Mirror `json:"mirrors,omitempty"`
	// Fault delays requests, or answers with an error, on purpose.
	// +optional
	Fault *Fault `json:"fault,omitempty"`
}

// HeaderEdits in this order: remove, set, add.
type HeaderEdits struct {
	// Set replaces the header, or adds it.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches(r'^[a-z0-9!#$%&\\x27*+.^_`|~-]{1,256}$'))",message="must have header names in lower case, such as x-user"
	// +kubebuilder:validation:XValidation:rule="!('host' in self)",message="cannot change host: use rewrite.host"
	Set map[string]HeaderValue `json:"set,omitempty"`
	// Add adds the header beside others of its name.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches(r'^[a-z0-9!#$%&\\x27*+.^_`|~-]{1,256}$'))",message="must have header names in lower case, such as x-user"
	// +kubebuilder:validation:XValidation:rule="!('host' in self)",message="cannot change host: use rewrite.host"
	Add map[string]HeaderValue `json:"add,omitempty"`
	// Remove takes away all headers of the name.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="!('host' in self)",message="cannot remove host: use rewrite.host"
	Remove []HeaderName `json:"remove,omitempty"`
}

// HeaderValue is taken as it is: % has no meaning in it.
//
// +kubebuilder:validation:MaxLength=4096
// +kubebuilder:validation:Pattern=`^[^\x00-\x08\x0a-\x1f\x7f]*$`
type HeaderValue string

// Rewrite changes the request before it goes to a backend: the host, and one
// of path, prefix and regex.
//
// +kubebuilder:validation:XValidation:rule="has(self.path) || has(self.prefix) || has(self.regex) || has(self.host)",message="needs a path, prefix, regex or host"
// +kubebuilder:validation:XValidation:rule="[has(self.path), has(self.prefix), has(self.regex)].filter(x, x).size() <= 1",message="path, prefix and regex exclude each other: keep one"
type Rewrite struct {
	// Path replaces the whole path, the query stays.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^/[^\s?#]*$`
	Path *string `json:"path,omitempty"`
	// Prefix replaces the prefix that the rule's matches name.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^/[^\s?#]*$`
	Prefix *string `json:"prefix,omitempty"`
	// Regex replaces what a pattern matches in the path.
	// +optional
	Regex *RegexRewrite `json:"regex,omitempty"`
	// Host replaces the Host header; it may have a port.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-A-Za-z0-9_.]+(:[0-9]{1,5})?$`
	Host *string `json:"host,omitempty"`
}

// RegexRewrite replaces what pattern (RE2) matches in the path; \1 in the
// substitution is its first group.
type RegexRewrite struct {
	// Pattern is a regex (RE2), which may match a part of the path, also twice.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Pattern string `json:"pattern"`
	// Substitution: \0 is the whole match, \1 to \9 are groups, \\ is \.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[^\x00-\x08\x0a-\x1f\x7f]*$`
	Substitution string `json:"substitution"`
}

// Redirect sends the caller elsewhere; absent parts stay as requested.
//
// +kubebuilder:validation:XValidation:rule="has(self.scheme) || has(self.host) || has(self.port) || has(self.path)",message="needs a scheme, host, port or path: it would lead to where the caller is"
type Redirect struct {
	// Scheme to go to.
	// +optional
	// +kubebuilder:validation:Enum=http;https
	Scheme *string `json:"scheme,omitempty"`
	// Host without a port.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-A-Za-z0-9_.]+$`
	Host *string `json:"host,omitempty"`
	// Port to go to.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port *int32 `json:"port,omitempty"`
	// Path to go to, in place of the whole path; with a query it replaces the
	// request's.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^/[^\s]*$`
	Path *string `json:"path,omitempty"`
	// Status of the answer; absent: 301.
	// +optional
	// +kubebuilder:validation:Enum=301;302;303;307;308
	Status *int32 `json:"status,omitempty"`
}

// DirectResponse is the answer of the caller's own proxy.
type DirectResponse struct {
	// Status of the answer.
	// +kubebuilder:validation:Minimum=200
	// +kubebuilder:validation:Maximum=599
	Status int32 `json:"status"`
	// Body of the answer, 4096 bytes at most (Envoy's limit).
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Body *string `json:"body,omitempty"`
}

// Mirror gets a copy of a share of the requests.
//
// +kubebuilder:validation:XValidation:rule="has(self.service) || has(self.subset) || has(self.datacenter)",message="names who gets the copies: a service, a subset or a datacenter"
type Mirror struct {
	Destination `json:",inline"`
	// Percent of the requests: an integer, or a decimal in quotes as "0.1%";
	// absent: 100.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == string || self >= 0 && self <= 100",message="must be 0 to 100"
	// +kubebuilder:validation:MaxLength=9
	// +kubebuilder:validation:Pattern=`^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)%$`
	Percent *intstr.IntOrString `json:"percent,omitempty"`
}

// Fault is injected on purpose.
//
// +kubebuilder:validation:XValidation:rule="has(self.delay) || has(self.abort)",message="needs a delay or an abort"
type Fault struct {
	// Delay comes before an abort, where a request gets both.
	// +optional
	Delay *FaultDelay `json:"delay,omitempty"`
	// Abort answers in place of the backend.
	// +optional
	Abort *FaultAbort `json:"abort,omitempty"`
}

// FaultDelay holds requests back.
type FaultDelay struct {
	// Percent of the requests: an integer, or a decimal in quotes as "0.1%".
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == string || self >= 0 && self <= 100",message="must be 0 to 100"
	// +kubebuilder:validation:MaxLength=9
	// +kubebuilder:validation:Pattern=`^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)%$`
	Percent intstr.IntOrString `json:"percent"`
	// Duration over 0s.
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="must be over 0s"
	Duration Duration `json:"duration"`
}

// FaultAbort answers in place of the backend.
//
// +kubebuilder:validation:XValidation:rule="has(self.status) != has(self.grpcStatus)",message="needs exactly one of status and grpcStatus"
type FaultAbort struct {
	// Percent of the requests: an integer, or a decimal in quotes as "0.1%".
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == string || self >= 0 && self <= 100",message="must be 0 to 100"
	// +kubebuilder:validation:MaxLength=9
	// +kubebuilder:validation:Pattern=`^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)%$`
	Percent intstr.IntOrString `json:"percent"`
	// Status of the answer; or grpcStatus.
	// +optional
	// +kubebuilder:validation:Minimum=200
	// +kubebuilder:validation:Maximum=599
	Status *int32 `json:"status,omitempty"`
	// GRPCStatus is a gRPC status code, 1 to 16.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=16
	GRPCStatus *int32 `json:"grpcStatus,omitempty"`
}
