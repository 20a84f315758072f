package compile

import (
	"fmt"
	"strings"

	"meshlite.dev/internal/mesh"
)

// lasting are requests whose answers go on for as long as both sides like, by
// the header that asks for them.
var lasting = []struct{ header, value, what string }{
	{"accept", "text/event-stream", "event streams"},
	{"content-type", "application/grpc", "grpc calls"},
}

// longLived: a rule that takes such requests, and a request timeout that ends
// them.
func longLived(m *merged, r *rule) (mesh.Finding, bool) {
	t := m.effective.Timeouts
	if t.Request == 0 || r.Redirect != nil || r.Direct != nil {
		return mesh.Finding{}, false
	}
	for i, match := range r.Matches {
		for k, h := range match.Headers {
			for _, l := range lasting {
				if h.Name != l.header || h.Invert || !strings.HasPrefix(h.Value, l.value) {
					continue
				}
				return mesh.Finding{
					Code: mesh.CodeTimeoutOnLongLived, Severity: mesh.Warning,
					Path:    fmt.Sprintf("%s.matches[%d].headers[%d]", rulePath(r.place), i, k),
					Message: fmt.Sprintf("rule %s takes %s, and the request timeout ends each of them after %s", r.Name, l.what, duration(t.Request)),
					Hint:    "set timeouts: {request: 0s} on the rule; streamIdle still ends those that are silent",
				}, true
			}
		}
	}
	return mesh.Finding{}, false
}
