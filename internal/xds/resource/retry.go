package resource

import (
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previousv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"

	"meshlite.dev/internal/mesh"
)

const previousHosts = "envoy.retry_host_predicates.previous_hosts"

var (
	// unprocessed are the tokens that are safe for every method: the request
	// never reached an application.
	unprocessed = []string{"connect-failure", "refused-stream", "reset-before-request"}
	// ofGRPC are not gated by method: every gRPC call is a POST, and naming a
	// token is the author's word that the call may be repeated.
	ofGRPC = []string{"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}
)

// retryPolicy is nil where nothing is retried. idempotent asks for the policy
// of the methods that may be repeated.
func retryPolicy(r mesh.Retry, idempotent bool) *routev3.RetryPolicy {
	tokens := retryOn(r, idempotent)
	if r.Attempts == 0 || len(tokens) == 0 {
		return nil
	}
	p := &routev3.RetryPolicy{
		RetryOn:           strings.Join(tokens, ","),
		NumRetries:        u32(r.Attempts),
		PerTryTimeout:     optional(r.PerTryTimeout),
		PerTryIdleTimeout: optional(r.PerTryIdleTimeout),
		RetryBackOff:      &routev3.RetryPolicy_RetryBackOff{BaseInterval: seconds(r.BackoffBase), MaxInterval: seconds(r.BackoffMax)},
	}
	if idempotent {
		p.RetriableStatusCodes = r.StatusCodes
		for _, h := range r.ResponseHeaders {
			p.RetriableHeaders = append(p.RetriableHeaders, &routev3.HeaderMatcher{
				Name: h, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
			})
		}
	}
	if r.AvoidPreviousHosts {
		p.RetryHostPredicate = []*routev3.RetryPolicy_RetryHostPredicate{{
			Name:       previousHosts,
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: pack(&previousv3.PreviousHostsPredicate{})},
		}}
		p.HostSelectionRetryMaxAttempts = int64(r.HostSelectionAttempts)
	}
	if r.HonorRetryAfterMax > 0 {
		p.RateLimitedRetryBackOff = &routev3.RetryPolicy_RateLimitedRetryBackOff{
			ResetHeaders: []*routev3.RetryPolicy_ResetHeader{{Name: "retry-after", Format: routev3.RetryPolicy_SECONDS}},
			MaxInterval:  seconds(r.HonorRetryAfterMax),
		}
	}
	return p
}

// retryOn gates the tokens by method. Reset counts for methods that may be
// repeated even where it is not named: without it one such call fails for
// every instance that is killed.
func retryOn(r mesh.Retry, idempotent bool) []string {
	var out []string
	add := func(token string) {
		if !slices.Contains(out, token) {
			out = append(out, token)
		}
	}
	for _, t := range r.RetryOn {
		if idempotent || slices.Contains(unprocessed, t) || slices.Contains(ofGRPC, t) {
			add(t)
		}
	}
	if !idempotent {
		return out
	}
	add("reset")
	if len(r.StatusCodes) > 0 {
		add("retriable-status-codes")
	}
	if len(r.ResponseHeaders) > 0 {
		add("retriable-headers")
	}
	return out
}
