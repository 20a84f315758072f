package resource_test

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"meshlite.dev/internal/mesh"
)

func pick[T any](t *rapid.T, what string, from ...T) T { return rapid.SampledFrom(from).Draw(t, what) }

func sometimes[T any](t *rapid.T, what string, draw func() T) *T {
	if !rapid.Bool().Draw(t, what) {
		return nil
	}
	v := draw()
	return &v
}

func several[T any](t *rapid.T, what string, most int, draw func() T) (out []T) {
	for range rapid.IntRange(0, most).Draw(t, what) {
		out = append(out, draw())
	}
	return out
}

// drawPool is one that the shop has, or that is missing or not known.
func drawPool(t *rapid.T) mesh.Pool {
	return pick(t, "pool", pool("orders"), pool("orders", "v2"), pool("orders", "none"), pool("stock"), pool("orders@dc2"), pool("orders@dc2", "v2"),
		in(mesh.Missing, pool("gone")), in(mesh.Missing, pool("stock", "v9")), in(mesh.NotSynced, pool("slow")), in(mesh.NotSynced, pool("orders@dc9")))
}

var texts = []string{"a", "/a", "/api/", "100%", `\1`, "é", "a b", ".*", "%REQ(x)%"}

func drawValue(t *rapid.T, name string) mesh.ValueMatch {
	v := mesh.ValueMatch{Name: name, Type: pick(t, "type", mesh.MatchExact, mesh.MatchPrefix, mesh.MatchSuffix, mesh.MatchRegex, mesh.MatchPresent)}
	switch v.Type {
	case mesh.MatchPresent:
	case mesh.MatchRegex:
		v.Value = pick(t, "regex", "a+", ".*", "(x|y)?", `[0-9]{3}`)
	default:
		v.Value = pick(t, "value", append(texts, "")...)
	}
	return v
}

func drawMatch(t *rapid.T) mesh.Match {
	return mesh.Match{
		Path: sometimes(t, "path", func() mesh.ValueMatch {
			v := mesh.ValueMatch{Type: pick(t, "type", mesh.MatchExact, mesh.MatchPrefix, mesh.MatchSuffix, mesh.MatchRegex)}
			v.Value = pick(t, "value", "/", "/api", "/api/", "/a.b(c)", "/é")
			if v.Type == mesh.MatchRegex {
				v.Value = pick(t, "regex", "/a+", "/.*", "/(x|y)?")
			}
			return v
		}),
		Method: pick(t, "method", "", "GET", "POST", "PUT"),
		Headers: several(t, "headers", 2, func() mesh.ValueMatch {
			v := drawValue(t, "x-h")
			v.Invert = rapid.Bool().Draw(t, "invert")
			return v
		}),
		Query: several(t, "query", 2, func() mesh.ValueMatch { return drawValue(t, pick(t, "name", "q", "a b", "%")) }),
	}
}

func drawEdits(t *rapid.T) mesh.HeaderEdits {
	header := func() mesh.Header {
		return mesh.Header{Name: pick(t, "name", "x-a", "x-b"), Value: pick(t, "value", append(texts, "")...)}
	}
	return mesh.HeaderEdits{
		Set: several(t, "set", 2, header), Add: several(t, "add", 2, header),
		Remove: several(t, "remove", 2, func() string { return pick(t, "name", "x-c", "x-d") }),
	}
}

func drawRewrite(t *rapid.T) mesh.Rewrite {
	r := mesh.Rewrite{Host: pick(t, "host", "", "h.internal", "h:80")}
	switch rapid.IntRange(0, 3).Draw(t, "rewrite") {
	case 0:
		r.Path = pick(t, "path", "/p", `/\1`, "/100%")
	case 1:
		r.Prefix = pick(t, "prefix", "/", "/v2", "/v2/")
	case 2:
		r.Regex, r.Substitution = "^/(.*)/(.*)", pick(t, "substitution", `/\2/\1`, "", "/x")
	}
	return r
}

func drawFault(t *rapid.T) mesh.Fault {
	share := func(what string) uint32 { return pick(t, what, uint32(0), 1, 1000, 1_000_000) }
	f := mesh.Fault{Delay: pick(t, "delay", time.Millisecond, time.Hour), DelayMillionths: share("delayed"), AbortMillionths: share("aborted")}
	if rapid.Bool().Draw(t, "grpc") {
		f.AbortGRPC = uint32(rapid.IntRange(1, 16).Draw(t, "grpc status"))
	} else {
		f.AbortStatus = uint32(rapid.IntRange(200, 599).Draw(t, "status"))
	}
	return f
}

// drawRule is any that the documents allow, with a resilience of its own or
// that of the service.
func drawRule(t *rapid.T, s *mesh.Service, name string) mesh.Rule {
	r := mesh.Rule{Name: name, Matches: several(t, "matches", 3, func() mesh.Match { return drawMatch(t) }), ResponseHeaders: drawEdits(t)}
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		r.Redirect = &mesh.Redirect{
			Scheme: pick(t, "scheme", "", "https"), Host: pick(t, "host", "", "h"), Path: pick(t, "path", "", "/p%"),
			Port: pick(t, "port", uint32(0), 443), Status: pick(t, "status", uint32(301), 302, 303, 307, 308),
		}
		return r
	case 1:
		r.Direct = &mesh.DirectResponse{Status: uint32(rapid.IntRange(200, 599).Draw(t, "status")), Body: pick(t, "body", append(texts, "")...)}
		return r
	}
	for range rapid.IntRange(1, 4).Draw(t, "backends") {
		r.Backends = append(r.Backends, mesh.Backend{Pool: drawPool(t), Weight: pick(t, "weight", uint32(0), 1, 90, 1_000_000, 1<<32-1)})
	}
	r.Backends[0].Weight = max(r.Backends[0].Weight, 1)
	r.Failover = several(t, "failover", 3, func() mesh.Pool { return drawPool(t) })
	r.RequestHeaders = drawEdits(t)
	r.Rewrite = sometimes(t, "rewrites", func() mesh.Rewrite { return drawRewrite(t) })
	r.Mirrors = several(t, "mirrors", 2, func() mesh.Mirror {
		return mesh.Mirror{Pool: drawPool(t), Millionths: pick(t, "share", uint32(0), 1000, 1_000_000)}
	})
	r.Fault = sometimes(t, "fault", func() mesh.Fault { return drawFault(t) })
	if rapid.Bool().Draw(t, "own") {
		r.Resilience = under(s, func(e *mesh.Effective) {
			e.Timeouts.Request = pick(t, "request", 0, time.Second)
			e.Retry.Attempts, e.Retry.Methods = pick(t, "attempts", uint32(0), 3), pick(t, "methods", nil, []string{"GET"}, []string{"PUT", "GET"})
			e.Route, e.RouteDocuments = ofRule, []mesh.DocumentRef{ofRule}
			e.RateLimit = sometimes(t, "limit", func() mesh.RateLimit { return mesh.RateLimit{Requests: 1, Per: 70 * time.Millisecond, Burst: 3} })
			e.RateLimitBy = ofRule
		})
	}
	return r
}

func drawRules(t *rapid.T, s *mesh.Service) (out []mesh.Rule) {
	for i := range rapid.IntRange(0, 4).Draw(t, "rules") {
		out = append(out, drawRule(t, s, fmt.Sprint("r", i)))
	}
	return out
}
