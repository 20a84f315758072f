//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/policy/v1alpha1"
	"meshlite.dev/test/lab"
)

const (
	cluster  = "cluster"
	route    = "safe route"   // of GET, HEAD and OPTIONS
	rest     = "other route"  // of all other methods
	bucket   = "virtual host" // which both routes share
	listener = "listener"     // on a local port
)

// fields says for every field of ResiliencePolicy what a real Envoy then has
// in its config dump. Want holds paths and values in turn; a value is JSON,
// "-" is absence, and "~x" is that the JSON contains x.
var fields = []struct {
	field string // as schema paths are written
	spec  string // of the policy, in flow style
	proto string // of the service; http1 when empty
	where string
	want  []string
}{
	{"timeouts.connect", `timeouts: {connect: 2s}`, "", cluster, []string{"connect_timeout", `"2s"`}},
	{"timeouts.request", `timeouts: {request: 3s}`, "", route, []string{"route.timeout", `"3s"`}},
	{"timeouts.request on grpc", `timeouts: {request: 3s}`, "grpc", route, []string{"route.timeout", `"0s"`}},
	{"timeouts.idle", `timeouts: {idle: 45s}`, "", cluster, []string{"~", `~"idle_timeout":"45s"`}},
	{"timeouts.streamIdle", `timeouts: {streamIdle: 90s}`, "", route, []string{"route.idle_timeout", `"90s"`}},
	{"timeouts.maxStreamDuration", `timeouts: {maxStreamDuration: 1h}`, "", route, []string{"route.max_stream_duration.max_stream_duration", `"3600s"`}},

	{"retry.attempts", `retry: {attempts: 4}`, "", route, []string{"route.retry_policy.num_retries", `4`}},
	{"retry.attempts off", `retry: {attempts: 0}`, "", route, []string{"route.retry_policy", "-"}},
	{"retry.retryOn", `retry: {retryOn: [connect-failure, gateway-error]}`, "", route, []string{"route.retry_policy.retry_on", `~gateway-error`}},
	{"retry.retryOn on a POST", `retry: {retryOn: [connect-failure, gateway-error]}`, "", rest, []string{"route.retry_policy.retry_on", `"connect-failure"`}},
	{"retry.statusCodes", `retry: {statusCodes: [503, 429]}`, "", route, []string{"route.retry_policy.retriable_status_codes", `[503,429]`, "route.retry_policy.retry_on", `~retriable-status-codes`}},
	{"retry.methods", `retry: {methods: [GET, PUT]}`, "", route, []string{"match.headers", `~PUT`}},
	{"retry.responseHeaders", `retry: {retryOn: [retriable-headers], responseHeaders: [x-again]}`, "", route, []string{"route.retry_policy.retriable_headers.0.name", `"x-again"`}},
	{"retry.perTryTimeout", `retry: {perTryTimeout: 700ms}`, "", route, []string{"route.retry_policy.per_try_timeout", `"0.700s"`}},
	{"retry.perTryIdleTimeout", `retry: {perTryIdleTimeout: 900ms}`, "", route, []string{"route.retry_policy.per_try_idle_timeout", `"0.900s"`}},
	{"retry.backoff.base", `retry: {backoff: {base: 50ms}}`, "", route, []string{"route.retry_policy.retry_back_off.base_interval", `"0.050s"`}},
	{"retry.backoff.max", `retry: {backoff: {max: 2s}}`, "", route, []string{"route.retry_policy.retry_back_off.max_interval", `"2s"`}},
	{"retry.honorRetryAfter.max", `retry: {honorRetryAfter: {max: 10s}}`, "", route, []string{"route.retry_policy.rate_limited_retry_back_off.max_interval", `"10s"`, "route.retry_policy.rate_limited_retry_back_off.reset_headers.0.name", `~etry-`}},
	{"retry.avoidPreviousHosts", `retry: {avoidPreviousHosts: true}`, "", route, []string{"route.retry_policy.retry_host_predicate.0.name", `~previous_hosts`}},
	{"retry.avoidPreviousHosts off", `retry: {avoidPreviousHosts: false}`, "", route, []string{"route.retry_policy.retry_host_predicate", "-"}},
	{"retry.hostSelectionAttempts", `retry: {hostSelectionAttempts: 7}`, "", route, []string{"route.retry_policy.host_selection_retry_max_attempts", `"7"`}},
	{"retry.budget.percent", `retry: {budget: {percent: 35}}`, "", cluster, []string{"circuit_breakers.thresholds.0.retry_budget.budget_percent.value", `35`}},
	{"retry.budget.minConcurrency", `retry: {budget: {minConcurrency: 9}}`, "", cluster, []string{"circuit_breakers.thresholds.0.retry_budget.min_retry_concurrency", `9`}},
	{"retry.tcpConnectAttempts", `retry: {tcpConnectAttempts: 4}`, "tcp", listener, []string{"~", `~"max_connect_attempts":4`}},

	{"limits.connections", `limits: {connections: 11}`, "", cluster, []string{"circuit_breakers.thresholds.0.max_connections", `11`}},
	{"limits.connections off", `limits: {connections: 0}`, "", cluster, []string{"circuit_breakers.thresholds.0.max_connections", `4294967295`}},
	{"limits.pendingRequests", `limits: {pendingRequests: 12}`, "", cluster, []string{"circuit_breakers.thresholds.0.max_pending_requests", `12`}},
	{"limits.requests", `limits: {requests: 13}`, "", cluster, []string{"circuit_breakers.thresholds.0.max_requests", `13`}},
	{"limits.connectionPools", `limits: {connectionPools: 14}`, "", cluster, []string{"circuit_breakers.thresholds.0.max_connection_pools", `14`}},
	{"limits.perEndpointConnections", `limits: {perEndpointConnections: 15}`, "", cluster, []string{"circuit_breakers.per_host_thresholds.0.max_connections", `15`}},
	{"limits.requestsPerConnection", `limits: {requestsPerConnection: 16}`, "", cluster, []string{"~", `~"max_requests_per_connection":16`}},

	{"outlierDetection.mode", `outlierDetection: {mode: Disabled}`, "", cluster, []string{"outlier_detection", "-"}},
	{"outlierDetection.mode Monitor", `outlierDetection: {mode: Monitor}`, "", cluster, []string{"outlier_detection.enforcing_consecutive_5xx", `0`, "outlier_detection.enforcing_success_rate", `0`, "outlier_detection.consecutive_5xx", `5`}},
	{"outlierDetection.interval", `outlierDetection: {interval: 7s}`, "", cluster, []string{"outlier_detection.interval", `"7s"`}},
	{"outlierDetection.baseEjectionTime", `outlierDetection: {baseEjectionTime: 8s}`, "", cluster, []string{"outlier_detection.base_ejection_time", `"8s"`}},
	{"outlierDetection.maxEjectionTime", `outlierDetection: {maxEjectionTime: 90s}`, "", cluster, []string{"outlier_detection.max_ejection_time", `"90s"`}},
	{"outlierDetection.maxEjectionTimeJitter", `outlierDetection: {maxEjectionTimeJitter: 2s}`, "", cluster, []string{"outlier_detection.max_ejection_time_jitter", `"2s"`}},
	{"outlierDetection.maxEjectionPercent", `outlierDetection: {maxEjectionPercent: 40}`, "", cluster, []string{"outlier_detection.max_ejection_percent", `40`, "outlier_detection.always_eject_one_host", `true`}},
	{"outlierDetection.consecutive5xx", `outlierDetection: {consecutive5xx: 3}`, "", cluster, []string{"outlier_detection.consecutive_5xx", `3`}},
	{"outlierDetection.consecutiveGatewayErrors", `outlierDetection: {consecutiveGatewayErrors: 4}`, "", cluster, []string{"outlier_detection.consecutive_gateway_failure", `4`, "outlier_detection.enforcing_consecutive_gateway_failure", `100`}},
	{"outlierDetection.localOrigin.split", `outlierDetection: {localOrigin: {split: true}}`, "", cluster, []string{"outlier_detection.split_external_local_origin_errors", `true`}},
	{"outlierDetection.localOrigin.consecutive", `outlierDetection: {localOrigin: {consecutive: 6}}`, "", cluster, []string{"outlier_detection.consecutive_local_origin_failure", `6`}},
	{"outlierDetection.successRate.enabled", `outlierDetection: {successRate: {enabled: true}}`, "", cluster, []string{"outlier_detection.enforcing_success_rate", `100`}},
	{"outlierDetection.successRate.minimumHosts", `outlierDetection: {successRate: {enabled: true, minimumHosts: 8}}`, "", cluster, []string{"outlier_detection.success_rate_minimum_hosts", `8`}},
	{"outlierDetection.successRate.requestVolume", `outlierDetection: {successRate: {enabled: true, requestVolume: 60}}`, "", cluster, []string{"outlier_detection.success_rate_request_volume", `60`}},
	{"outlierDetection.successRate.standardDeviationFactor", `outlierDetection: {successRate: {enabled: true, standardDeviationFactor: "2.5"}}`, "", cluster, []string{"outlier_detection.success_rate_stdev_factor", `2500`}},
	{"outlierDetection.failurePercentage.enabled", `outlierDetection: {failurePercentage: {enabled: true}}`, "", cluster, []string{"outlier_detection.enforcing_failure_percentage", `100`}},
	{"outlierDetection.failurePercentage.threshold", `outlierDetection: {failurePercentage: {enabled: true, threshold: 70}}`, "", cluster, []string{"outlier_detection.failure_percentage_threshold", `70`}},
	{"outlierDetection.failurePercentage.minimumHosts", `outlierDetection: {failurePercentage: {enabled: true, minimumHosts: 3}}`, "", cluster, []string{"outlier_detection.failure_percentage_minimum_hosts", `3`}},
	{"outlierDetection.failurePercentage.requestVolume", `outlierDetection: {failurePercentage: {enabled: true, requestVolume: 20}}`, "", cluster, []string{"outlier_detection.failure_percentage_request_volume", `20`}},
	{"outlierDetection.panicThresholdPercent", `outlierDetection: {panicThresholdPercent: 33}`, "", cluster, []string{"~", `~{"value":33}`}},

	{"loadBalancing.type RoundRobin", `loadBalancing: {type: RoundRobin}`, "", cluster, []string{"~", `~round_robin`}},
	{"loadBalancing.type Random", `loadBalancing: {type: Random}`, "", cluster, []string{"~", `~random`}},
	{"loadBalancing.type", `loadBalancing: {type: Maglev, hash: [{header: x-user}]}`, "", cluster, []string{"~", `~maglev`}},
	{"loadBalancing.choiceCount", `loadBalancing: {type: LeastRequest, choiceCount: 4}`, "", cluster, []string{"~", `~"choice_count":4`}},
	{"loadBalancing.hash.header", `loadBalancing: {type: RingHash, hash: [{header: x-user, terminal: true}]}`, "", route, []string{"route.hash_policy.0.header.header_name", `"x-user"`, "route.hash_policy.0.terminal", `true`}},
	{"loadBalancing.hash.terminal", `loadBalancing: {type: RingHash, hash: [{header: x-user, terminal: true}, {sourceIP: true}]}`, "", route, []string{"route.hash_policy.0.terminal", `true`}},
	{"loadBalancing.hash.cookie.name", `loadBalancing: {type: RingHash, hash: [{cookie: {name: s, ttl: 1h, path: /x}}]}`, "", route, []string{"route.hash_policy.0.cookie.name", `"s"`}},
	{"loadBalancing.hash.cookie.ttl", `loadBalancing: {type: RingHash, hash: [{cookie: {name: s, ttl: 1h, path: /x}}]}`, "", route, []string{"route.hash_policy.0.cookie.ttl", `"3600s"`}},
	{"loadBalancing.hash.cookie.path", `loadBalancing: {type: RingHash, hash: [{cookie: {name: s, ttl: 1h, path: /x}}]}`, "", route, []string{"route.hash_policy.0.cookie.path", `"/x"`}},
	{"loadBalancing.hash.query", `loadBalancing: {type: RingHash, hash: [{query: q}]}`, "", route, []string{"route.hash_policy.0.query_parameter.name", `"q"`}},
	{"loadBalancing.hash.sourceIP", `loadBalancing: {type: RingHash, hash: [{sourceIP: true}]}`, "", route, []string{"route.hash_policy.0.connection_properties.source_ip", `true`}},
	{"loadBalancing.slowStart.window", `loadBalancing: {type: RoundRobin, slowStart: {window: 30s}}`, "", cluster, []string{"~", `~"slow_start_window":"30s"`}},
	{"loadBalancing.locality.mode", `loadBalancing: {locality: {mode: ZoneAware}}`, "", cluster, []string{"~", `~zone_aware`}},
	{"loadBalancing.locality.minClusterSize", `loadBalancing: {locality: {mode: ZoneAware, minClusterSize: 9}}`, "", cluster, []string{"~", `~"min_cluster_size":"9"`}},

	{"healthCheck.type", `healthCheck: {type: TCP}`, "", cluster, []string{"health_checks.0.tcp_health_check", `{}`}},
	{"healthCheck.type GRPC", `healthCheck: {type: GRPC}`, "grpc", cluster, []string{"health_checks.0.grpc_health_check", `{}`}},
	{"healthCheck.path", `healthCheck: {type: HTTP, path: /ready}`, "", cluster, []string{"health_checks.0.http_health_check.path", `"/ready"`}},
	{"healthCheck.interval", `healthCheck: {type: HTTP, path: /, interval: 20s}`, "", cluster, []string{"health_checks.0.interval", `"20s"`}},
	{"healthCheck.timeout", `healthCheck: {type: HTTP, path: /, timeout: 3s}`, "", cluster, []string{"health_checks.0.timeout", `"3s"`}},
	{"healthCheck.unhealthyAfter", `healthCheck: {type: HTTP, path: /, unhealthyAfter: 4}`, "", cluster, []string{"health_checks.0.unhealthy_threshold", `4`}},
	{"healthCheck.healthyAfter", `healthCheck: {type: HTTP, path: /, healthyAfter: 2}`, "", cluster, []string{"health_checks.0.healthy_threshold", `2`}},

	{"rateLimit.perCaller.requests", `rateLimit: {perCaller: {requests: 21, per: 2s, burst: 22}}`, "", bucket, []string{"~", `~"tokens_per_fill":21`}},
	{"rateLimit.perCaller.per", `rateLimit: {perCaller: {requests: 21, per: 2s, burst: 22}}`, "", bucket, []string{"~", `~"fill_interval":"2s"`}},
	{"rateLimit.perCaller.burst", `rateLimit: {perCaller: {requests: 21, per: 2s, burst: 22}}`, "", bucket, []string{"~", `~"max_tokens":22`}},

	{"connection.protocol", `connection: {protocol: http2}`, "", cluster, []string{"~", `~http2_protocol_options`}},
	{"connection.http2.keepaliveInterval", `connection: {protocol: http2, http2: {keepaliveInterval: 31s, keepaliveTimeout: 5s}}`, "", cluster, []string{"~", `~"interval":"31s"`}},
	{"connection.http2.keepaliveTimeout", `connection: {protocol: http2, http2: {keepaliveInterval: 31s, keepaliveTimeout: 6s}}`, "", cluster, []string{"~", `~"timeout":"6s"`}},
	{"connection.http2.maxConcurrentStreams", `connection: {protocol: http2, http2: {maxConcurrentStreams: 77}}`, "", cluster, []string{"~", `~"max_concurrent_streams":77`}},
	{"connection.tcpKeepalive.idle", `connection: {tcpKeepalive: {idle: 40s, interval: 10s, probes: 3}}`, "", cluster, []string{"~", `~"keepalive_time":40`}},
	{"connection.tcpKeepalive.interval", `connection: {tcpKeepalive: {idle: 40s, interval: 10s, probes: 3}}`, "", cluster, []string{"~", `~"keepalive_interval":10`}},
	{"connection.tcpKeepalive.probes", `connection: {tcpKeepalive: {idle: 40s, interval: 10s, probes: 3}}`, "", cluster, []string{"~", `~"keepalive_probes":3`}},
}

// TestEveryFieldReachesEnvoy sets each field on a service of its own and
// reads the configuration of two real Envoys, the oldest supported one and the
// newest.
func TestEveryFieldReachesEnvoy(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	var policies strings.Builder
	var upstreams []string
	for i, f := range fields {
		name := fmt.Sprintf("f%d", i)
		l.Registry.Register(lab.Instance{ID: name, Name: name, Address: "127.0.0.1", Port: 9, Meta: map[string]string{"protocol": f.proto}})
		policies.WriteString("---\n" + policyYAML(name, "\n  "+f.spec))
		if f.where == listener {
			upstreams = append(upstreams, "--upstream", name)
		}
	}
	l.Policies.Write("fields.yaml", policies.String())
	l.StartServer()
	for name, client := range map[string]*lab.Sidecar{"newest": l.Sidecar("client", upstreams...), "oldest": l.OldSidecar("client", upstreams...)} {
		t.Run(name, func(t *testing.T) { fieldsReach(t, l, client) })
	}
	covered := map[string]bool{}
	for _, f := range fields {
		covered[strings.Fields(f.field)[0]] = true
	}
	for _, path := range schemaPaths(t) {
		if !covered[path] {
			t.Errorf("field %s has no line in the table", path)
		}
	}
}

// fieldsReach checks every field on one Envoy.
func fieldsReach(t *testing.T, l *lab.Lab, client *lab.Sidecar) {
	var dump configDump
	lab.Until(t, 20*time.Second, "Envoy has every service", func() error {
		dump = readDump(t, client)
		if n := len(dump.clusters); n < len(fields) {
			return fmt.Errorf("%d clusters", n)
		}
		if n := len(dump.routes); n < len(fields) {
			return fmt.Errorf("%d routes", n)
		}
		return allSynced(l)
	})
	for i, f := range fields {
		t.Run(f.field, func(t *testing.T) {
			part := dump.part(f.where, fmt.Sprintf("f%d", i))
			if part == nil {
				t.Fatalf("Envoy has no %s of its own", f.where)
			}
			for k := 0; k < len(f.want); k += 2 {
				if fault := check(part, f.want[k], f.want[k+1]); fault != "" {
					t.Errorf("%s: %s", f.spec, fault)
				}
			}
		})
	}
}

// schemaPaths returns every field of ResiliencePolicySpec that holds a value.
func schemaPaths(t *testing.T) []string {
	t.Helper()
	return leaves(t, v1alpha1.ResiliencePolicySpec{}, "targetRefs", "from", "effect")
}

type configDump struct {
	clusters, routes, listeners map[string]any
}

func readDump(t *testing.T, s *lab.Sidecar) configDump {
	t.Helper()
	var doc struct {
		Configs []struct {
			Type     string `json:"@type"`
			Clusters []struct {
				Cluster map[string]any `json:"cluster"`
			} `json:"dynamic_active_clusters"`
			Routes []struct {
				Config map[string]any `json:"route_config"`
			} `json:"dynamic_route_configs"`
			Listeners []struct {
				Name   string `json:"name"`
				Active struct {
					Listener map[string]any `json:"listener"`
				} `json:"active_state"`
			} `json:"dynamic_listeners"`
		} `json:"configs"`
	}
	if err := json.Unmarshal(s.ConfigDump(), &doc); err != nil {
		t.Fatalf("config dump: %v", err)
	}
	d := configDump{map[string]any{}, map[string]any{}, map[string]any{}}
	for _, c := range doc.Configs {
		for _, e := range c.Clusters {
			d.clusters[fmt.Sprint(e.Cluster["name"])] = e.Cluster
		}
		for _, e := range c.Routes {
			d.routes[fmt.Sprint(e.Config["name"])] = e.Config
		}
		for _, e := range c.Listeners {
			d.listeners[e.Name] = e.Active.Listener
		}
	}
	return d
}

// part returns what a line of the table looks at.
func (d configDump) part(where, service string) any {
	switch where {
	case cluster:
		return d.clusters[service]
	case bucket:
		return at(d.routes[service], "virtual_hosts.0.typed_per_filter_config")
	case listener:
		for name, l := range d.listeners {
			if strings.HasPrefix(name, "upstream/"+service+"/") {
				return l
			}
		}
		return nil
	default:
		suffix := "/idempotent"
		if where == rest {
			suffix = "/rest"
		}
		hosts, _ := at(d.routes[service], "virtual_hosts.0.routes").([]any)
		for _, r := range hosts {
			if at(r, "name") == service+suffix {
				return r
			}
		}
		return nil
	}
}

// at follows a dotted path; numbers index lists.
func at(v any, path string) any {
	for _, step := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

// check compares one path; "~" is the whole, as JSON.
func check(part any, path, want string) string {
	got := part
	if path != "~" {
		got = at(part, path)
	}
	if got == nil {
		if want == "-" {
			return ""
		}
		return path + " is absent, want " + want
	}
	raw, err := json.Marshal(got)
	if err != nil {
		return err.Error()
	}
	text := string(raw)
	if contains, ok := strings.CutPrefix(want, "~"); ok {
		if !strings.Contains(text, contains) {
			return fmt.Sprintf("%s lacks %s: %s", path, contains, text)
		}
		return ""
	}
	if text != want {
		return fmt.Sprintf("%s is %s, want %s", path, text, want)
	}
	return ""
}
