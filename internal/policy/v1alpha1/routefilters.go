package v1alpha1

import "k8s.io/apimachinery/pkg/util/intstr"

// RouteFilters change a rule's requests and answers on the way.
type RouteFilters struct {
	// +optional
	RequestHeaders *HeaderEdits `json:"requestHeaders,omitempty"`
	// +optional
	ResponseHeaders *HeaderEdits `json:"responseHeaders,omitempty"`
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
	// +optional
	Fault *Fault `json:"fault,omitempty"`
}

// HeaderEdits in this order: remove, set, add.
type HeaderEdits struct {
	// Set replaces the header, or adds it.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	Set map[string]HeaderValue `json:"set,omitempty"`
	// Add adds the header beside others of its name.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	Add map[string]HeaderValue `json:"add,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxItems=16
	Remove []HeaderName `json:"remove,omitempty"`
}

// HeaderValue is taken as it is: % has no meaning in it.
//
// +kubebuilder:validation:MaxLength=4096
type HeaderValue string

// Rewrite changes the request before it goes to a backend: the host, and one
// of path, prefix and regex.
type Rewrite struct {
	// Path replaces the whole path, the query stays.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^/[^\s]*$`
	Path *string `json:"path,omitempty"`
	// Prefix replaces the prefix that the rule's matches name.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^/[^\s]*$`
	Prefix *string `json:"prefix,omitempty"`
	// +optional
	Regex *RegexRewrite `json:"regex,omitempty"`
	// Host replaces the Host header.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Host *string `json:"host,omitempty"`
}

// RegexRewrite replaces what pattern (RE2) matches in the path; \1 in the
// substitution is its first group.
type RegexRewrite struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Pattern string `json:"pattern"`
	// +kubebuilder:validation:MaxLength=1024
	Substitution string `json:"substitution"`
}

// Redirect sends the caller elsewhere; absent parts stay as requested.
type Redirect struct {
	// +optional
	// +kubebuilder:validation:Enum=http;https
	Scheme *string `json:"scheme,omitempty"`
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Host *string `json:"host,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port *int32 `json:"port,omitempty"`
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
	// +kubebuilder:validation:Minimum=200
	// +kubebuilder:validation:Maximum=599
	Status int32 `json:"status"`
	// Body of the answer, 4096 bytes at most (Envoy's limit).
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Body *string `json:"body,omitempty"`
}

// Mirror gets a copy of a share of the requests.
type Mirror struct {
	Destination `json:",inline"`
	// Percent of the requests; absent: 100.
	// +optional
	Percent *intstr.IntOrString `json:"percent,omitempty"`
}

// Fault is injected on purpose.
type Fault struct {
	// +optional
	Delay *FaultDelay `json:"delay,omitempty"`
	// +optional
	Abort *FaultAbort `json:"abort,omitempty"`
}

// FaultDelay holds requests back.
type FaultDelay struct {
	// Percent of the requests: an integer, or a decimal in quotes as "0.1%".
	Percent intstr.IntOrString `json:"percent"`
	// Duration over 0s.
	Duration Duration `json:"duration"`
}

// FaultAbort answers in place of the backend.
type FaultAbort struct {
	// Percent of the requests: an integer, or a decimal in quotes as "0.1%".
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
