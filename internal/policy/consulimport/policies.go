package consulimport

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
)

// policies makes the ResiliencePolicies.
func (m *importer) policies() {
	if m.protocol != "" && m.protocol != "http1" { // which is what a service speaks that says nothing
		m.add(Document{Kind: policy.KindResiliencePolicy, Name: "all-services", From: []string{ProxyDefaults + "/global"}, Spec: &v1alpha1.ResiliencePolicySpec{
			TargetRefs: []v1alpha1.TargetRef{{Kind: v1alpha1.TargetMesh}}, Connection: &v1alpha1.Connection{Protocol: &m.protocol},
		}})
	}
	for _, name := range m.services {
		m.policyOf(name)
	}
	for _, caller := range slices.Sorted(maps.Keys(m.defaults)) {
		m.upstreamsOf(caller)
	}
}

// policyOf makes the policy of a service: what its own entries say of it.
func (m *importer) policyOf(name string) {
	spec := &v1alpha1.ResiliencePolicySpec{TargetRefs: []v1alpha1.TargetRef{{Kind: v1alpha1.TargetService, Name: name}}}
	from := map[string]bool{}
	if d := m.defaults[name]; d != nil && d.protocol != "" {
		from[d.entry.String()] = true
		spec.Connection = &v1alpha1.Connection{Protocol: &d.protocol}
	}
	if r := m.resolvers[name]; r != nil {
		timeouts := v1alpha1.Timeouts{Connect: r.connect, Request: m.requestOf(name, r)}
		if timeouts != (v1alpha1.Timeouts{}) {
			spec.Timeouts = &timeouts
		}
		spec.LoadBalancing = r.balancing
		if spec.Timeouts != nil || spec.LoadBalancing != nil {
			from[r.entry.String()] = true
		}
	}
	if len(from) > 0 {
		m.add(Document{Kind: policy.KindResiliencePolicy, Name: name, Spec: spec, From: sorted(from)})
	}
}

// requestOf is the request timeout of a resolver, which counts where a chain
// has nothing but resolvers.
func (m *importer) requestOf(name string, r *resolver) *v1alpha1.Duration {
	switch {
	case r.request == nil || r.redirect != nil:
		return nil
	case m.routers[name] != nil || m.splitters[name] != nil:
		r.entry.body.left("RequestTimeout", "counts for nothing beside a router or splitter, in Consul neither; set timeouts.request in its rules")
		return nil
	case m.speaks(name) == "grpc":
		r.entry.body.left("RequestTimeout", noTimeoutOfGRPC)
		return nil
	case m.speaks(name) == "tcp":
		r.entry.body.left("RequestTimeout", "a tcp service has no requests")
		return nil
	}
	return r.request
}

const noTimeoutOfGRPC = "a grpc service has no request timeout: the caller's grpc-timeout counts; timeouts.maxStreamDuration bounds every call and stream"

// upstreamsOf makes the policies of one caller: one for each upstream that it
// names, and those for all others that are known.
func (m *importer) upstreamsOf(caller string) {
	d := m.defaults[caller]
	from := []string{d.entry.String()}
	var others []string
	for _, name := range m.services {
		if _, named := d.upstreams[name]; !named && name != caller {
			others = append(others, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.upstreams)) {
		if u := d.upstreams[name].over(d.upstream); u != nil {
			m.add(Document{Kind: policy.KindResiliencePolicy, Name: named(name, "from", caller), From: from, Spec: u.spec(caller, []string{name})})
		}
	}
	if d.upstream == nil {
		return
	}
	d.entry.leave("UpstreamConfig.Defaults", "", "was written for the services known today; add later ones to targetRefs, or set it for the Mesh", false)
	const most = 16 // targets of a document
	for i := 0; len(others) > 0; i++ {
		some := others[:min(most, len(others))]
		others = others[len(some):]
		suffix := "upstreams"
		if i > 0 {
			suffix = fmt.Sprintf("upstreams-%d", i+1)
		}
		m.add(Document{Kind: policy.KindResiliencePolicy, Name: named(caller, suffix), From: from, Spec: d.upstream.spec(caller, some)})
	}
}

// named joins parts to a name; one that is too long ends in a hash of it.
func named(parts ...string) string {
	name := strings.Join(parts, "-")
	const most = 63
	if len(name) <= most {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	const kept = most - 9
	return strings.TrimRight(name[:kept], "-") + "-" + hex.EncodeToString(sum[:4])
}
