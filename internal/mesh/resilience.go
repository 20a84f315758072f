package mesh

import "time"

// Effective is the merged resilience of a destination with the origin of
// every field. It is immutable and shared.
type Effective struct {
	Resilience
	// Origins has an entry for every field path of the schema that has a
	// value, such as "retry.attempts"; lists have one entry for the whole.
	Origins map[string]Origin
	// Route and Cluster are the most specific documents that took part in the
	// sections that live in Envoy's routes and in its clusters.
	Route, Cluster DocumentRef
	// Limits, Timeouts and RateLimit are the same per section, for
	// x-mesh-reason.
	LimitsBy, TimeoutsBy, RateLimitBy DocumentRef
	// Documents are all documents that took part, least specific first,
	// mesh-default left out.
	Documents []DocumentRef
	// RouteDocuments and ClusterDocuments are those of them that gave a value
	// to the routes and to the cluster, most specific first.
	RouteDocuments, ClusterDocuments []DocumentRef
}

// Resilience holds effective values: nothing is absent any more, except the
// sections that mesh-default leaves out, which are nil.
type Resilience struct {
	Timeouts      Timeouts
	Retry         Retry
	Limits        Limits
	Outlier       OutlierDetection
	LoadBalancing LoadBalancing
	HealthCheck   *HealthCheck // nil: the catalog's checks decide
	RateLimit     *RateLimit   // nil: none
	Connection    Connection
}

// Timeouts of a destination; 0 turns each off.
type Timeouts struct {
	Connect           time.Duration // cluster.v3.Cluster.connect_timeout; over 0
	Request           time.Duration // route.v3.RouteAction.timeout; none for grpc
	Idle              time.Duration // of an upstream connection, or of a tcp service's downstream one
	StreamIdle        time.Duration // route.v3.RouteAction.idle_timeout
	MaxStreamDuration time.Duration // route.v3.RouteAction.MaxStreamDuration
}

// Retry of a destination. Envoy: route.v3.RetryPolicy.
type Retry struct {
	Attempts              uint32   // after the first try, 0..10; 0 turns retries off
	RetryOn               []string // Envoy's tokens, in the document's order
	StatusCodes           []uint32 // 100..599; adds retriable-status-codes
	Methods               []string // all tokens count for these; others only for requests never processed
	ResponseHeaders       []string // names whose presence asks for a retry
	PerTryTimeout         time.Duration
	PerTryIdleTimeout     time.Duration
	BackoffBase           time.Duration
	BackoffMax            time.Duration
	HonorRetryAfterMax    time.Duration // 0: Retry-After is not read
	AvoidPreviousHosts    bool
	HostSelectionAttempts uint32
	BudgetPercent         float64 // of the calls in flight, 0..100
	BudgetMinConcurrency  uint32
	TCPConnectAttempts    uint32 // tcp_proxy.max_connect_attempts, 1 or more
}

// TCPConnectAttempts is how often a tcp service is dialled for one connection,
// where no document says.
const TCPConnectAttempts = 3

// Limits are circuit breakers; 0 is unlimited. Envoy: cluster.v3.CircuitBreakers.
type Limits struct {
	Connections            uint32
	PendingRequests        uint32
	Requests               uint32
	ConnectionPools        uint32
	PerEndpointConnections uint32
	RequestsPerConnection  uint32
}

// OutlierMode says what a detected outlier meets.
type OutlierMode string

// The modes of outlier detection.
const (
	OutlierEnforce  OutlierMode = "Enforce"
	OutlierMonitor  OutlierMode = "Monitor"  // counted, never ejected
	OutlierDisabled OutlierMode = "Disabled" // not even counted
)

// OutlierDetection ejects endpoints that keep failing. Envoy: cluster.v3.OutlierDetection.
type OutlierDetection struct {
	Mode                       OutlierMode
	Interval                   time.Duration
	BaseEjectionTime           time.Duration
	MaxEjectionTime            time.Duration // at least BaseEjectionTime
	MaxEjectionTimeJitter      time.Duration
	MaxEjectionPercent         uint32 // 0..100; one host is always ejected
	Consecutive5xx             uint32 // 0 turns the check off
	ConsecutiveGatewayErrors   uint32 // 0 turns the check off
	SplitLocalOrigin           bool
	ConsecutiveLocalOrigin     uint32 // 0 turns the check off
	SuccessRate                bool
	SuccessRateMinimumHosts    uint32
	SuccessRateRequestVolume   uint32
	SuccessRateStdevFactor     float64 // times the standard deviation, 1.9 for Envoy's 1900
	FailurePercentage          bool
	FailurePercentageThreshold uint32
	FailurePercentageMinHosts  uint32
	FailurePercentageVolume    uint32
	PanicThresholdPercent      uint32 // 0 never, 50 Envoy's own
}

// LoadBalancer is Envoy's policy name as users write it.
type LoadBalancer string

// The load balancers. RingHash and Maglev need a hash.
const (
	RoundRobin   LoadBalancer = "RoundRobin"
	LeastRequest LoadBalancer = "LeastRequest"
	Random       LoadBalancer = "Random"
	RingHash     LoadBalancer = "RingHash"
	Maglev       LoadBalancer = "Maglev"
)

// LocalityMode says how near instances are preferred.
type LocalityMode string

// The locality modes.
const (
	LocalityDisabled  LocalityMode = "Disabled"
	LocalityZoneAware LocalityMode = "ZoneAware"
	LocalityFailover  LocalityMode = "Failover"
)

// LoadBalancing chooses the endpoint.
type LoadBalancing struct {
	Type                   LoadBalancer
	ChoiceCount            uint32 // LeastRequest only, 2 or more
	Hash                   []HashKey
	SlowStartWindow        time.Duration // RoundRobin and LeastRequest only; 0 is off
	Locality               LocalityMode
	LocalityMinClusterSize uint32 // ZoneAware: fewer hosts than this, no preference
}

// HashKey is one input of a hash; exactly one of Header, Cookie, Query and
// SourceIP is set.
type HashKey struct {
	Header     string
	Cookie     string
	CookieTTL  time.Duration
	CookiePath string
	Query      string
	SourceIP   bool
	Terminal   bool // stop here when this key has a value
}

// HealthCheckType is the probe that Envoy sends.
type HealthCheckType string

// The probes.
const (
	HealthCheckHTTP HealthCheckType = "HTTP"
	HealthCheckGRPC HealthCheckType = "GRPC"
	HealthCheckTCP  HealthCheckType = "TCP"
)

// HealthCheck is Envoy's active check. Envoy: core.v3.HealthCheck.
type HealthCheck struct {
	Type           HealthCheckType
	Path           string // HTTP only
	Interval       time.Duration
	Timeout        time.Duration
	UnhealthyAfter uint32
	HealthyAfter   uint32
}

// RateLimit is a token bucket in each caller's sidecar. Envoy: local_ratelimit.
type RateLimit struct {
	Requests uint32        // tokens added every Per
	Per      time.Duration // at least 50ms (Envoy's limit)
	Burst    uint32        // size of the bucket
}

// Connection holds what is set on an upstream connection; 0 leaves Envoy's own.
type Connection struct {
	HTTP2KeepaliveInterval    time.Duration
	HTTP2KeepaliveTimeout     time.Duration
	HTTP2MaxConcurrentStreams uint32
	TCPKeepaliveIdle          time.Duration
	TCPKeepaliveInterval      time.Duration
	TCPKeepaliveProbes        uint32
}
