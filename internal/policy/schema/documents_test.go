package schema_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// broken is a spec that the schema refuses, and the fault that it must be told.
// Where one mistake breaks two rules it stands there twice.
type broken struct{ kind, spec, path, cure string }

// text is the whole document, under a name that no other has.
func (b broken) text(name string) string {
	if b.kind == "" {
		return b.spec
	}
	return "apiVersion: meshlite.dev/v1alpha1\nkind: " + b.kind + "\nmetadata: {name: " + name + "}\nspec: {" + b.spec + "}\n"
}

// brokenDocuments have at least one for each rule and each pattern of every kind.
func brokenDocuments() []broken {
	all := []broken{{
		"", "apiVersion: meshlite.dev/v1alpha1\nkind: ResiliencePolicy\nmetadata: {name: mesh-default}\nspec: {targetRefs: [{kind: Mesh}]}\n",
		"metadata.name", "mesh-default is reserved for the built-in policy",
	}}
	for _, table := range []struct {
		kind, before, after, path string
		rows                      [][3]string
	}{
		{"ResiliencePolicy", "", "", "spec", resilienceTargets},
		{"ResiliencePolicy", "targetRefs: [{kind: Mesh}], ", "", "spec", resilienceSections},
		{"ResiliencePolicy", "targetRefs: [{kind: Service, name: a}, {kind: TrafficRoute, name: a}], ", "", "spec", resilienceOfRoutes},
		{"TrafficRoute", "", "", "spec", routeDocuments},
		{"TrafficRoute", "service: orders, rules: [{name: a, ", "}]", "spec.rules[0]", routeRules},
		{"TrafficRoute", "service: orders, rules: [{name: a, matches: [{", "}]}]", "spec.rules[0].matches[0]", routeMatches},
		{"TrafficRoute", "service: orders, rules: [{name: a, filters: {", "}}]", "spec.rules[0].filters", routeFilters},
		{"EventSubscription", "", "", "spec", eventDocuments},
		{"EventSubscription", "bindings: [a], handler: {service: a}, ", "", "spec", eventSections},
	} {
		for _, row := range table.rows {
			path := table.path
			if row[1] != "" {
				path += "." + row[1]
			}
			all = append(all, broken{table.kind, table.before + row[0] + table.after, path, row[2]})
		}
	}
	return all
}

var resilienceTargets = [][3]string{
	{"targetRefs: [{kind: Mesh}], from: [{service: a}]", "from", "target a Service"},
	{"targetRefs: [{kind: Mesh, name: a}]", "targetRefs[0].name", "Mesh has none"},
	{"targetRefs: [{kind: Service}]", "targetRefs[0].name", "need a name"},
	{"targetRefs: [{kind: Service, name: A}]", "targetRefs[0].name", "DNS label"},
	{"targetRefs: [{kind: Service, name: a, sectionName: b}]", "targetRefs[0].sectionName", "remove it"},
	{"targetRefs: []", "targetRefs", "at least 1"},
	{"retry: {}", "targetRefs", "is missing"},
	{"targetRefs: [{kind: Gateway, name: a}]", "targetRefs[0].kind", "must be one of"},
}

var resilienceSections = [][3]string{
	{"healthCheck: {type: TCP, path: /x}", "healthCheck.path", "type HTTP only"},
	{"healthCheck: {path: x}", "healthCheck.path", "starts with /"},
	{"healthCheck: {type: TCP, interval: 0s}", "healthCheck.interval", "1ms or more"},
	{"healthCheck: {type: TCP, timeout: 0s}", "healthCheck.timeout", "1ms or more"},
	{"loadBalancing: {type: Maglev}", "loadBalancing.hash", "add hash"},
	{"loadBalancing: {hash: [{header: a, query: b}]}", "loadBalancing.hash[0]", "exactly one"},
	{"outlierDetection: {interval: 0s}", "outlierDetection.interval", "1ms or more"},
	{"outlierDetection: {baseEjectionTime: 0s}", "outlierDetection.baseEjectionTime", "1ms or more"},
	{"outlierDetection: {maxEjectionTime: 0s}", "outlierDetection.maxEjectionTime", "1ms or more"},
	{"outlierDetection: {successRate: {standardDeviationFactor: '1,9'}}", "outlierDetection.successRate.standardDeviationFactor", "decimal in quotes"},
	{"rateLimit: {perCaller: {requests: 1, per: 10ms, burst: 1}}", "rateLimit.perCaller.per", "50ms or more"},
	{"retry: {backoff: {base: 0s}}", "retry.backoff.base", "1ms or more"},
	{"retry: {backoff: {max: 0s}}", "retry.backoff.max", "1ms or more"},
	{"retry: {attempts: 11}", "retry.attempts", "10"},
	{"retry: {retryOn: [sometimes]}", "retry.retryOn[0]", "must be one of"},
	{"retry: {methods: [get]}", "retry.methods[0]", "in capitals"},
	{"retry: {responseHeaders: [X-Retry]}", "retry.responseHeaders[0]", "in lower case"},
	{"timeouts: {connect: 0s}", "timeouts.connect", "over 0s"},
	{"timeouts: {request: 1d}", "timeouts.request", "250ms"},
	{"timeouts: {request: 2562048h}", "timeouts.request", "at most 99999h"},
	{"timeouts: {reqest: 1s}", "timeouts.reqest", "did you mean request"},
}

// resilienceOfRoutes live in clusters, which rules do not have of their own.
var resilienceOfRoutes = [][3]string{
	{"limits: {requests: 1}", "", "targets the Service"},
	{"outlierDetection: {mode: Monitor}", "", "targets the Service"},
	{"loadBalancing: {type: Random}", "", "targets the Service"},
	{"healthCheck: {type: TCP}", "", "targets the Service"},
	{"connection: {protocol: http2}", "", "targets the Service"},
	{"timeouts: {connect: 1s}", "timeouts.connect", "targets the Service"},
	{"timeouts: {idle: 1s}", "timeouts.idle", "targets the Service"},
	{"retry: {budget: {percent: 1}}", "retry.budget", "targets the Service"},
	{"retry: {tcpConnectAttempts: 1}", "retry.tcpConnectAttempts", "belongs to tcp services"},
}

var routeDocuments = [][3]string{
	{"rules: []", "service", "is missing"},
	{"service: Orders", "service", "DNS label"},
	{"service: a, effect: maybe", "effect", "must be one of"},
	{"service: a, subsets: [{name: v1}]", "subsets[0]", "needs tags or meta"},
	{"service: a, subsets: [{name: v1, tags: [], meta: {}}]", "subsets[0]", "needs tags or meta"},
	{"service: a, subsets: [{name: v1, tags: [a]}, {name: v1, tags: [b]}]", "subsets[1].name", "is there twice"},
	{"service: a, subsets: [{name: v1, tags: ['']}]", "subsets[0].tags[0]", "at least 1"},
	{"service: a, rules: [{name: r}, {name: s}, {name: r}]", "rules[2].name", "is there twice"},
	{"service: a, rules: [{timeouts: {request: 1s}}]", "rules[0].name", "is missing"},
}

var routeRules = [][3]string{
	{"backends: [{weight: 0}, {service: b, weight: 0}]", "backends", "over 0"},
	{"backends: [{weight: -1}]", "backends[0].weight", "greater than or equal to 0"},
	{"backends: [{subset: V2}]", "backends[0].subset", "DNS label"},
	{"backends: [{datacenter: DC1}]", "backends[0].datacenter", "in lower case"},
	{"backends: [{zone: a}]", "backends[0].zone", "no such field"},
	{"failover: [{}]", "failover[0]", "who takes over"},
	{"filters: {redirect: {path: /a}}, backends: [{service: b}]", "", "remove backends"},
	{"filters: {redirect: {path: /a}}, failover: [{service: b}]", "", "remove backends, failover"},
	{"filters: {directResponse: {status: 200}}, timeouts: {request: 1s}", "", "timeouts and retry"},
	{"filters: {directResponse: {status: 200}}, retry: {attempts: 1}", "", "timeouts and retry"},
	{"filters: {rewrite: {prefix: /b}}", "filters.rewrite.prefix", "path of type Prefix"},
	{"matches: [], filters: {rewrite: {prefix: /b}}", "filters.rewrite.prefix", "path of type Prefix"},
	{"matches: [{path: {type: Prefix, value: /a}}, {method: GET}], filters: {rewrite: {prefix: /b}}", "filters.rewrite.prefix", "path of type Prefix"},
	{"matches: [{path: {type: Exact, value: /a}}], filters: {rewrite: {prefix: /b}}", "filters.rewrite.prefix", "path of type Prefix"},
	{"timeouts: {connect: 1s}", "timeouts.connect", "targets the Service"},
	{"timeouts: {connect: 0s}", "timeouts.connect", "over 0s"},
	{"timeouts: {connect: 0s}", "timeouts.connect", "targets the Service"},
	{"timeouts: {idle: 1s}", "timeouts.idle", "Envoy's cluster"},
	{"retry: {budget: {percent: 1}}", "retry.budget", "Envoy's cluster"},
	{"retry: {tcpConnectAttempts: 2}", "retry.tcpConnectAttempts", "belongs to tcp services"},
	{"retry: {backoff: {base: 0s}}", "retry.backoff.base", "1ms or more"},
	{"retry: {backoff: {max: 0s}}", "retry.backoff.max", "1ms or more"},
}

var routeMatches = [][3]string{
	{"path: {value: /a}", "path.type", "is missing"},
	{"path: {type: Present, value: /a}", "path.type", "must be one of"},
	{"path: {type: Exact, value: a}", "path.value", "must start with /"},
	{"path: {type: Prefix, value: api/}", "path.value", "must start with /"},
	{"path: {type: Prefix, value: '/a?b=c'}", "path.value", "use queryParams"},
	{"path: {type: Suffix, value: '#top'}", "path.value", "use queryParams"},
	{`path: {type: Suffix, value: "a\nb"}`, "path.value", "one line"},
	{"method: get", "method", "in capitals"},
	{"headers: [{name: X-User, type: Present}]", "headers[0].name", "in lower case"},
	{"headers: [{name: ':path', type: Present}]", "headers[0].name", "in lower case"},
	{"headers: [{name: a, type: Exact}]", "headers[0].value", "every other type needs one"},
	{"headers: [{name: a, type: Present, value: b}]", "headers[0].value", "Present has no value"},
	{"headers: [{name: a, type: Prefix, value: ''}]", "headers[0].value", "use Present"},
	{`headers: [{name: a, type: Exact, value: "a\x00"}]`, "headers[0].value", "control characters"},
	{"headers: [{name: a, type: Contains, value: b}]", "headers[0].type", "must be one of"},
	{"queryParams: [{name: '', type: Present}]", "queryParams[0].name", "at least 1"},
	{"queryParams: [{name: a, type: Suffix}]", "queryParams[0].value", "every other type needs one"},
	{"queryParams: [{name: a, type: Present, value: ''}]", "queryParams[0].value", "Present has no value"},
	{"queryParams: [{name: a, type: Regex, value: ''}]", "queryParams[0].value", "use Present"},
	{`queryParams: [{name: a, type: Exact, value: "\n"}]`, "queryParams[0].value", "control characters"},
}

var routeFilters = [][3]string{
	{"redirect: {path: /a}, directResponse: {status: 200}", "", "exclude each other"},
	{"redirect: {path: /a}, requestHeaders: {remove: [a]}", "", "responseHeaders may stay"},
	{"redirect: {path: /a}, rewrite: {path: /b}", "", "responseHeaders may stay"},
	{"directResponse: {status: 200}, mirrors: [{service: b}]", "", "responseHeaders may stay"},
	{"directResponse: {status: 200}, fault: {abort: {percent: 1, status: 503}}", "", "responseHeaders may stay"},
	{"requestHeaders: {set: {X-A: b}}", "requestHeaders.set", "in lower case"},
	{"requestHeaders: {set: {':path': b}}", "requestHeaders.set", "in lower case"},
	{"requestHeaders: {set: {host: b}}", "requestHeaders.set", "use rewrite.host"},
	{"requestHeaders: {add: {'': b}}", "requestHeaders.add", "in lower case"},
	{"requestHeaders: {add: {host: b}}", "requestHeaders.add", "use rewrite.host"},
	{"requestHeaders: {remove: [host]}", "requestHeaders.remove", "cannot remove host"},
	{"requestHeaders: {remove: [':method']}", "requestHeaders.remove[0]", "in lower case"},
	{`requestHeaders: {set: {a: "b\r\nc: d"}}`, "requestHeaders.set.a", "one line"},
	{"responseHeaders: {set: {A: b}}", "responseHeaders.set", "in lower case"},
	{"responseHeaders: {set: {host: b}}", "responseHeaders.set", "use rewrite.host"},
	{"responseHeaders: {add: {'a b': b}}", "responseHeaders.add", "in lower case"},
	{"responseHeaders: {add: {host: b}}", "responseHeaders.add", "use rewrite.host"},
	{"responseHeaders: {remove: [host]}", "responseHeaders.remove", "cannot remove host"},
	{"rewrite: {}", "rewrite", "needs a path"},
	{"rewrite: {path: /a, regex: {pattern: a, substitution: b}}", "rewrite", "keep one"},
	{"rewrite: {path: a}", "rewrite.path", "starts with /"},
	{"rewrite: {path: '/a?b'}", "rewrite.path", "without query"},
	{"rewrite: {host: 'a b'}", "rewrite.host", "host name"},
	{"rewrite: {host: 'a:b'}", "rewrite.host", "orders.internal:8080"},
	{`rewrite: {regex: {pattern: a, substitution: "\n"}}`, "rewrite.regex.substitution", "one line"},
	{"redirect: {status: 302}", "redirect", "needs a scheme"},
	{"redirect: {status: 300, path: /a}", "redirect.status", "must be one of"},
	{"redirect: {host: 'a:80'}", "redirect.host", "without port"},
	{"redirect: {path: a}", "redirect.path", "starts with /"},
	{"redirect: {port: 0}", "redirect.port", "greater than or equal to 1"},
	{"directResponse: {status: 99}", "directResponse.status", "greater than or equal to 200"},
	{"directResponse: {body: x}", "directResponse.status", "is missing"},
	{"mirrors: [{percent: 1}]", "mirrors[0]", "who gets the copies"},
	{"mirrors: [{service: b, percent: 101}]", "mirrors[0].percent", "0 to 100"},
	{"mirrors: [{service: b, percent: '10'}]", "mirrors[0].percent", "must be a percentage"},
	{"mirrors: [{service: b, percent: 0.1}]", "mirrors[0].percent", "integer or string"},
	{"fault: {}", "fault", "a delay or an abort"},
	{"fault: {delay: {percent: -1, duration: 1s}}", "fault.delay.percent", "0 to 100"},
	{"fault: {delay: {percent: 100.1%, duration: 1s}}", "fault.delay.percent", "must be a percentage"},
	{"fault: {delay: {percent: 1, duration: 0ms}}", "fault.delay.duration", "over 0s"},
	{"fault: {delay: {percent: 1}}", "fault.delay.duration", "is missing"},
	{"fault: {abort: {percent: 101, status: 503}}", "fault.abort.percent", "0 to 100"},
	{"fault: {abort: {percent: 1}}", "fault.abort", "exactly one of status and grpcStatus"},
	{"fault: {abort: {percent: 1, status: 503, grpcStatus: 14}}", "fault.abort", "exactly one of status and grpcStatus"},
	{"fault: {abort: {percent: 1, grpcStatus: 0}}", "fault.abort.grpcStatus", "greater than or equal to 1"},
}

var eventDocuments = [][3]string{
	{"bindings: [a]", "handler", "is missing"},
	{"handler: {service: a}", "bindings", "is missing"},
	{"handler: {service: a}, bindings: []", "bindings", "at least 1"},
	{"handler: {service: a}, bindings: ['order.#x']", "bindings[0]", "whole words"},
	{"handler: {service: a}, bindings: ['order..created']", "bindings[0]", "whole words"},
	{"handler: {service: a}, bindings: ['a b']", "bindings[0]", "whole words"},
	{"handler: {service: A}, bindings: [a]", "handler.service", "DNS label"},
	{"handler: {service: a, path: events}, bindings: [a]", "handler.path", "starts with /"},
	{"handler: {service: a, mode: raw}, bindings: [a]", "handler.mode", "must be one of"},
}

var eventSections = [][3]string{
	{"exchange: 'a b'", "exchange", "made of letters"},
	{"filter: ''", "filter", "at least 1"},
	{"queue: {name: amq.q}", "queue.name", "brokers keep for themselves"},
	{"queue: {name: 'a b'}", "queue.name", "made of letters"},
	{"queue: {type: stream}", "queue.type", "must be one of"},
	{"ordered: true, concurrency: 2", "concurrency", "one event at a time"},
	{"concurrency: 0", "concurrency", "greater than or equal to 1"},
	{"delivery: {timeout: 0s}", "delivery.timeout", "over 0s"},
	{"delivery: {attempts: 0}", "delivery.attempts", "greater than or equal to 1"},
	{"delivery: {backoff: {base: 0s}}", "delivery.backoff.base", "1ms or more"},
	{"delivery: {backoff: {max: 0s}}", "delivery.backoff.max", "1ms or more"},
	{"delivery: {deadLetter: {queue: amq.dlq}}", "delivery.deadLetter.queue", "brokers keep for themselves"},
	{"queue: {name: q}, delivery: {deadLetter: {queue: q}}", "delivery.deadLetter.queue", "delivered again"},
}

// fullDocuments are right, and set every field of every kind.
func fullDocuments(t *testing.T) (docs []string) {
	t.Helper()
	files, err := filepath.Glob("../testdata/full/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, strings.Split(string(raw), "\n---\n")...)
	}
	return docs
}
