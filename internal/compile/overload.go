package compile

import (
	"fmt"

	"meshlite.dev/internal/mesh"
)

// nearLimit is the share of a limit, in percent, from which on the load is near
// it.
const nearLimit = 80

// impatience finds callers that give up before what they call gives up on what
// it calls itself: the work goes on for nobody.
func (g *graph) impatience() []mesh.Finding {
	var out []mesh.Finding
	for _, e := range g.edges {
		for _, i := range g.from[e.To] {
			if f, ok := g.impatient(e, g.edges[i]); ok {
				out = append(out, f)
			}
		}
	}
	return out
}

// impatient compares the shortest wait for e with the longest for next, what
// e.To calls. A service without a request timeout, grpc or one that streams, is
// left alone.
func (g *graph) impatient(e, next Edge) (mesh.Finding, bool) {
	var short, long leg
	for _, l := range g.legs(e) {
		if t := l.Timeouts.Request; t > 0 && (short.Effective == nil || t < short.Timeouts.Request) {
			short = l
		}
	}
	for _, l := range g.legs(next) {
		if long.Effective == nil || l.Timeouts.Request > long.Timeouts.Request {
			long = l
		}
	}
	if short.Effective == nil || long.Effective == nil || long.Timeouts.Request <= short.Timeouts.Request {
		return mesh.Finding{}, false
	}
	severity := mesh.Warning
	if !long.set("timeouts.request") {
		severity = mesh.Info // nobody chose that
	}
	f := short.by(mesh.CodeShorterThanCallee, severity, e, "timeouts.request")
	if f.Path == "" {
		f = long.by(mesh.CodeShorterThanCallee, severity, e, "timeouts.request")
	}
	f.Message = fmt.Sprintf("%s waits %s for %s, which waits %s for %s: the work goes on after the caller has left",
		e.From, duration(short.Timeouts.Request), short, duration(long.Timeouts.Request), long)
	f.Hint = fmt.Sprintf("let timeouts.request grow towards the caller: less for calls from %s to %s, or more for those from %s", e.To, next.To, e.From)
	return f, true
}

// overload finds limits that the load runs into.
func (g *graph) overload() []mesh.Finding {
	var out []mesh.Finding
	for _, e := range g.edges {
		s, ok := g.model.Services.Get(e.To)
		if !ok {
			continue
		}
		d := s.For(e.From)
		l := leg{service: e.To, Effective: d.Effective}
		limit := uint64(d.Limits.Requests)
		switch {
		case e.Dropped > 0:
			f := l.by(mesh.CodeLimitsBelowLoad, mesh.Warning, e, "limits.requests", "limits.pendingRequests", "limits.connections")
			f.Message = fmt.Sprintf("the limits refuse tries of %s: %d of late (requests %d, pendingRequests %d, connections %d for each of its proxies)",
				e.From, e.Dropped, d.Limits.Requests, d.Limits.PendingRequests, d.Limits.Connections)
			f.Hint = "raise the limit that is met, or find out what makes the service slow: the calls in flight grow with its latency"
			out = append(out, f)
		case limit > 0 && e.Proxies > 0 && e.InFlight*100 >= limit*nearLimit*uint64(e.Proxies) && d.Protocol.HTTP():
			f := l.by(mesh.CodeLimitsBelowLoad, mesh.Info, e, "limits.requests")
			f.Message = fmt.Sprintf("%s has %d tries in flight on %d proxies, of %d that limits.requests allows each", e.From, e.InFlight, e.Proxies, limit)
			f.Hint = "raise limits.requests before the load grows"
			out = append(out, f)
		}
	}
	return out
}
