package compile_test

import (
	"strings"
	"testing"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
)

// line finds a field of an explanation.
func line(tb testing.TB, d *mesh.Destination, path string) compile.Field {
	tb.Helper()
	for _, f := range compile.Explain(d) {
		if f.Path == path {
			return f
		}
	}
	tb.Fatalf("explain has no field %s", path)
	return compile.Field{}
}

func TestExplainListsEveryFieldInTheOrderOfTheSchema(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	fields := compile.Explain(on(t, w.full(), "orders", ""))
	if len(fields) < 60 || fields[0].Path != "timeouts.connect" || fields[5].Path != "retry.attempts" {
		t.Fatalf("%d fields, first %s, sixth %s", len(fields), fields[0].Path, fields[5].Path)
	}
	for _, f := range fields {
		if f.Value == "" || f.Origin.Why == "" {
			t.Errorf("%s has value %q, why %q", f.Path, f.Value, f.Origin.Why)
		}
		absent := strings.HasPrefix(f.Path, "healthCheck.") || strings.HasPrefix(f.Path, "rateLimit.")
		if (f.Value == compile.None) != absent {
			t.Errorf("%s = %s", f.Path, f.Value)
		}
	}
}

func TestExplainPrintsValuesAsTheirAuthorsWroteThem(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	w.policy("default/orders", `{targetRefs: [{kind: Service, name: orders}], timeouts: {idle: 120s}, retry: {methods: [GET, PUT]}}`)
	d := on(t, w.full(), "orders", "")
	for path, want := range map[string]string{"timeouts.idle": "120s", "retry.methods": "[GET, PUT]", "outlierDetection.maxEjectionTime": "300s"} {
		if got := line(t, d, path); got.Value != want {
			t.Errorf("%s = %s, want %s", path, got.Value, want)
		}
	}
	if got := line(t, d, "timeouts.idle").Origin; got.Path != "spec.timeouts.idle" || got.Lost[0].Value != "60s" || got.Lost[0].Path != "" {
		t.Errorf("origin = %+v", got)
	}
}

func TestExplainTellsWhatHasNoEffectOnATCPService(t *testing.T) {
	w := newWorld(t)
	w.service("db", 1, func(s *catalog.Service) { s.Protocol = mesh.TCP })
	d := on(t, w.full(), "db", "")
	for path, without := range map[string]bool{
		"timeouts.request": true, "retry.attempts": true, "limits.requests": true, "connection.http2.keepaliveInterval": true,
		"timeouts.connect": false, "timeouts.idle": false, "retry.tcpConnectAttempts": false, "limits.connections": false,
		"outlierDetection.mode": false, "connection.protocol": false,
	} {
		if got := strings.Contains(line(t, d, path).Origin.Why, "no effect"); got != without {
			t.Errorf("%s: no effect: %t, want %t", path, got, without)
		}
	}
}
