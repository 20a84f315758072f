// Package chaintest follows Consul's compiled discovery chains, for tests that
// compare where calls go with where Consul would send them.
package chaintest

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
)

// Request is what routes look at.
type Request struct {
	Method, Path   string
	Headers, Query map[string]string // header names in lower case
}

// Outcome is what becomes of a request.
type Outcome struct {
	Shares   map[string]float64  // of 1, by pool: "SERVICE/SUBSET@DATACENTER", without the own datacenter dc1
	Failover map[string][]string // who takes over from a pool, in order
	Path     string
	Timeout  string // of the request; "" is inherited
	Attempts int    // retries; -1 is inherited
}

// Follow returns what Consul makes of a request. Timeouts of resolvers are not
// among it: its client does not tell them.
func Follow(chain *api.CompiledDiscoveryChain, req Request) Outcome {
	out := Outcome{Shares: map[string]float64{}, Failover: map[string][]string{}, Path: req.Path, Attempts: -1}
	node := chain.Nodes[chain.StartNode]
	if node.Type == api.DiscoveryGraphNodeTypeRouter {
		for _, route := range node.Routes {
			if matches(route.Definition.Match, req) {
				out.byDestination(route.Definition, req)
				node = chain.Nodes[route.NextNode]
				break
			}
		}
	}
	if node.Type == api.DiscoveryGraphNodeTypeSplitter {
		sum := float32(0)
		for _, s := range node.Splits {
			sum += s.Weight
		}
		for _, s := range node.Splits {
			out.lead(chain, chain.Nodes[s.NextNode], float64(s.Weight/sum))
		}
		return out.Rounded()
	}
	out.lead(chain, node, 1)
	return out.Rounded()
}

func (o *Outcome) byDestination(r *api.ServiceRoute, req Request) {
	d := r.Destination
	if d == nil {
		return
	}
	if d.RequestTimeout != 0 {
		o.Timeout = max(d.RequestTimeout, 0).String()
	}
	if d.NumRetries > 0 || len(d.RetryOn)+len(d.RetryOnStatusCodes) > 0 || d.RetryOnConnectFailure {
		o.Attempts = int(min(max(d.NumRetries, 1), 10))
	}
	if d.PrefixRewrite == "" {
		return
	}
	m := r.Match.HTTP
	o.Path = d.PrefixRewrite + req.Path[len(cmp.Or(m.PathExact, m.PathPrefix)):]
}

func (o *Outcome) lead(chain *api.CompiledDiscoveryChain, node *api.DiscoveryGraphNode, share float64) {
	pool := poolOf(chain.Targets[node.Resolver.Target])
	o.Shares[pool] += share
	if f := node.Resolver.Failover; f != nil {
		for _, id := range f.Targets {
			o.Take(pool, poolOf(chain.Targets[id]))
		}
	}
}

// Take notes who takes over, once.
func (o *Outcome) Take(pool, next string) {
	if next != pool && !slices.Contains(o.Failover[pool], next) {
		o.Failover[pool] = append(o.Failover[pool], next)
	}
}

// Rounded rounds the shares to a hundredth of a percent.
func (o Outcome) Rounded() Outcome {
	for pool, share := range o.Shares {
		o.Shares[pool] = float64(int(share*10000+0.5)) / 10000
	}
	return o
}

func poolOf(t *api.DiscoveryTarget) string {
	subset, datacenter := t.ServiceSubset, t.Datacenter
	if t.Subset.Filter == "" {
		subset = "" // all of the service
	}
	if datacenter == "dc1" {
		datacenter = ""
	}
	return t.Service + "/" + subset + "@" + datacenter
}

func matches(m *api.ServiceRouteMatch, req Request) bool {
	if m == nil || m.HTTP == nil {
		return true
	}
	h := m.HTTP
	path, exact, prefix := req.Path, h.PathExact, h.PathPrefix
	if h.CaseInsensitive {
		path, exact, prefix = strings.ToLower(path), strings.ToLower(exact), strings.ToLower(prefix)
	}
	switch {
	case exact != "" && path != exact, prefix != "" && !strings.HasPrefix(path, prefix),
		h.PathRegex != "" && !Full(h.PathRegex, req.Path), len(h.Methods) > 0 && !slices.Contains(h.Methods, req.Method):
		return false
	}
	for _, m := range h.Header {
		v, there := req.Headers[strings.ToLower(m.Name)]
		if compares(v, there, m.Exact, m.Prefix, m.Suffix, m.Regex) == m.Invert {
			return false
		}
	}
	for _, m := range h.QueryParam {
		if v, there := req.Query[m.Name]; !compares(v, there, m.Exact, "", "", m.Regex) {
			return false
		}
	}
	return true
}

// compares applies the first comparison that is set, else presence.
func compares(v string, there bool, exact, prefix, suffix, regex string) bool {
	switch {
	case exact != "":
		return there && v == exact
	case prefix != "":
		return there && strings.HasPrefix(v, prefix)
	case suffix != "":
		return there && strings.HasSuffix(v, suffix)
	case regex != "":
		return there && Full(regex, v)
	}
	return there
}

// Full reports whether a regex (RE2) matches the whole value.
func Full(regex, v string) bool { return regexp.MustCompile(`^(?:` + regex + `)$`).MatchString(v) }
