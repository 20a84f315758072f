package admin_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/load"
	"meshlite.dev/internal/xds/server"
)

func TestObservedCountsConnectedProxies(t *testing.T) {
	proxy := func(service, envoy string, connected bool) server.Proxy {
		return server.Proxy{Node: server.Node{Service: service, Envoy: envoy}, Connected: connected}
	}
	o := admin.Observed([]load.Edge{{From: "web", To: "orders", InProgress: 7, Dropped: 2}, {From: "shop", To: "orders"}},
		[]server.Proxy{proxy("web", "1.37.0", true), proxy("web", "1.40.0", true), proxy("web", "1.36.0", false), proxy("web", "", true)})
	if strings.Join(o.Builds, " ") != "1.37.0 1.40.0" {
		t.Errorf("builds = %q", o.Builds)
	}
	if len(o.Edges) != 2 || o.Edges[0].Proxies != 3 || o.Edges[0].InFlight != 7 || o.Edges[0].Dropped != 2 || o.Edges[1].Proxies != 0 {
		t.Errorf("edges = %+v", o.Edges)
	}
}

func TestFindingsTellOfTheLoad(t *testing.T) {
	cfg := config(t)
	cfg.Graph = func(time.Time) []load.Edge { return []load.Edge{{From: "web", To: "orders", Dropped: 4}} }
	var got adminapi.Findings
	if err := json.Unmarshal(ask(admin.New(cfg), http.MethodGet, "/v1/findings", "").Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, f := range got.Items {
		codes = append(codes, f.Code)
	}
	if strings.Join(codes, " ") != mesh.CodeLimitsBelowLoad+" "+mesh.CodeTargetNotFound {
		t.Errorf("findings = %v", codes)
	}
}
