package resource

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"meshlite.dev/internal/mesh"
)

// hashPolicy says what RingHash and Maglev hash, in order.
func hashPolicy(keys []mesh.HashKey) []*routev3.RouteAction_HashPolicy {
	var out []*routev3.RouteAction_HashPolicy
	for _, k := range keys {
		p := &routev3.RouteAction_HashPolicy{Terminal: k.Terminal}
		switch {
		case k.Header != "":
			p.PolicySpecifier = &routev3.RouteAction_HashPolicy_Header_{Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: k.Header}}
		case k.Cookie != "":
			p.PolicySpecifier = &routev3.RouteAction_HashPolicy_Cookie_{Cookie: &routev3.RouteAction_HashPolicy_Cookie{
				Name: k.Cookie, Ttl: optional(k.CookieTTL), Path: k.CookiePath,
			}}
		case k.Query != "":
			p.PolicySpecifier = &routev3.RouteAction_HashPolicy_QueryParameter_{QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: k.Query}}
		default:
			p.PolicySpecifier = &routev3.RouteAction_HashPolicy_ConnectionProperties_{ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true}}
		}
		out = append(out, p)
	}
	return out
}
