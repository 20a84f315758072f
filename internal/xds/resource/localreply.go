package resource

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// Values of the matched route, as metadata() wrote them.
const (
	ofService = "service=%METADATA(ROUTE:meshlite.dev:service)%"
	byRoute   = "policy=%METADATA(ROUTE:meshlite.dev:routed)%"
	byCluster = "policy=%METADATA(ROUTE:meshlite.dev:cluster)%"
	byRule    = "policy=%METADATA(ROUTE:meshlite.dev:route)%"
	behind    = " cluster=%UPSTREAM_CLUSTER%"
)

// reason is what x-mesh-reason says for a response flag, and the list is in
// docs/troubleshooting.md. Flags:
// https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage
type reason struct{ flag, says string }

// reasons stand in order: the first flag that a reply carries decides.
var reasons = []reason{
	{"NC", "no-cluster " + ofService},
	{"FI", "fault " + ofService + " " + byRule},
	{"UO", "overflow " + ofService + " policy=%METADATA(ROUTE:meshlite.dev:limits)%" + behind},
	{"UT", "timeout " + ofService + " policy=%METADATA(ROUTE:meshlite.dev:timeouts)%"},
	{"SI", "stream-idle " + ofService + " policy=%METADATA(ROUTE:meshlite.dev:timeouts)%"},
	{"UMSDR", "max-stream-duration " + ofService + " policy=%METADATA(ROUTE:meshlite.dev:timeouts)%"},
	{"UH", "no-healthy-upstream " + ofService + " " + byCluster + behind},
	{"UF", "connect-failure " + ofService + " upstream=%UPSTREAM_HOST% tries=%UPSTREAM_REQUEST_ATTEMPT_COUNT% " + byCluster + behind},
	{"UC", "connection-lost " + ofService + " upstream=%UPSTREAM_HOST% tries=%UPSTREAM_REQUEST_ATTEMPT_COUNT% " + byRoute},
	{"UR", "upstream-reset " + ofService + " upstream=%UPSTREAM_HOST% tries=%UPSTREAM_REQUEST_ATTEMPT_COUNT% " + byRoute},
	{"URX", "retries-exhausted " + ofService + " tries=%UPSTREAM_REQUEST_ATTEMPT_COUNT% " + byRoute},
	{"UPE", "upstream-protocol-error " + ofService + " upstream=%UPSTREAM_HOST% " + byRoute},
	{"LR", "local-reset " + ofService + " " + byRoute},
	{"DPE", "bad-request"},
	{"OM", "overload"},
	{"DF", "dns-failure host=%REQ(:authority)%"},
	{"NR", "no-route host=%REQ(:authority)%"},
	{"DI", "fault " + ofService + " " + byRule},
}

// localReplies makes every answer of Envoy itself say why. Bodies have no
// newline at the end: gRPC carries them in grpc-message.
func localReplies() *hcmv3.LocalReplyConfig {
	mappers := []*hcmv3.ResponseMapper{unknownHost()}
	for _, r := range reasons {
		mappers = append(mappers, says(hasFlag(r.flag), r.says))
		if r.flag == "UMSDR" { // a route's own limit sets no flag
			mappers = append(mappers, says(hasDetails("max_duration_timeout"), r.says))
		}
	}
	// What is left says what Envoy calls it.
	mappers = append(mappers, says(statusIs(accesslogv3.ComparisonFilter_GE, 400), "envoy details=%RESPONSE_CODE_DETAILS%"))
	return &hcmv3.LocalReplyConfig{Mappers: mappers}
}

// says gives a reason, unless the route has given one: it knows more.
func says(when *accesslogv3.AccessLogFilter, reason string) *hcmv3.ResponseMapper {
	h := header(ReasonHeader, reason)
	h.AppendAction = corev3.HeaderValueOption_ADD_IF_ABSENT
	return &hcmv3.ResponseMapper{Filter: when, HeadersToAdd: []*corev3.HeaderValueOption{h}}
}

func unknownHost() *hcmv3.ResponseMapper {
	return &hcmv3.ResponseMapper{
		Filter: &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_AndFilter{AndFilter: &accesslogv3.AndFilter{
			Filters: []*accesslogv3.AccessLogFilter{hasFlag("NR"), statusIs(accesslogv3.ComparisonFilter_EQ, 404)},
		}}},
		HeadersToAdd: []*corev3.HeaderValueOption{header(ReasonHeader, "unknown-host host=%REQ(:authority)%")},
		BodyFormatOverride: &corev3.SubstitutionFormatString{
			ContentType: "text/plain",
			Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: "no service for host %REQ(:authority)%"},
			}},
		},
	}
}

func hasFlag(flag string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
		ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: []string{flag}},
	}}
}

// hasDetails looks at Envoy's words for what happened:
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/response_code_details
func hasDetails(details string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{
		ExtensionFilter: &accesslogv3.ExtensionFilter{
			Name:       "envoy.access_loggers.extension_filters.cel",
			ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: pack(&celv3.ExpressionFilter{Expression: `response.code_details == "` + details + `"`})},
		},
	}}
}

func statusIs(op accesslogv3.ComparisonFilter_Op, code uint32) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_StatusCodeFilter{
		StatusCodeFilter: &accesslogv3.StatusCodeFilter{Comparison: &accesslogv3.ComparisonFilter{
			Op: op, Value: &corev3.RuntimeUInt32{DefaultValue: code, RuntimeKey: "meshlite.local_reply_status"},
		}},
	}}
}
