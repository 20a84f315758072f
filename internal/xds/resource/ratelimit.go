package resource

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"meshlite.dev/internal/mesh"
)

const rateLimitFilter = "envoy.filters.http.local_ratelimit"

// bucket is the caller's token bucket; an empty one answers 429, and a gRPC
// call RESOURCE_EXHAUSTED. Envoy sets no response flag then, so the reason
// comes with the bucket.
func bucket(service string, r *mesh.RateLimit, by mesh.DocumentRef) *localv3.LocalRateLimit {
	all := &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: 100}}
	return &localv3.LocalRateLimit{
		StatPrefix: "rate_limit",
		TokenBucket: &typev3.TokenBucket{
			MaxTokens:     r.Burst,
			TokensPerFill: u32(r.Requests),
			FillInterval:  seconds(r.Per),
		},
		FilterEnabled:                  all,
		FilterEnforced:                 all,
		RateLimitedAsResourceExhausted: true,
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{
			header(ReasonHeader, "rate-limited service="+service+" policy="+by.String()),
		},
	}
}

// noLimit is the filter where no virtual host gives it a bucket.
func noLimit() *localv3.LocalRateLimit { return &localv3.LocalRateLimit{StatPrefix: "rate_limit"} }
