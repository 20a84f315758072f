package resource

import (
	"math"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"meshlite.dev/internal/mesh"
)

const rateLimitFilter = "envoy.filters.http.local_ratelimit"

// Key and value of the descriptor by which a rule finds its own bucket.
const inRule = "rule"

// buckets are the service-wide one and those of the rules that have one of their
// own; nil when nothing is limited. The service-wide one gives no token to a
// request of a rule with its own.
func buckets(service string, d *mesh.Destination, rules []mesh.Rule) *localv3.LocalRateLimit {
	var own []*ratelimitv3.LocalRateLimitDescriptor
	for i := range rules {
		if r := &rules[i]; ownLimit(d, r) {
			own = append(own, &ratelimitv3.LocalRateLimitDescriptor{
				Entries:     []*ratelimitv3.RateLimitDescriptor_Entry{{Key: inRule, Value: r.Name}},
				TokenBucket: tokens(r.Resilience.RateLimit),
			})
		}
	}
	switch {
	case len(own) == 0 && d.RateLimit == nil:
		return nil
	case len(own) == 0:
		return bucket(tokens(d.RateLimit), "rate-limited service="+service+" policy="+d.RateLimitBy.String())
	}
	all := bucket(unlimited(), "rate-limited service="+service+" policy=%METADATA(ROUTE:meshlite.dev:limited)%")
	if d.RateLimit != nil {
		all.TokenBucket = tokens(d.RateLimit)
	}
	all.Descriptors = own
	all.AlwaysConsumeDefaultTokenBucket = no()
	return all
}

// ownLimit reports whether a rule has a bucket that is not the service's.
func ownLimit(d *mesh.Destination, r *mesh.Rule) bool {
	mine, all := r.Resilience.RateLimit, d.RateLimit
	return r.Name != "" && len(r.Backends) > 0 && mine != nil && (all == nil || *mine != *all || r.Resilience.RateLimitBy != d.RateLimitBy)
}

// inBucket leads the requests of a route to its rule's bucket.
func inBucket(rule string) *routev3.RateLimit {
	return &routev3.RateLimit{Actions: []*routev3.RateLimit_Action{{
		ActionSpecifier: &routev3.RateLimit_Action_GenericKey_{GenericKey: &routev3.RateLimit_Action_GenericKey{
			DescriptorKey: inRule, DescriptorValue: rule,
		}},
	}}}
}

func tokens(r *mesh.RateLimit) *typev3.TokenBucket {
	return &typev3.TokenBucket{MaxTokens: r.Burst, TokensPerFill: u32(r.Requests), FillInterval: seconds(r.Per)}
}

// unlimited is a bucket that nobody empties: Envoy asks for one.
func unlimited() *typev3.TokenBucket {
	return &typev3.TokenBucket{MaxTokens: math.MaxUint32, TokensPerFill: u32(math.MaxUint32), FillInterval: seconds(time.Second)}
}

// bucket is the caller's token bucket; an empty one answers 429, and a gRPC
// call RESOURCE_EXHAUSTED. Envoy sets no response flag then, so the reason
// comes with the bucket.
func bucket(of *typev3.TokenBucket, reason string) *localv3.LocalRateLimit {
	all := &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: 100}}
	return &localv3.LocalRateLimit{
		StatPrefix:                     "rate_limit",
		TokenBucket:                    of,
		FilterEnabled:                  all,
		FilterEnforced:                 all,
		RateLimitedAsResourceExhausted: true,
		ResponseHeadersToAdd:           []*corev3.HeaderValueOption{header(ReasonHeader, reason)},
	}
}

// noLimit is the filter where no virtual host gives it a bucket.
func noLimit() *localv3.LocalRateLimit { return &localv3.LocalRateLimit{StatPrefix: "rate_limit"} }
