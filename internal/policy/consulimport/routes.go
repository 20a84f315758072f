package consulimport

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
)

// routes makes the TrafficRoutes.
func (m *importer) routes() {
	for _, service := range m.services {
		if m.routers[service] == nil && m.splitters[service] == nil && m.resolvers[service] == nil {
			continue
		}
		if m.speaks(service) == "tcp" {
			m.unroutable(service)
			continue
		}
		m.absent(service)
		t := table{importer: m, service: service, spec: &v1alpha1.TrafficRouteSpec{Service: service}}
		t.subsets()
		t.rules()
		if len(t.spec.Rules)+len(t.spec.Subsets) == 0 {
			continue
		}
		if t.lost {
			t.spec.Effect = v1alpha1.Shadow
		}
		m.add(Document{Kind: policy.KindTrafficRoute, Name: service, Spec: t.spec, From: sorted(t.from), Shadow: t.lost})
	}
}

// absent reports routes of a name without instances, as Consul allows.
func (m *importer) absent(service string) {
	if m.catalog == nil || m.catalog[service] {
		return
	}
	for _, e := range m.entries {
		if e.taken && e.name == service && e.kind != ServiceDefaults && (e.kind != ServiceResolver || !empty(e.body.values["redirect"])) {
			e.leave("", "", "nothing is registered under this name, and Meshlite routes the names of its catalog; register an instance, or let callers use the name that it leads to", true)
		}
	}
}

// unroutable reports what a service of protocol tcp has in the way of routes.
func (m *importer) unroutable(service string) {
	const why = "a tcp service has no routes, and Consul takes this one for tcp; where it speaks HTTP, say so in its service-defaults and import again"
	if r := m.routers[service]; r != nil {
		r.entry.body.moves("Routes", why)
	}
	if s := m.splitters[service]; s != nil {
		s.entry.body.moves("Splits", why)
	}
	r := m.resolvers[service]
	if r == nil {
		return
	}
	for _, name := range []string{"DefaultSubset", "Redirect", "Failover"} {
		if !empty(r.entry.body.values[plain(name)]) {
			r.entry.body.moves(name, why)
		}
	}
	if len(r.subsets) > 0 {
		r.entry.body.left("Subsets", why)
	}
}

// table is one TrafficRoute while it is made.
type table struct {
	*importer
	trail
	service string
	spec    *v1alpha1.TrafficRouteSpec
}

// subsets writes those of the service's resolver that are a part of it.
func (t *table) subsets() {
	r := t.resolvers[t.service]
	if r == nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(r.subsets)) {
		s := r.subsets[name]
		switch {
		case s.isAll() || s.fault != "":
			continue // the whole service, or what nobody can lead to
		case !mesh.IsDNSLabel(name):
			r.entry.leave("Subsets."+name, "", "a subset is named by a-z, 0-9 and '-', up to 63 of them", true)
			continue
		}
		t.met(r.entry)
		t.spec.Subsets = append(t.spec.Subsets, v1alpha1.Subset{Name: name, Tags: s.tags, Meta: s.meta})
	}
}

// rules writes the rules of the router, and one for all that it does not
// match where that does not end at the plain service.
func (t *table) rules() {
	if r := t.routers[t.service]; r != nil {
		t.met(r.entry)
		for i := range r.routes {
			t.route(i, &r.routes[i])
		}
	}
	rule := v1alpha1.RouteRule{Name: "default"}
	t.lead(&rule, t.service, "")
	if t.routers[t.service] == nil && t.splitters[t.service] == nil {
		end := t.resolve(pool{service: t.service}, &trail{})
		if r := t.resolvers[end.service]; r != nil && end.service != t.service && r.request != nil {
			rule.Timeouts = t.timeouts(r.entry.body, "RequestTimeout", r.request, nil)
		}
	}
	if len(rule.Backends)+len(rule.Failover) > 0 || rule.Filters != nil || rule.Timeouts != nil {
		t.spec.Rules = append(t.spec.Rules, rule)
	}
}

// route writes one route of the router.
func (t *table) route(i int, r *route) {
	if !r.whole || r.foreign {
		t.trail.lost = true
		return
	}
	rule := v1alpha1.RouteRule{Name: fmt.Sprintf("route-%d", i), Matches: r.matches, Retry: r.retry}
	if rewrite := r.rewriteOf(); rewrite != nil || r.headers != nil || r.answer != nil {
		rule.Filters = &v1alpha1.RouteFilters{Rewrite: rewrite, RequestHeaders: r.headers, ResponseHeaders: r.answer}
	}
	rule.Timeouts = t.timeouts(r.to, "RequestTimeout", r.request, r.idle)
	if r.retry != nil && r.retry.Methods != nil {
		r.to.entry.leave(r.to.path, "", "its retries count for POST and PATCH too, as in Consul: take those out of methods where a call must not happen twice", false)
	}
	t.lead(&rule, cmp.Or(r.service, t.service), r.subset)
	t.spec.Rules = append(t.spec.Rules, rule)
}

func (t *table) timeouts(o *object, field string, request, idle *v1alpha1.Duration) *v1alpha1.Timeouts {
	if request != nil && t.speaks(t.service) == "grpc" {
		o.left(field, noTimeoutOfGRPC)
		request = nil
	}
	if request == nil && idle == nil {
		return nil
	}
	return &v1alpha1.Timeouts{Request: request, StreamIdle: idle}
}

// lead writes where a destination's chain ends.
func (t *table) lead(rule *v1alpha1.RouteRule, service, subset string) {
	shares := t.shares(service, subset, &t.trail)
	t.splitHeaders(rule, shares)
	var failover [][]pool
	for _, s := range shares {
		failover = append(failover, t.failoverOf(s.pool))
	}
	t.backends(rule, shares)
	if len(failover) == 0 {
		return
	}
	for i := range failover {
		if !slices.Equal(failover[i], failover[0]) {
			t.differ(shares, failover)
			return
		}
	}
	for _, p := range failover[0] {
		rule.Failover = append(rule.Failover, v1alpha1.FailoverTarget{Destination: p.destination()})
	}
}

// failoverOf lists who takes over from a pool, as documents name them.
func (t *table) failoverOf(p pool) (all []pool) {
	for _, next := range t.failover(p, &t.trail) {
		if next = t.known(next); !slices.Contains(all, next) && next != t.known(p) {
			all = append(all, next)
		}
	}
	return all
}

// differ reports backends that do not share who takes over.
func (t *table) differ(shares []share, failover [][]pool) {
	for i, s := range shares {
		if r := t.resolvers[s.service]; r != nil && len(failover[i]) > 0 {
			r.entry.body.moves("Failover", fmt.Sprintf("was left out of the rules of %s: a rule has one failover list for all its backends, and theirs differ; write the one that suits all, such as {service: %s, datacenter: %s}",
				t.service, failover[i][0].service, cmp.Or(failover[i][0].datacenter, "dc2")))
		}
	}
}

// known brings a pool to what documents can name: a subset that is all of its
// service has no name, one that cannot be said is lost.
func (t *table) known(p pool) pool {
	if p.subset == "" {
		return p
	}
	var s subset
	ok := false
	if r := t.resolvers[p.service]; r != nil {
		s, ok = r.subsets[p.subset]
		t.met(r.entry)
	}
	switch {
	case !ok:
		t.trail.lost = true
		t.first().leave("", "", "leads to the subset "+p.subset+" of "+p.service+", which is not there; Consul refuses that", true)
	case s.fault != "":
		t.trail.lost = true
	case s.isAll():
		p.subset = ""
	}
	return p
}

// first is the entry where the service's chain begins.
func (t *table) first() *entry {
	if r := t.routers[t.service]; r != nil {
		return r.entry
	}
	if s := t.splitters[t.service]; s != nil {
		return s.entry
	}
	return t.resolvers[t.service].entry
}

// backends writes the shares, those of one pool together.
func (t *table) backends(rule *v1alpha1.RouteRule, shares []share) {
	var order []pool
	weights := map[pool]int{}
	whole := true
	for _, s := range shares {
		p := t.known(s.pool)
		if _, ok := weights[p]; !ok {
			order = append(order, p)
		}
		weights[p] += s.weight
	}
	if len(order) == 1 && order[0] == (pool{service: t.service}) {
		return // the service itself
	}
	for _, w := range weights {
		whole = whole && w%100 == 0
	}
	for _, p := range order {
		b := v1alpha1.Backend{Destination: p.destination()}
		if len(order) > 1 {
			w := int32(weights[p])
			if whole {
				w /= 100
			}
			b.Weight = &w
		}
		rule.Backends = append(rule.Backends, b)
	}
}

// splitHeaders writes the header edits that all splits share.
func (t *table) splitHeaders(rule *v1alpha1.RouteRule, shares []share) {
	var some, alike = false, true
	for _, s := range shares {
		if s.by == nil {
			return
		}
		some = some || s.by.headers != nil || s.by.answer != nil
		alike = alike && reflect.DeepEqual(s.by.headers, shares[0].by.headers) && reflect.DeepEqual(s.by.answer, shares[0].by.answer)
	}
	if !some {
		return
	}
	if !alike || rule.Filters != nil {
		for _, s := range shares {
			s.by.ownHeaders()
		}
		return
	}
	rule.Filters = &v1alpha1.RouteFilters{RequestHeaders: shares[0].by.headers, ResponseHeaders: shares[0].by.answer}
}
