package v1alpha1

// Retry of a destination.
type Retry struct {
	// Attempts after the first try; 0 turns retries off.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	Attempts *int32 `json:"attempts,omitempty"`
	// RetryOn are Envoy's retry tokens.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	RetryOn []RetryToken `json:"retryOn,omitempty"`
	// StatusCodes are answers to retry; adds retriable-status-codes.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	StatusCodes []StatusCode `json:"statusCodes,omitempty"`
	// Methods are those that all tokens count for. Others are retried only when
	// the request was never processed.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	Methods []Method `json:"methods,omitempty"`
	// ResponseHeaders ask for a retry by being there; adds retriable-headers.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	ResponseHeaders []HeaderName `json:"responseHeaders,omitempty"`
	// PerTryTimeout bounds each try; 0s is none.
	// +optional
	PerTryTimeout *Duration `json:"perTryTimeout,omitempty"`
	// PerTryIdleTimeout bounds the silence within a try; 0s is none.
	// +optional
	PerTryIdleTimeout *Duration `json:"perTryIdleTimeout,omitempty"`
	// +optional
	Backoff *Backoff `json:"backoff,omitempty"`
	// +optional
	HonorRetryAfter *HonorRetryAfter `json:"honorRetryAfter,omitempty"`
	// AvoidPreviousHosts sends a retry to an instance not tried yet.
	// +optional
	AvoidPreviousHosts *bool `json:"avoidPreviousHosts,omitempty"`
	// HostSelectionAttempts bounds the search for such an instance.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	HostSelectionAttempts *int32 `json:"hostSelectionAttempts,omitempty"`
	// +optional
	Budget *Budget `json:"budget,omitempty"`
	// TCPConnectAttempts of a tcp service, the first included; 3 where no document
	// says.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10
	TCPConnectAttempts *int32 `json:"tcpConnectAttempts,omitempty"`
}

// RetryToken is one of Envoy's retry conditions, HTTP or gRPC.
//
// +kubebuilder:validation:Enum="5xx";gateway-error;reset;reset-before-request;connect-failure;refused-stream;envoy-ratelimited;retriable-4xx;retriable-headers;retriable-status-codes;cancelled;deadline-exceeded;internal;resource-exhausted;unavailable
// +kubebuilder:validation:MaxLength=32
type RetryToken string

// StatusCode of an HTTP answer.
//
// +kubebuilder:validation:Minimum=100
// +kubebuilder:validation:Maximum=599
type StatusCode int32

// Method of an HTTP request.
//
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:Pattern=`^[A-Z][A-Z-]*$`
type Method string

// HeaderName of an HTTP message, in lower case.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=256
// +kubebuilder:validation:Pattern="^[a-z0-9!#$%&'*+.^_`|~-]+$"
type HeaderName string

// Backoff between tries: random, growing from base to max.
type Backoff struct {
	// Base is over 0s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be 1ms or more"
	Base *Duration `json:"base,omitempty"`
	// Max is base or more.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be 1ms or more"
	Max *Duration `json:"max,omitempty"`
}

// HonorRetryAfter reads the answer's Retry-After.
type HonorRetryAfter struct {
	// Max is the longest wait that is honoured; 0s does not read the header.
	// +optional
	Max *Duration `json:"max,omitempty"`
}

// Budget bounds concurrent retries, those waiting in back-off included.
type Budget struct {
	// Percent of the calls in flight.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Percent *int32 `json:"percent,omitempty"`
	// MinConcurrency is allowed whatever the percentage says.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	MinConcurrency *int32 `json:"minConcurrency,omitempty"`
}
