package consulimport

import "strings"

// instead says what to do about a field that nobody reads.
func instead(kind, name string) string {
	if s := advice[kind+"."+name]; s != "" {
		return s
	}
	if s := advice[name]; s != "" {
		return s
	}
	if strings.HasPrefix(name, "envoy") {
		return "an Envoy beside a service is set up by meshctl proxy bootstrap; see docs/sidecar.md"
	}
	return "has no counterpart"
}

// advice by plain field name, with its kind where that matters.
var advice = map[string]string{
	"namespace":     "Meshlite reads one namespace of Consul; nothing was made of it",
	"partition":     "Meshlite reads one partition of Consul; nothing was made of it",
	"peer":          "Meshlite knows no peers; join the datacenters over WAN and name the datacenter",
	"samenessgroup": "Meshlite knows no sameness groups; name services and datacenters in failover",

	"mode":             "has no counterpart: a sidecar is called by HTTP_PROXY or a local port, nothing is redirected",
	"transparentproxy": "has no counterpart: a sidecar is called by HTTP_PROXY or a local port, nothing is redirected",
	"mutualtlsmode":    "has no counterpart yet: sidecars dial instances without mTLS",
	"meshgateway":      "Meshlite knows no gateways: sidecars dial the addresses of other datacenters themselves",
	"expose":           "not needed: Meshlite has no inbound proxy that would hide paths",
	"accesslogs":       "every sidecar writes one JSON line per request; see docs/sidecar.md",
	"envoyextensions":  "Envoy is not extended by policies; rateLimit.perCaller and faults of a TrafficRoute cover the usual ones",
	"failoverpolicy":   "failover follows the order of the list; for nearness see loadBalancing.locality",

	"externalsni":               "Meshlite terminates no TLS towards instances; has no counterpart",
	"destination":               "services outside the mesh are reached with --egress passthrough, or registered with their addresses",
	"maxinboundconnections":     "there is no inbound proxy; limits.perEndpointConnections bounds each caller's connections to one instance",
	"localconnecttimeoutms":     "there is no inbound proxy; timeouts.connect of the service bounds the caller's connection",
	"localrequesttimeoutms":     "there is no inbound proxy; timeouts.request of the service bounds the whole call at the caller",
	"balanceinboundconnections": "there is no inbound proxy; has no counterpart",
	"ratelimits":                "there is no inbound proxy; rateLimit.perCaller bounds each caller in its own sidecar",
	"maxrequestheaderskb":       "has no counterpart; Envoy's own limit of 60 KiB holds",

	"envoylistenerjson":          "Envoy is configured by documents alone; has no counterpart",
	"envoyclusterjson":           "Envoy is configured by documents alone; has no counterpart",
	"balanceoutboundconnections": "has no counterpart",
	"protocol":                   "a service speaks one protocol to all; state it in its own service-defaults or meta",

	"onlypassing":     "a warning counts by its weight: register instances with Weights.Warning 0 to take them out",
	"minimumringsize": "ring sizes are Envoy's own",
	"maximumringsize": "ring sizes are Envoy's own",
}
