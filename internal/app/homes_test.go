package app

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/resource"
)

// Each replica says how it is spoken to; a note that it left before it took to TLS
// does not count beside the newer one.
func TestReplicasTakeToTLSOneAfterTheOther(t *testing.T) {
	var log strings.Builder
	h := newHomes(nil, resource.Config{}, nil, nil, slog.New(slog.NewTextHandler(&log, nil)))
	ports := func(es []mesh.Endpoint) (out []uint32) {
		for _, e := range es {
			out = append(out, e.Port)
		}
		return out
	}
	s := h.servers(mesh.EventsHost, []string{"https://10.0.0.1:2", "10.0.0.1:1", "10.0.0.1:2", "[fd00::1]:4", "https://10.0.0.1:3", "10.0.0.1:1", "events:5", "https://", ""})
	if got := ports(s.Plain); !slices.Equal(got, []uint32{1, 4}) {
		t.Errorf("in clear text: %v", got)
	}
	if got := ports(s.TLS); !slices.Equal(got, []uint32{2, 3}) {
		t.Errorf("by TLS: %v", got)
	}
	if !strings.Contains(log.String(), "set --app-ca") {
		t.Errorf("nothing is said of the authority that lacks: %s", log.String())
	}
}
