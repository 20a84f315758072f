package compile

import (
	"reflect"
	"strconv"
	"strings"
	"time"

	"meshlite.dev/internal/mesh"
)

// resilience aliases the type that every setter below fills.
type resilience = mesh.Resilience

// setter puts the value of one field of the schema into the effective result.
// Values were validated before they got here: what cannot be read is nought.
type setter func(r *resilience, v reflect.Value)

// setters has one entry for each field of the schema but connection.protocol,
// which becomes the destination's protocol; a test compares the two.
var setters = map[string]setter{
	"timeouts.connect":           duration64(func(r *resilience) *time.Duration { return &r.Timeouts.Connect }),
	"timeouts.request":           duration64(func(r *resilience) *time.Duration { return &r.Timeouts.Request }),
	"timeouts.idle":              duration64(func(r *resilience) *time.Duration { return &r.Timeouts.Idle }),
	"timeouts.streamIdle":        duration64(func(r *resilience) *time.Duration { return &r.Timeouts.StreamIdle }),
	"timeouts.maxStreamDuration": duration64(func(r *resilience) *time.Duration { return &r.Timeouts.MaxStreamDuration }),

	"retry.attempts":              count(func(r *resilience) *uint32 { return &r.Retry.Attempts }),
	"retry.retryOn":               words(func(r *resilience) *[]string { return &r.Retry.RetryOn }),
	"retry.statusCodes":           counts(func(r *resilience) *[]uint32 { return &r.Retry.StatusCodes }),
	"retry.methods":               words(func(r *resilience) *[]string { return &r.Retry.Methods }),
	"retry.responseHeaders":       words(func(r *resilience) *[]string { return &r.Retry.ResponseHeaders }),
	"retry.perTryTimeout":         duration64(func(r *resilience) *time.Duration { return &r.Retry.PerTryTimeout }),
	"retry.perTryIdleTimeout":     duration64(func(r *resilience) *time.Duration { return &r.Retry.PerTryIdleTimeout }),
	"retry.backoff.base":          duration64(func(r *resilience) *time.Duration { return &r.Retry.BackoffBase }),
	"retry.backoff.max":           duration64(func(r *resilience) *time.Duration { return &r.Retry.BackoffMax }),
	"retry.honorRetryAfter.max":   duration64(func(r *resilience) *time.Duration { return &r.Retry.HonorRetryAfterMax }),
	"retry.avoidPreviousHosts":    flag(func(r *resilience) *bool { return &r.Retry.AvoidPreviousHosts }),
	"retry.hostSelectionAttempts": count(func(r *resilience) *uint32 { return &r.Retry.HostSelectionAttempts }),
	"retry.budget.percent":        number(func(r *resilience) *float64 { return &r.Retry.BudgetPercent }),
	"retry.budget.minConcurrency": count(func(r *resilience) *uint32 { return &r.Retry.BudgetMinConcurrency }),
	"retry.tcpConnectAttempts":    count(func(r *resilience) *uint32 { return &r.Retry.TCPConnectAttempts }),

	"limits.connections":            count(func(r *resilience) *uint32 { return &r.Limits.Connections }),
	"limits.pendingRequests":        count(func(r *resilience) *uint32 { return &r.Limits.PendingRequests }),
	"limits.requests":               count(func(r *resilience) *uint32 { return &r.Limits.Requests }),
	"limits.connectionPools":        count(func(r *resilience) *uint32 { return &r.Limits.ConnectionPools }),
	"limits.perEndpointConnections": count(func(r *resilience) *uint32 { return &r.Limits.PerEndpointConnections }),
	"limits.requestsPerConnection":  count(func(r *resilience) *uint32 { return &r.Limits.RequestsPerConnection }),

	"outlierDetection.mode":                                word(func(r *resilience) *mesh.OutlierMode { return &r.Outlier.Mode }),
	"outlierDetection.interval":                            duration64(func(r *resilience) *time.Duration { return &r.Outlier.Interval }),
	"outlierDetection.baseEjectionTime":                    duration64(func(r *resilience) *time.Duration { return &r.Outlier.BaseEjectionTime }),
	"outlierDetection.maxEjectionTime":                     duration64(func(r *resilience) *time.Duration { return &r.Outlier.MaxEjectionTime }),
	"outlierDetection.maxEjectionTimeJitter":               duration64(func(r *resilience) *time.Duration { return &r.Outlier.MaxEjectionTimeJitter }),
	"outlierDetection.maxEjectionPercent":                  count(func(r *resilience) *uint32 { return &r.Outlier.MaxEjectionPercent }),
	"outlierDetection.consecutive5xx":                      count(func(r *resilience) *uint32 { return &r.Outlier.Consecutive5xx }),
	"outlierDetection.consecutiveGatewayErrors":            count(func(r *resilience) *uint32 { return &r.Outlier.ConsecutiveGatewayErrors }),
	"outlierDetection.localOrigin.split":                   flag(func(r *resilience) *bool { return &r.Outlier.SplitLocalOrigin }),
	"outlierDetection.localOrigin.consecutive":             count(func(r *resilience) *uint32 { return &r.Outlier.ConsecutiveLocalOrigin }),
	"outlierDetection.successRate.enabled":                 flag(func(r *resilience) *bool { return &r.Outlier.SuccessRate }),
	"outlierDetection.successRate.minimumHosts":            count(func(r *resilience) *uint32 { return &r.Outlier.SuccessRateMinimumHosts }),
	"outlierDetection.successRate.requestVolume":           count(func(r *resilience) *uint32 { return &r.Outlier.SuccessRateRequestVolume }),
	"outlierDetection.successRate.standardDeviationFactor": number(func(r *resilience) *float64 { return &r.Outlier.SuccessRateStdevFactor }),
	"outlierDetection.failurePercentage.enabled":           flag(func(r *resilience) *bool { return &r.Outlier.FailurePercentage }),
	"outlierDetection.failurePercentage.threshold":         count(func(r *resilience) *uint32 { return &r.Outlier.FailurePercentageThreshold }),
	"outlierDetection.failurePercentage.minimumHosts":      count(func(r *resilience) *uint32 { return &r.Outlier.FailurePercentageMinHosts }),
	"outlierDetection.failurePercentage.requestVolume":     count(func(r *resilience) *uint32 { return &r.Outlier.FailurePercentageVolume }),
	"outlierDetection.panicThresholdPercent":               count(func(r *resilience) *uint32 { return &r.Outlier.PanicThresholdPercent }),

	"loadBalancing.type":                    word(func(r *resilience) *mesh.LoadBalancer { return &r.LoadBalancing.Type }),
	"loadBalancing.choiceCount":             count(func(r *resilience) *uint32 { return &r.LoadBalancing.ChoiceCount }),
	"loadBalancing.hash":                    setHash,
	"loadBalancing.slowStart.window":        duration64(func(r *resilience) *time.Duration { return &r.LoadBalancing.SlowStartWindow }),
	"loadBalancing.locality.mode":           word(func(r *resilience) *mesh.LocalityMode { return &r.LoadBalancing.Locality }),
	"loadBalancing.locality.minClusterSize": count(func(r *resilience) *uint32 { return &r.LoadBalancing.LocalityMinClusterSize }),

	"healthCheck.type":           word(func(r *resilience) *mesh.HealthCheckType { return &checkIn(r).Type }),
	"healthCheck.path":           word(func(r *resilience) *string { return &checkIn(r).Path }),
	"healthCheck.interval":       duration64(func(r *resilience) *time.Duration { return &checkIn(r).Interval }),
	"healthCheck.timeout":        duration64(func(r *resilience) *time.Duration { return &checkIn(r).Timeout }),
	"healthCheck.unhealthyAfter": count(func(r *resilience) *uint32 { return &checkIn(r).UnhealthyAfter }),
	"healthCheck.healthyAfter":   count(func(r *resilience) *uint32 { return &checkIn(r).HealthyAfter }),

	"rateLimit.perCaller.requests": count(func(r *resilience) *uint32 { return &rateIn(r).Requests }),
	"rateLimit.perCaller.per":      duration64(func(r *resilience) *time.Duration { return &rateIn(r).Per }),
	"rateLimit.perCaller.burst":    count(func(r *resilience) *uint32 { return &rateIn(r).Burst }),

	"connection.http2.keepaliveInterval":    duration64(func(r *resilience) *time.Duration { return &r.Connection.HTTP2KeepaliveInterval }),
	"connection.http2.keepaliveTimeout":     duration64(func(r *resilience) *time.Duration { return &r.Connection.HTTP2KeepaliveTimeout }),
	"connection.http2.maxConcurrentStreams": count(func(r *resilience) *uint32 { return &r.Connection.HTTP2MaxConcurrentStreams }),
	"connection.tcpKeepalive.idle":          duration64(func(r *resilience) *time.Duration { return &r.Connection.TCPKeepaliveIdle }),
	"connection.tcpKeepalive.interval":      duration64(func(r *resilience) *time.Duration { return &r.Connection.TCPKeepaliveInterval }),
	"connection.tcpKeepalive.probes":        count(func(r *resilience) *uint32 { return &r.Connection.TCPKeepaliveProbes }),
}

// convert turns the merged spec into effective values.
func convert(spec reflect.Value) mesh.Resilience {
	var r mesh.Resilience
	for i := range schema {
		if set, ok := setters[schema[i].path]; ok {
			if v, ok := schema[i].get(spec); ok {
				set(&r, v)
			}
		}
	}
	if r.RateLimit != nil && r.RateLimit.Requests == 0 {
		r.RateLimit = nil // a bucket that nobody gave a rate
	}
	return r
}

func checkIn(r *resilience) *mesh.HealthCheck {
	if r.HealthCheck == nil {
		r.HealthCheck = &mesh.HealthCheck{}
	}
	return r.HealthCheck
}

func rateIn(r *resilience) *mesh.RateLimit {
	if r.RateLimit == nil {
		r.RateLimit = &mesh.RateLimit{}
	}
	return r.RateLimit
}

func duration64(field func(*resilience) *time.Duration) setter {
	return func(r *resilience, v reflect.Value) { *field(r) = parseDuration(text(v)) }
}

func parseDuration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0
	}
	return d
}

func count(field func(*resilience) *uint32) setter {
	return func(r *resilience, v reflect.Value) { *field(r) = parseCount(text(v)) }
}

func parseCount(s string) uint32 {
	n, err := strconv.ParseUint(strings.TrimSuffix(s, "%"), 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

func number(field func(*resilience) *float64) setter {
	return func(r *resilience, v reflect.Value) {
		if n, err := strconv.ParseFloat(strings.TrimSuffix(text(v), "%"), 64); err == nil {
			*field(r) = n
		}
	}
}

func flag(field func(*resilience) *bool) setter {
	return func(r *resilience, v reflect.Value) { *field(r) = text(v) == "true" }
}

func word[T ~string](field func(*resilience) *T) setter {
	return func(r *resilience, v reflect.Value) { *field(r) = T(text(v)) }
}

func words(field func(*resilience) *[]string) setter {
	return func(r *resilience, v reflect.Value) {
		for i := range v.Len() {
			*field(r) = append(*field(r), text(v.Index(i)))
		}
	}
}

func counts(field func(*resilience) *[]uint32) setter {
	return func(r *resilience, v reflect.Value) {
		for i := range v.Len() {
			*field(r) = append(*field(r), parseCount(text(v.Index(i))))
		}
	}
}
