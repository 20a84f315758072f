package resource

import (
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"meshlite.dev/internal/mesh"
)

// ruled makes the routes of one rule, in the order of its matches. Requests
// whose methods may be repeated have a route of their own, for they are retried
// otherwise than the rest.
func ruled(service string, d *mesh.Destination, r *mesh.Rule) []*routev3.Route {
	matches := r.Matches
	if len(matches) == 0 {
		matches = []mesh.Match{{}}
	}
	ts := targets(r)
	var out []*routev3.Route
	for _, m := range matches {
		switch {
		case r.Redirect != nil || r.Direct != nil || nowhere(ts):
			out = append(out, answered(service, d, r, m, ts))
		case m.Method != "":
			out = append(out, forwarded(service, d, r, m, ts, slices.Contains(r.Resilience.Retry.Methods, m.Method)))
		case len(r.Resilience.Retry.Methods) == 0:
			out = append(out, forwarded(service, d, r, m, ts, false))
		default:
			safe := forwarded(service, d, r, m, ts, true)
			safe.Match.Headers = append(safe.Match.Headers, methodMatcher(r.Resilience.Retry.Methods))
			out = append(out, safe, forwarded(service, d, r, m, ts, false))
		}
	}
	return out
}

// routeName is SERVICE/RULE, or SERVICE/RULE/PART. What no rule matched has the
// names of a service without rules.
func routeName(service string, r *mesh.Rule, part string) string {
	name := service
	for _, s := range []string{r.Name, part} {
		if s != "" {
			name += "/" + s
		}
	}
	return name
}

// base is what every route of a rule has.
func base(service string, d *mesh.Destination, r *mesh.Rule, m mesh.Match, part string) *routev3.Route {
	rt := &routev3.Route{
		Name:                    routeName(service, r, part),
		Match:                   match(m),
		Metadata:                ruleMetadata(service, d, r),
		RequestHeadersToAdd:     toAdd(r.RequestHeaders),
		RequestHeadersToRemove:  r.RequestHeaders.Remove,
		ResponseHeadersToAdd:    toAdd(r.ResponseHeaders),
		ResponseHeadersToRemove: r.ResponseHeaders.Remove,
	}
	if f := fault(r.Fault); f != nil {
		rt.TypedPerFilterConfig = map[string]*anypb.Any{faultFilter: pack(f)}
	}
	return rt
}

// forwarded is a route to a rule's backends.
func forwarded(service string, d *mesh.Destination, r *mesh.Rule, m mesh.Match, ts []target, idempotent bool) *routev3.Route {
	part := "rest"
	if idempotent {
		part = "idempotent"
	}
	a := action(d.Protocol, r.Resilience, r.Hash, retryPolicy(r.Resilience.Retry, idempotent))
	shares(a, service, d, ts)
	a.RequestMirrorPolicies = mirrors(r.Mirrors)
	if ownLimit(d, r) {
		a.RateLimits = []*routev3.RateLimit{inBucket(r.Name)}
	}
	rewrite(a, r.Rewrite, m.Path)
	rt := base(service, d, r, m, part)
	rt.Action = &routev3.Route_Route{Route: a}
	return rt
}

// shares says which clusters get the requests.
func shares(a *routev3.RouteAction, service string, d *mesh.Destination, ts []target) {
	if len(ts) == 1 {
		a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: ts[0].cluster(service)}
		return
	}
	w := &routev3.WeightedCluster{}
	for _, t := range ts {
		c := &routev3.WeightedCluster_ClusterWeight{Name: t.cluster(service), Weight: u32(t.weight)}
		if len(t.pools) == 0 {
			reason, _ := absent(service, d, t)
			c.ResponseHeadersToAdd = []*corev3.HeaderValueOption{header(ReasonHeader, escape(reason))}
		}
		w.Clusters = append(w.Clusters, c)
	}
	a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: w}
}

// ruleMetadata names the rule and its TrafficRoute beside what decided the
// resilience of its requests. The policy is the most specific that took part,
// the TrafficRoute where none did.
func ruleMetadata(service string, d *mesh.Destination, r *mesh.Rule) *corev3.Metadata {
	more, by := decided(r.Resilience), r.Resilience.Route
	if r.Name != "" {
		if by.IsDefault() {
			by = d.Routes.By
		}
		more["rule"], more["route"] = r.Name, d.Routes.By.String()
	}
	if !by.IsDefault() {
		more["generation"] = strconv.FormatInt(by.Generation, 10)
	}
	return metadata(service, by, more)
}
