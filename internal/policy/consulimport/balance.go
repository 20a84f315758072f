package consulimport

import (
	"strings"

	"meshlite.dev/internal/policy/v1alpha1"
)

// balancers by Consul's name.
var balancers = map[string]string{
	"random": "Random", "round_robin": "RoundRobin", "least_request": "LeastRequest", "ring_hash": "RingHash", "maglev": "Maglev",
}

// balancing reads how a resolver chooses instances; nil where it says nothing.
func balancing(o *object) *v1alpha1.LoadBalancing {
	out := &v1alpha1.LoadBalancing{}
	if near := o.object("PrioritizeByLocality"); near != nil {
		switch mode := near.text("Mode"); mode {
		case "failover":
			out.Locality = &v1alpha1.LocalityPreference{Mode: new("Failover")}
		case "", "none":
		default:
			near.left("Mode", "use loadBalancing.locality.mode: ZoneAware or Failover")
		}
	}
	if lb := o.object("LoadBalancer"); lb != nil {
		readBalancer(lb, out)
	}
	if out.Type == nil && out.Locality == nil {
		return nil
	}
	return out
}

func readBalancer(o *object, out *v1alpha1.LoadBalancing) {
	policy := o.text("Policy")
	kind, known := balancers[policy]
	if policy != "" && !known {
		o.left("Policy", "use loadBalancing.type: RoundRobin, LeastRequest, Random, RingHash or Maglev")
	}
	if known {
		out.Type = &kind
	}
	if c := o.object("LeastRequestConfig"); c != nil {
		n, _ := c.count("ChoiceCount")
		switch {
		case n < 2 || n > 100:
			c.left("ChoiceCount", "use loadBalancing.choiceCount from 2 to 100")
		case kind == "LeastRequest":
			out.ChoiceCount = &n
		}
	}
	o.object("RingHashConfig") // nothing of it is read
	for _, h := range o.list("HashPolicies") {
		if key, ok := hashKey(h); ok {
			out.Hash = append(out.Hash, key)
		}
	}
	switch {
	case kind != "RingHash" && kind != "Maglev":
		out.Hash = nil
	case len(out.Hash) == 0:
		o.left("Policy", "without anything to hash Envoy chooses at random, and so does this document; add hash to loadBalancing")
		out.Type = new("Random")
	}
}

func hashKey(o *object) (k v1alpha1.HashKey, ok bool) {
	if o.flag("Terminal") {
		k.Terminal = new(true)
	}
	name := o.text("FieldValue")
	cookie := o.object("CookieConfig")
	if o.flag("SourceIP") {
		k.SourceIP = new(true)
		return k, true
	}
	switch field := o.text("Field"); {
	case name == "":
		o.left("FieldValue", "has no name of what to hash")
		return k, false
	case field == "header":
		header := v1alpha1.HeaderName(strings.ToLower(name))
		k.Header = &header
	case field == "query_parameter":
		k.Query = &name
	case field == "cookie":
		k.Cookie = &v1alpha1.CookieKey{Name: name}
		if cookie == nil {
			break
		}
		k.Cookie.TTL = duration(cookie, "TTL")
		if path := cookie.text("Path"); path != "" {
			k.Cookie.Path = &path
		}
		if cookie.flag("Session") {
			cookie.left("Session", "cookies that Envoy makes have a lifetime: set ttl, such as 1h; without one it makes none")
		}
	default:
		o.left("Field", "use header, cookie, query or sourceIP in loadBalancing.hash")
		return k, false
	}
	return k, true
}
