package resource

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// httpAccessLog writes one JSON line per request to standard output. The path
// is without its query, which may hold a secret.
func httpAccessLog(p Profile) *accesslogv3.AccessLog {
	return accessLog(map[string]string{
		"time":        "%START_TIME%",
		"caller":      escape(p.Service),
		"service":     "%METADATA(ROUTE:meshlite.dev:service)%",
		"method":      "%REQ(:METHOD)%",
		"path":        "%PATH(NQ:ORIG_OR_PATH)%",
		"status":      "%RESPONSE_CODE%",
		"flags":       "%RESPONSE_FLAGS%",
		"reason":      "%RESP(X-MESH-REASON)%",
		"duration_ms": "%DURATION%",
		"attempts":    "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
		"upstream":    "%UPSTREAM_HOST%",
		"policy":      "%METADATA(ROUTE:meshlite.dev:policy)%",
		"generation":  "%METADATA(ROUTE:meshlite.dev:generation)%",
		"rule":        "%METADATA(ROUTE:meshlite.dev:rule)%",
		"route":       "%METADATA(ROUTE:meshlite.dev:route)%",
		"trace_id":    "%REQ(TRACEPARENT?X-REQUEST-ID)%",
	})
}

// tcpAccessLog is the same for a connection, which has no route: service and
// policy are those of the cluster, which knows of no generation.
func tcpAccessLog(p Profile, u Upstream) *accesslogv3.AccessLog {
	return accessLog(map[string]string{
		"time":        "%START_TIME%",
		"caller":      escape(p.Service),
		"service":     escape(u.Service),
		"flags":       "%RESPONSE_FLAGS%",
		"duration_ms": "%DURATION%",
		"attempts":    "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
		"upstream":    "%UPSTREAM_HOST%",
		"policy":      "%METADATA(CLUSTER:meshlite.dev:policy)%",
		"sent":        "%BYTES_SENT%",
		"received":    "%BYTES_RECEIVED%",
	})
}

func accessLog(fields map[string]string) *accesslogv3.AccessLog {
	format := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for k, v := range fields {
		format.Fields[k] = structpb.NewStringValue(v)
	}
	return &accesslogv3.AccessLog{
		Name: "envoy.access_loggers.stdout",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(&streamv3.StdoutAccessLog{
			AccessLogFormat: &streamv3.StdoutAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: format},
			}},
		})},
	}
}

// escape keeps a proxy's own word from being read as a format command.
func escape(s string) string {
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		if s[i] == '%' {
			out = append(out, '%')
		}
		out = append(out, s[i])
	}
	return string(out)
}
