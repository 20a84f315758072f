package server_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/internal/xds/server/xdstest"
)

// act is one step of a random history.
type act struct {
	what    string // publish, swap, remove, withhold, await, hang, restart, pause, wait
	service int
	shape   int // how the route leads to others
	port    int
	timeout int // of cluster and route; 3 is refused by the first two proxies
	route   int // 3 makes a refused route
	also    int // the route leads there too, to another service; -1 nowhere else
	gone    int // removed in the same step by swap
	variant bool
	envoy   int
}

func drawActs(t *rapid.T) []act {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) act {
		return act{
			what: rapid.SampledFrom([]string{
				"publish", "publish", "publish", "publish", "publish", "swap", "swap", "remove", "withhold", "await",
				"hang", "restart", "pause", "resume", "wait", "settle", "settle",
			}).Draw(t, "what"),
			service: rapid.IntRange(0, 4).Draw(t, "service"),
			port:    rapid.IntRange(1, 3).Draw(t, "port"),
			timeout: rapid.IntRange(1, 3).Draw(t, "timeout"),
			route:   rapid.IntRange(1, 3).Draw(t, "route"),
			also:    rapid.IntRange(-1, 4).Draw(t, "also"),
			shape:   rapid.IntRange(0, shapes-1).Draw(t, "shape"),
			gone:    rapid.IntRange(0, 4).Draw(t, "gone"),
			variant: rapid.Bool().Draw(t, "variant"),
			envoy:   rapid.IntRange(0, 2).Draw(t, "envoy"),
		}
	}), 20, 80).Draw(t, "acts")
}

func name(i int) string { return fmt.Sprint("s", i) }

// The shapes of a route that leads to a second cluster.
const (
	byPath = iota
	byWeight
	failover // to a list of both, made beside it
	mirrored // and to a subset of its own
	shapes
)

func subset(s string) string { return s + "/v" }

// routes is the route configuration of the service, with what stands beside it.
func (a act) routes() (rc *resource.Resource, more []*resource.Resource) {
	own, timeout := name(a.service), time.Duration(a.route)*time.Second
	if a.also < 0 || a.also == a.service {
		return xdstest.Route(own, timeout, own), nil
	}
	also := name(a.also)
	switch a.shape {
	case byWeight:
		return xdstest.Split(own, timeout, "", own, also), nil
	case failover:
		list := xdstest.Failover(own, time.Duration(a.timeout)*time.Second, own, also)
		rc = xdstest.Route(own, timeout, list.Name)
		for _, c := range []string{own, also} {
			rc.Refs = append(rc.Refs, resource.Ref{Type: resource.ClusterType, Name: c})
		}
		return rc, []*resource.Resource{list}
	case mirrored:
		part := xdstest.Cluster(subset(own), time.Duration(a.timeout)*time.Second)
		return xdstest.Split(own, timeout, also, own, part.Name),
			[]*resource.Resource{xdstest.Of(part, own), xdstest.Of(xdstest.Assignment(part.Name, uint32(a.port)), own)}
	default:
		return xdstest.Route(own, timeout, own, also), nil
	}
}

// set is what a publish of the history makes.
func (a act) set() resource.Set {
	own := name(a.service)
	set := xdstest.Service(own, uint32(a.port))
	set.Resources[0] = xdstest.Cluster(own, time.Duration(a.timeout)*time.Second)
	rc, more := a.routes()
	switch a.what {
	case "withhold": // the catalog has not told of the service
		for i := range 2 {
			set.Resources[i] = xdstest.With(set.Resources[i], resource.Withheld)
		}
		rc = xdstest.With(xdstest.Route(own, 0), resource.IfAbsent)
	case "await": // nor of the other one
		rc = xdstest.With(xdstest.Route(own, 9*time.Second, own), resource.IfAbsent)
	}
	for _, r := range more {
		if a.what == "withhold" || a.what == "await" && a.shape == failover {
			r = xdstest.With(r, resource.Withheld)
		}
		set.Resources = append(set.Resources, r)
	}
	set.Resources[5] = rc
	if a.variant {
		set.Resources = append(set.Resources, xdstest.For(xdstest.Route(own, 9*time.Second, own), "special"))
	}
	for _, r := range set.Resources {
		r.Policies = labelsOf(r)
	}
	return set
}

// sets are those of one step. What a swap removes, nothing of it leads to.
func (a act) sets() []resource.Set {
	switch a.what {
	case "remove":
		return []resource.Set{{Service: name(a.service)}}
	case "swap":
		if a.gone == a.service {
			return []resource.Set{a.set()}
		}
		if a.also == a.gone {
			a.also = -1
		}
		return []resource.Set{{Service: name(a.gone)}, a.set()}
	}
	return []resource.Set{a.set()}
}

// fleet is three model Envoys: two that refuse some contents, the second of
// them applying a refused response in part, and one with a policy of its own.
type fleet struct {
	r      *rig
	envoys []*xdstest.Envoy
	hangs  []func()
	gates  []*gated
	paused []bool
}

// poison is what the first two proxies refuse, and their words for it, by type
// and version: clusters with a timeout of 3, routes with a route of 3. Made
// once, for proxies look at every resource they are sent.
var poison = sync.OnceValue(func() map[[2]string]string {
	out := map[[2]string]string{}
	for s := range 5 {
		for also := -1; also < 5; also++ {
			for shape := range shapes {
				rc, more := act{service: s, also: also, shape: shape, route: 3, timeout: 3}.routes()
				out[[2]string{rc.Type, rc.Version}] = "missing ): a(b"
				for _, c := range append(more, xdstest.Cluster(name(s), 3*time.Second)) {
					if c.Type == resource.ClusterType {
						out[[2]string{c.Type, c.Version}] = "Error adding/updating cluster(s) " + c.Name + ": bad"
					}
				}
			}
		}
	}
	return out
})

func poisonous(typeURL string, x *discoveryv3.Resource) string {
	return poison()[[2]string{typeURL, x.GetVersion()}]
}

func newFleet(r *rig) *fleet {
	f := &fleet{r: r, hangs: make([]func(), 3), gates: make([]*gated, 3), paused: make([]bool, 3)}
	for i, service := range []string{"client", "client", "special"} {
		e := envoy(fmt.Sprint("e", i), service)
		e.Partial = i == 1
		if i < 2 {
			e.Refuse = poisonous
		} else { // one build accepts or refuses a content, wherever it runs
			e.Node.GetUserAgentBuildVersion().GetVersion().MinorNumber = 41
		}
		f.envoys = append(f.envoys, e)
		f.connect(i)
	}
	return f
}

func (f *fleet) connect(i int) {
	p := f.r.delta()
	f.gates[i] = newGated(p)
	f.hangs[i] = p.Hang
	e, g := f.envoys[i], f.gates[i]
	go func() { _ = e.Run(g) }()
}

func (f *fleet) resume(i int) {
	if f.paused[i] {
		f.gates[i].open()
		f.paused[i] = false
	}
}

func (f *fleet) do(a act) {
	switch a.what {
	case "publish", "swap", "withhold", "await", "remove":
		f.r.store.Apply(a.sets())
	case "hang":
		f.resume(a.envoy)
		f.hangs[a.envoy]()
		synctest.Wait()
		f.connect(a.envoy)
	case "restart":
		f.resume(a.envoy)
		f.hangs[a.envoy]()
		synctest.Wait()
		old := f.envoys[a.envoy]
		f.envoys[a.envoy] = &xdstest.Envoy{Node: old.Node, Refuse: old.Refuse, Partial: old.Partial, Violations: old.Faults()}
		f.connect(a.envoy)
	case "pause":
		if !f.paused[a.envoy] {
			f.gates[a.envoy].shut()
			f.paused[a.envoy] = true
		}
	case "resume":
		f.resume(a.envoy)
	case "wait":
		for i := range f.envoys {
			f.resume(i)
		}
		<-time.After(6 * time.Second)
	case "settle":
		for i := range f.envoys {
			f.resume(i)
		}
		synctest.Wait()
	}
}

// names are all that a history may make.
func names() (out [][2]string) {
	for s := range 5 {
		for _, typ := range []string{resource.ClusterType, resource.EndpointType} {
			out = append(out, [2]string{typ, name(s)}, [2]string{typ, subset(name(s))})
		}
		out = append(out, [2]string{resource.RouteType, name(s)})
		for also := range 5 {
			out = append(out, [2]string{resource.ClusterType, name(s) + ">" + name(s) + ">" + name(also)})
		}
	}
	return out
}

// check compares what an Envoy has in the end with what it should have.
func (f *fleet) check(e *xdstest.Envoy) (faults []string) {
	faults = e.Faults()
	service := e.Node.GetCluster()
	clusters := known(f.r, e)
	for _, key := range names() {
		typ, name := key[0], key[1]
		has := e.Has(typ)[name]
		want := f.r.store.Lookup(typ, name, service)
		switch {
		case want == nil:
			if has != "" && typ != resource.RouteType && !needed(f.r, e, name) {
				faults = append(faults, fmt.Sprintf("%s of %s stayed", typ, name))
			}
		case want.State == resource.Withheld:
		case want.State == resource.IfAbsent:
			if has == "" && !leadsNowhere(want, clusters) {
				faults = append(faults, fmt.Sprintf("%s of %s has no stand-in", typ, name))
			}
		case has == want.Version:
		case e.Refuse != nil && e.Refuse(typ, &discoveryv3.Resource{Name: name, Version: want.Version}) != "":
		case typ == resource.RouteType && leadsNowhere(want, clusters):
		case typ == resource.EndpointType && clusters[name] == "":
		default:
			faults = append(faults, fmt.Sprintf("%s of %s is %q, want %q", typ, name, has, want.Version))
		}
	}
	return faults
}

// known are the clusters of a proxy as the server knows them. It may have
// more: those of a refused response that it applied in part.
func known(r *rig, e *xdstest.Envoy) map[string]string {
	out := map[string]string{}
	states, _ := r.srv.Resources(e.Node.GetId())
	for _, s := range states {
		if s.Type == resource.ClusterType {
			out[s.Name] = s.Acked
		}
	}
	return out
}

// leadsNowhere reports whether a route needs a cluster that the proxy refused
// or the publisher never made.
func leadsNowhere(r *resource.Resource, clusters map[string]string) bool {
	for _, ref := range r.Refs {
		if clusters[ref.Name] == "" {
			return true
		}
	}
	return false
}

// needed reports whether routes of the proxy lead to a cluster, or may: the
// server does not know the content of those that it brought along and has to
// keep.
func needed(r *rig, e *xdstest.Envoy, cluster string) bool {
	states, _ := r.srv.Resources(e.Node.GetId())
	for _, s := range states {
		rc := &routev3.RouteConfiguration{}
		if s.Type == resource.RouteType && s.Acked != "" && s.Body == nil {
			return true
		}
		if s.Type != resource.RouteType || proto.Unmarshal(s.Body, rc) != nil {
			continue
		}
		for _, to := range xdstest.LeadsTo(rc) {
			if to == cluster || slices.Contains(strings.Split(to, ">")[1:], cluster) {
				return true
			}
		}
	}
	return false
}

// Whatever is published, refused, cut and delayed, every prefix of every
// stream leaves references closed, and in the end every proxy has all that it
// accepts.
func TestP6P7P8RandomHistoriesConverge(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		acts := drawActs(rt)
		linger := rapid.SampledFrom([]time.Duration{-1, 2 * time.Second, 20 * time.Second}).Draw(rt, "linger")
		var faults []string
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(c *server.Config) { c.Window, c.Synthesize, c.Linger = 2, nil, linger }, []resource.Set{}...)
			r.store.Apply(nil)
			f := newFleet(r)
			defer r.stop()
			for _, a := range acts {
				f.do(a)
				synctest.Wait()
				faults = append(faults, f.checkSurvey()...)
			}
			for i := range f.envoys {
				f.resume(i)
			}
			synctest.Wait()
			nacks := 0
			for _, e := range f.envoys {
				nacks += e.Nacks
			}
			<-time.After(time.Minute)
			synctest.Wait()
			for i, e := range f.envoys {
				nacks -= e.Nacks
				for _, x := range f.check(e) {
					faults = append(faults, fmt.Sprintf("e%d: %s", i, x))
				}
			}
			if nacks != 0 {
				faults = append(faults, "refusals go on although nothing changes")
			}
			for _, p := range r.srv.Proxies() {
				for _, typ := range p.Types {
					if typ.InFlight != 0 {
						faults = append(faults, fmt.Sprintf("%s: %d %s under way in the end", p.ID, typ.InFlight, typ.Type))
					}
				}
			}
		})
		if len(faults) > 0 {
			rt.Fatalf("%q", faults)
		}
	})
}
