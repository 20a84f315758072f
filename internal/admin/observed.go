package admin

import (
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/load"
	"meshlite.dev/internal/xds/server"
)

// Observed is what proxies and their load reports tell to findings.
func Observed(edges []load.Edge, proxies []server.Proxy) compile.Observed {
	var out compile.Observed
	of := map[string]int{} // connected proxies by service
	for _, p := range proxies {
		if !p.Connected {
			continue
		}
		of[p.Service]++
		if p.Envoy != "" {
			out.Builds = append(out.Builds, p.Envoy)
		}
	}
	for _, e := range edges {
		out.Edges = append(out.Edges, compile.Edge{
			From: e.From, To: e.To, InFlight: e.InProgress, Dropped: e.Dropped, Proxies: of[e.From],
		})
	}
	return out
}

// found lists the findings about what is served and what is observed of it.
func (a *api) found(s State) []mesh.Finding {
	var edges []load.Edge
	if a.Graph != nil {
		edges = a.Graph(a.Now())
	}
	return s.Result.FindingsWith(Observed(edges, a.Fleet.Proxies()))
}
