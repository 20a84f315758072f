package compile

import (
	"cmp"
	"slices"
	"strings"

	"meshlite.dev/internal/mesh"
)

// Observed is what a running mesh shows beside its documents and catalog.
type Observed struct {
	Edges  []Edge
	Builds []string // of the connected Envoys: "1.40.0"; repetitions do no harm
}

// Edge is what one service calls on another.
type Edge struct {
	From, To string // To is a service key
	InFlight uint64 // tries now, of all proxies of From together
	Dropped  uint64 // tries that limits refused of late
	Proxies  int    // connected ones of From; 0: not known
}

// FindingsWith is Findings and what can be said of what is observed: retries
// that multiply along the call graph, timeouts that a caller does not wait for,
// limits below the load, fields that a connected Envoy does not know. It costs
// what the graph is large, at each call.
func (v *view) FindingsWith(o Observed) []mesh.Finding {
	return v.findingsWith(o, mesh.Capabilities())
}

func (v *view) findingsWith(o Observed, table []mesh.Capability) []mesh.Finding {
	if v == nil {
		return nil
	}
	g := v.newGraph(o.Edges)
	out := slices.Clone(v.Findings())
	out = append(out, g.amplification()...)
	out = append(out, g.impatience()...)
	out = append(out, g.overload()...)
	out = append(out, v.tooNew(o.Builds, table)...)
	return mesh.SortFindings(out)
}

// graph is the call graph with what is in force on it.
type graph struct {
	model mesh.Model
	edges []Edge              // by caller and callee
	from  map[string][]int    // by caller
	ways  map[string][]string // by callee: other services whose rules lead there
	worst map[string]chain    // by caller: what one of its calls may become
}

func (v *view) newGraph(edges []Edge) *graph {
	g := &graph{model: v.model, edges: slices.Clone(edges), from: map[string][]int{}, ways: map[string][]string{}, worst: map[string]chain{}}
	slices.SortFunc(g.edges, func(a, b Edge) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	for i, e := range g.edges {
		g.from[e.From] = append(g.from[e.From], i)
	}
	if len(edges) == 0 {
		return g
	}
	for name, s := range v.model.Services.All() {
		if s.Default.Routes == nil {
			continue
		}
		led := map[string]bool{name: true}
		for i := range s.Default.Routes.Rules {
			for _, key := range leadsTo(&s.Default.Routes.Rules[i]) {
				if !led[key] {
					led[key] = true
					g.ways[key] = append(g.ways[key], name)
				}
			}
		}
	}
	return g
}

// leadsTo lists the service keys that a rule may send requests to.
func leadsTo(r *mesh.Rule) []string {
	var keys []string
	for _, b := range r.Backends {
		if b.Weight > 0 {
			keys = append(keys, mesh.ServiceKey(b.Service, b.Datacenter))
		}
	}
	for _, p := range r.Failover {
		keys = append(keys, mesh.ServiceKey(p.Service, p.Datacenter))
	}
	return keys
}

// leg is one way from a caller to a callee with what is in force on it.
type leg struct {
	service string // whose routes it takes
	rule    string // "" without a rule
	*mesh.Effective
}

// legs are the ways of an edge: by the callee's own name, and by the rules of
// others that lead there.
func (g *graph) legs(e Edge) []leg {
	var out []leg
	for _, name := range append([]string{e.To}, g.ways[e.To]...) {
		s, ok := g.model.Services.Get(name)
		if !ok {
			continue
		}
		d := s.For(e.From)
		switch {
		case !d.Protocol.HTTP():
		case d.Routes == nil:
			if name == e.To {
				out = append(out, leg{name, "", d.Effective})
			}
		default:
			for i := range d.Routes.Rules {
				if r := &d.Routes.Rules[i]; slices.Contains(leadsTo(r), e.To) {
					out = append(out, leg{name, r.Name, r.Resilience})
				}
			}
		}
	}
	return out
}

// by starts a finding about the service e.To at the first of the fields that a
// document sets, of what is in force on l.
func (l leg) by(code string, severity mesh.Severity, e Edge, paths ...string) mesh.Finding {
	f := mesh.Finding{Code: code, Severity: severity, Service: e.To, Document: mesh.DefaultPolicyName}
	for _, p := range paths {
		if o := l.Origins[p]; !o.IsDefault() {
			f.Document, f.Path = o.String(), o.Path
			return f
		}
	}
	return f
}

// set reports whether a document sets the field on l.
func (l leg) set(path string) bool { return !l.Origins[path].IsDefault() }

// String names the way in messages.
func (l leg) String() string {
	if l.rule == "" {
		return l.service
	}
	return strings.Join([]string{l.service, "by rule", l.rule}, " ")
}
