package compile

import (
	"strings"

	"meshlite.dev/internal/mesh"
)

// Field is one line of `meshctl policy explain`.
type Field struct {
	Path   string // "retry.attempts"
	Value  string // as users write it; None where nothing sets it
	Origin mesh.Origin
}

// None is the value of a field that neither a document nor a default sets.
const None = "none"

const whyAbsent = "built-in: nothing sets it"

// Explain lists every field of d in the schema's order, defaults too, with
// where each value came from.
func Explain(d *mesh.Destination) []Field {
	fields := make([]Field, 0, len(schema))
	for i, l := range schema {
		o, ok := d.Origins[l.path]
		if !ok {
			o = mesh.Origin{Value: None, Why: whyAbsent}
		}
		if d.Protocol == mesh.TCP && onRequests(l.path, sections[i]) && o.Value != None {
			o.Why += "; no effect: a tcp service has no requests"
		}
		fields = append(fields, Field{Path: l.path, Value: o.Value, Origin: o})
	}
	return fields
}

// onRequests reports whether a field says something about requests, which a
// tcp service does not have.
func onRequests(path string, in section) bool {
	switch path {
	case "connection.protocol", "retry.tcpConnectAttempts":
		return false
	}
	return in&inRoute != 0 || strings.HasPrefix(path, "retry.") || strings.HasPrefix(path, "connection.http2.") ||
		path == "limits.requests" || path == "limits.requestsPerConnection"
}
