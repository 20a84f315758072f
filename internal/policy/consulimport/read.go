package consulimport

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"meshlite.dev/internal/policy/v1alpha1"
)

// router is a service-router.
type router struct {
	entry  *entry
	routes []route
}

// route is one of its routes; whole is false where a part of the match has no
// counterpart, so that the rest would match more, or less.
type route struct {
	at      *object
	matches []v1alpha1.RouteMatch
	whole   bool
	prefix  *pathMatch

	to *object // the destination; nil: the service itself
	destination
}

// destination is where a route leads, and what happens on the way.
type destination struct {
	service, subset string
	foreign         bool
	rewrite         string
	request, idle   *v1alpha1.Duration
	retry           *v1alpha1.Retry
	headers, answer *v1alpha1.HeaderEdits
}

// splitter is a service-splitter.
type splitter struct {
	entry  *entry
	splits []*split
}

type split struct {
	at              *object
	weight          float32 // percent
	service, subset string
	foreign         bool
	headers, answer *v1alpha1.HeaderEdits
}

// ownHeaders reports headers that one split has and the others do not.
func (s *split) ownHeaders() {
	for name, edits := range map[string]*v1alpha1.HeaderEdits{"RequestHeaders": s.headers, "ResponseHeaders": s.answer} {
		if edits != nil {
			s.at.left(name, "a rule edits headers for all its backends alike; put what tells them apart into the service, or into rules of their own")
		}
	}
}

// resolver is a service-resolver.
type resolver struct {
	entry            *entry
	defaultSubset    string
	subsets          map[string]subset
	redirect         *target
	failover         map[string][]target
	connect, request *v1alpha1.Duration
	balancing        *v1alpha1.LoadBalancing
}

// subset is one of a resolver's; all of the service where it has no filter.
type subset struct {
	at    *object
	fault string // why it cannot be said
	selection
}

func (s subset) isAll() bool { return s.fault == "" && len(s.tags)+len(s.meta) == 0 }

func readRouter(e *entry) *router {
	r := &router{entry: e}
	for _, o := range e.body.list("Routes") {
		rt := route{at: o}
		rt.readMatch(o.object("Match").object("HTTP"))
		if rt.to = o.object("Destination"); rt.to != nil {
			rt.destination = readDestination(rt.to)
		}
		r.routes = append(r.routes, rt)
	}
	return r
}

func readDestination(o *object) destination {
	d := destination{
		service: o.text("Service"), subset: o.text("ServiceSubset"), foreign: elsewhere(o),
		rewrite: o.text("PrefixRewrite"), request: timeout(o, "RequestTimeout"), idle: timeout(o, "IdleTimeout"),
		headers: edits(o, "RequestHeaders"), answer: edits(o, "ResponseHeaders"),
	}
	d.retry = retry(o)
	return d
}

func readSplitter(e *entry) *splitter {
	s := &splitter{entry: e}
	for _, o := range e.body.list("Splits") {
		weight, _ := o.number("Weight")
		s.splits = append(s.splits, &split{
			at: o, weight: float32(weight), service: o.text("Service"), subset: o.text("ServiceSubset"), foreign: elsewhere(o),
			headers: edits(o, "RequestHeaders"), answer: edits(o, "ResponseHeaders"),
		})
	}
	return s
}

func readResolver(e *entry) *resolver {
	o := e.body
	r := &resolver{
		entry: e, defaultSubset: o.text("DefaultSubset"), subsets: map[string]subset{}, failover: map[string][]target{},
		connect: duration(o, "ConnectTimeout"), request: timeout(o, "RequestTimeout"),
	}
	subsets := o.table("Subsets")
	for _, name := range slices.Sorted(maps.Keys(subsets)) {
		r.subsets[name] = readSubset(subsets[name])
	}
	if to := o.object("Redirect"); to != nil {
		t := readTarget(to)
		r.redirect = &t
	}
	for key, f := range o.table("Failover") {
		r.failover[key] = readFailover(f)
	}
	r.balancing = balancing(o)
	return r
}

func readSubset(o *object) subset {
	s := subset{at: o}
	filter := o.text("Filter")
	if filter == "" {
		return s
	}
	var err error
	if s.selection, err = parseFilter(filter); err != nil {
		s.fault = err.Error()
		o.moves("Filter", s.fault+"; register the instances with a tag or meta of their own, and name that in the subset")
	}
	return s
}

func readTarget(o *object) target {
	return target{pool{o.text("Service"), o.text("ServiceSubset"), o.text("Datacenter")}, elsewhere(o)}
}

// readFailover expands a failover as Consul does: datacenters, else targets,
// else another service or subset.
func readFailover(o *object) (all []target) {
	one := readTarget(o)
	datacenters, targets := o.texts("Datacenters"), o.list("Targets")
	if p := o.object("Policy"); p != nil {
		if mode := p.text("Mode"); mode == "sequential" {
			p.ignore("Mode")
		} else if mode != "" {
			p.left("Mode", "failover follows the order of the list; for nearness see loadBalancing.locality")
		}
	}
	switch {
	case len(datacenters) > 0:
		for _, dc := range datacenters {
			t := one
			t.datacenter = dc
			all = append(all, t)
		}
	case len(targets) > 0:
		for _, t := range targets {
			all = append(all, readTarget(t))
		}
	default:
		all = append(all, one)
	}
	return all
}

// elsewhere reports whether o leads where Meshlite does not see, and says so.
func elsewhere(o *object) (foreign bool) {
	for _, name := range []string{"Namespace", "Partition", "Peer", "SamenessGroup"} {
		v := o.text(name)
		if v == "" || v == "default" && (name == "Namespace" || name == "Partition") {
			continue
		}
		foreign = true
		o.moves(name, instead(o.entry.kind, plain(name)))
	}
	return foreign
}

// duration returns a duration over 0, nil where there is none.
func duration(o *object, name string) *v1alpha1.Duration {
	d, ok := o.duration(name)
	if !ok || d < 0 {
		return nil
	}
	return written(d)
}

// timeout returns a duration where a negative one turns the timeout off.
func timeout(o *object, name string) *v1alpha1.Duration {
	d, ok := o.duration(name)
	if !ok {
		return nil
	}
	return written(max(d, 0))
}

// written is a duration as documents write it, in the largest unit that says
// it whole; below a microsecond it is rounded up.
func written(d time.Duration) *v1alpha1.Duration {
	unit, name := time.Microsecond, "us"
	if rest := d % time.Microsecond; rest > 0 {
		d += time.Microsecond - rest
	}
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{time.Millisecond, "ms"}, {time.Second, "s"}, {time.Minute, "m"}, {time.Hour, "h"}} {
		if d%u.unit == 0 && d != 0 {
			unit, name = u.unit, u.name
		}
	}
	if d == 0 {
		name = "s"
	}
	text := v1alpha1.Duration(cmp.Or(itoa(int64(d/unit)), "0") + name)
	return &text
}
