package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/internal/xds/server/xdstest"
)

// labelled puts labels on the cluster and the routes of a set, and on nothing
// else of it.
func labelled(set resource.Set, cluster, routes string) resource.Set {
	out := resource.Set{Service: set.Service}
	for _, r := range set.Resources {
		c := *r
		c.Policies = nil
		switch c.Type {
		case resource.ClusterType:
			c.Policies = strings.Fields(cluster)
		case resource.RouteType:
			c.Policies = strings.Fields(routes)
		}
		out.Resources = append(out.Resources, &c)
	}
	return out
}

// ask surveys the fleet about labels, each "LABEL" or "LABEL SERVICE".
func (r *rig) ask(labels ...string) string {
	var asks []cache.Label
	for _, l := range labels {
		policy, service, _ := strings.Cut(l, " ")
		asks = append(asks, cache.Label{Policy: policy, Service: service})
	}
	s := r.srv.Survey(server.NewInquiry(asks))
	var out []string
	for i, u := range s.Uptakes {
		line := fmt.Sprintf("%s %d/%d", labels[i], u.Running, u.Proxies)
		if !u.Labelled {
			line += " unlabelled"
		}
		for _, f := range u.Refusals {
			line += fmt.Sprintf(" %s: %s", f.Proxy, f.Message)
		}
		for _, p := range u.Late {
			line += " late " + p
		}
		out = append(out, line)
	}
	return fmt.Sprintf("%d connected, %d settling; %s", s.Connected, s.Settling, strings.Join(out, "; "))
}

func (r *rig) expect(want string, labels ...string) {
	r.t.Helper()
	synctest.Wait()
	if got := r.ask(labels...); got != want {
		r.t.Errorf("the fleet says %s\nwant %s", got, want)
	}
}

const a1, a2, b1 = "rp/default/a@1", "rp/default/a@2", "rp/default/b@1"

func TestSurveyCountsWhoRunsADocument(t *testing.T) {
	sets := []resource.Set{labelled(xdstest.Service("orders", 8001), a1, b1+" "+a1), labelled(xdstest.Service("pay", 9001), "", b1)}
	bubble(t, nil, sets, func(t *testing.T, r *rig) {
		r.expect("0 connected, 0 settling; rp/default/a@1 0/0", a1)
		r.connect(envoy("c-1", "client"))
		hang := r.connect(envoy("c-2", "client"))
		r.expect("2 connected, 0 settling; rp/default/a@1 2/2; rp/default/b@1 pay 2/2; rp/default/none@1 0/0 unlabelled", a1, b1+" pay", "rp/default/none@1")
		hang()
		r.expect("1 connected, 0 settling; rp/default/a@1 1/1", a1)
	})
}

// Of what an Envoy refuses, only the documents whose newest version is not in
// its last good content count as refused.
func TestSurveyBlamesTheDocumentThatChanged(t *testing.T) {
	poison := xdstest.Route("orders", 13*time.Second, "orders")
	bubble(t, nil, []resource.Set{labelled(xdstest.Service("orders", 8001), a1, b1+" "+a1)}, func(t *testing.T, r *rig) {
		e := envoy("c-1", "client")
		e.Refuse = bad(poison)
		r.connect(e)
		r.connect(envoy("c-2", "client"))
		next := labelled(xdstest.Service("orders", 8001), a1, b1+" "+a2)
		next.Resources[5] = labelled(resource.Set{Resources: []*resource.Resource{poison}}, "", b1+" "+a2).Resources[0]
		r.store.Apply([]resource.Set{next})
		r.expect("2 connected, 0 settling; rp/default/a@2 1/2 c-1: missing ): a(b; rp/default/b@1 2/2; rp/default/a@2 orders 1/2 c-1: missing ): a(b", a2, b1, a2+" orders")
		r.store.Apply([]resource.Set{labelled(xdstest.Tuned("orders", 4*time.Second, 8001), "rp/default/a@3", b1+" rp/default/a@3")})
		r.expect("2 connected, 0 settling; rp/default/a@3 2/2", "rp/default/a@3")
	})
}

// A document that no longer has a say in a resource runs only where the proxy
// has let go of what its older version made.
func TestSurveyWaitsForWhatAnOlderVersionMade(t *testing.T) {
	bubble(t, nil, []resource.Set{labelled(xdstest.Service("orders", 8001), a1, a1)}, func(t *testing.T, r *rig) {
		e := envoy("c-1", "client")
		plain := xdstest.Route("orders", 13*time.Second, "orders")
		e.Refuse = bad(plain)
		r.connect(e)
		next := labelled(xdstest.Tuned("orders", time.Second, 8001), a2, "")
		plain.Policies = nil
		next.Resources[5] = plain
		r.store.Apply([]resource.Set{next})
		r.expect("1 connected, 0 settling; rp/default/a@2 0/1 c-1: missing ): a(b", a2)
	})
}

func TestSurveyAsksOnlyTheCallersOfAVariant(t *testing.T) {
	set := labelled(xdstest.Service("orders", 8001), b1, b1)
	own := *xdstest.For(xdstest.Route("orders", 5*time.Second, "orders"), "shop")
	own.Policies = []string{a1}
	set.Resources = append(set.Resources, &own)
	bubble(t, nil, []resource.Set{set}, func(t *testing.T, r *rig) {
		r.connect(envoy("c-1", "client"))
		hang := r.connect(envoy("s-1", "shop"))
		r.connect(envoy("s-2", "shop"))
		r.expect("3 connected, 0 settling; rp/default/a@1 2/2; rp/default/b@1 3/3", a1, b1)
		onlyRoutes := labelled(xdstest.Service("orders", 8001), "", b1)
		onlyRoutes.Resources = append(onlyRoutes.Resources, &own)
		r.store.Apply([]resource.Set{onlyRoutes})
		r.expect("3 connected, 0 settling; rp/default/b@1 1/1", b1)
		hang()
		r.expect("2 connected, 0 settling; rp/default/a@1 1/1", a1)
	})
}

// A proxy that has just come does not count until it has what it asked for,
// unless it takes long or refuses something.
func TestSurveyLetsProxiesSettle(t *testing.T) {
	bubble(t, nil, []resource.Set{labelled(xdstest.Service("orders", 8001), a1, a1)}, func(t *testing.T, r *rig) {
		slow := r.delta()
		req := subscribe(resource.ClusterType)
		req.Node = xdstest.Node("slow", "client")
		slow.Say(req)
		r.expect("0 connected, 1 settling; rp/default/a@1 0/0", a1)
		<-time.After(11 * time.Second) // the bubble's clock
		r.expect("1 connected, 0 settling; rp/default/a@1 0/1 late slow", a1)

		refuses := envoy("c-1", "client")
		refuses.Refuse = bad(xdstest.Route("orders", time.Second, "orders"))
		r.connect(refuses)
		r.expect("2 connected, 0 settling; rp/default/a@1 0/2 c-1: missing ): a(b late slow", a1)
	})
}

// A reconnect with what the proxy has is no moment without it.
func TestSurveyAfterAReconnect(t *testing.T) {
	bubble(t, nil, []resource.Set{labelled(xdstest.Service("orders", 8001), a1, a1)}, func(t *testing.T, r *rig) {
		e := envoy("c-1", "client")
		hang := r.connect(e)
		hang()
		r.expect("0 connected, 0 settling; rp/default/a@1 0/0", a1)
		r.connect(e)
		r.expect("1 connected, 0 settling; rp/default/a@1 1/1", a1)
	})
}

// labelsOf are the labels that random histories give a resource: a document of
// its own for each content.
func labelsOf(r *resource.Resource) []string {
	if r.Type != resource.ClusterType && r.Type != resource.RouteType {
		return nil
	}
	return []string{fmt.Sprintf("%s/%s/%s/%s@1", r.Type, r.Caller, r.Name, r.Version)}
}

// checkSurvey compares a survey with what a look at every resource of every
// proxy says.
func (f *fleet) checkSurvey() (faults []string) {
	type count struct{ running, proxies int }
	want := map[string]count{}
	for _, p := range f.r.srv.Proxies() {
		states, ok := f.r.srv.Resources(p.ID)
		if !ok {
			continue
		}
		routes := func(s server.ResourceState) bool { return s.Type == resource.RouteType }
		if !slices.ContainsFunc(states, routes) {
			return nil // what a proxy has not asked for is not listed
		}
		for _, s := range states {
			r := f.r.store.Lookup(s.Type, s.Name, p.Service)
			if r == nil || r.State != resource.Normal || len(r.Policies) == 0 {
				continue
			}
			c := want[r.Policies[0]]
			c.proxies++
			if s.Acked == r.Version {
				c.running++
			}
			want[r.Policies[0]] = c
		}
	}
	var asks []cache.Label
	for label := range want {
		asks = append(asks, cache.Label{Policy: label})
	}
	got := f.r.srv.Survey(server.NewInquiry(asks))
	if got.Settling > 0 {
		return nil // some do not count yet
	}
	for i, u := range got.Uptakes {
		if c := want[asks[i].Policy]; u.Running != c.running || u.Proxies != c.proxies {
			faults = append(faults, fmt.Sprintf("the survey says %d/%d run %s, the proxies %d/%d", u.Running, u.Proxies, asks[i].Policy, c.running, c.proxies))
		}
	}
	return faults
}
