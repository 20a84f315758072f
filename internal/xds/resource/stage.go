package resource

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"meshlite.dev/internal/mesh"
)

// Ballot is one resource in a form that an Envoy judges as it would the real one,
// and that serves nothing. Immutable.
type Ballot struct {
	// Of is what it stands for: a cluster or a route configuration that differs
	// from what is in force.
	Of *Resource
	// Others are the callers that get a variant of their own under Of's name, when
	// Of is for everybody.
	Others []string
	// Message is what is sent: the cluster under a staged name (mesh.StagedCluster),
	// or the route configuration as mesh.BallotRoute.
	Message *Resource
	// Endpoints is the empty assignment of a staged cluster that asks for one; else
	// nil. Without endpoints Envoy opens no connection, be it for a health check.
	Endpoints *Resource
	// Needs are the staged clusters that Message leads to, On those in force.
	Needs, On []string
}

// Lookup returns the resource in force that a proxy of that caller gets; nil when
// there is none.
type Lookup func(typeURL, name, caller string) *Resource

// Stage makes the ballots of a candidate: everything of changed sets that an Envoy
// can refuse and that differs from what is in force, clusters first, each in the
// order of its set. Routes are checked to lead to clusters that exist: a cluster
// that the candidate brings is looked for under its staged name. A transaction has
// its tx, 1 to 40 letters, digits or "-".
func Stage(tx string, live Lookup, candidate []Set) []Ballot {
	s := stager{tx: tx, live: live, fresh: map[string]bool{}}
	var clusters, routes []Ballot
	each := func(typeURL string, do func(Set, *Resource)) {
		for _, set := range candidate {
			for _, r := range set.Resources {
				if r.Type == typeURL && r.State == Normal {
					do(set, r)
				}
			}
		}
	}
	each(ClusterType, func(set Set, r *Resource) {
		if s.inForce(r) {
			return
		}
		if live(ClusterType, r.Name, r.Caller) == nil {
			s.fresh[r.Name] = true
		}
		if b, ok := s.cluster(r); ok {
			b.Others = others(set, r)
			clusters = append(clusters, b)
		}
	})
	each(RouteType, func(set Set, r *Resource) {
		if s.inForce(r) {
			return
		}
		if b, ok := s.routes(r); ok {
			b.Others = others(set, r)
			routes = append(routes, b)
		}
	})
	return append(clusters, routes...)
}

// stager makes the ballots of one candidate.
type stager struct {
	tx    string
	live  Lookup
	fresh map[string]bool // clusters that are not in force for anybody that they are for
}

func (s stager) inForce(r *Resource) bool {
	now := s.live(r.Type, r.Name, r.Caller)
	return now != nil && now.Version == r.Version
}

// others are the callers with a variant of their own.
func others(set Set, r *Resource) (callers []string) {
	if r.Caller != "" {
		return nil
	}
	for _, o := range set.Resources {
		if o.Type == r.Type && o.Name == r.Name && o.Caller != "" {
			callers = append(callers, o.Caller)
		}
	}
	return callers
}

// cluster is the ballot of a cluster; ok is false for a body that is none.
func (s stager) cluster(r *Resource) (b Ballot, ok bool) {
	c := &clusterv3.Cluster{}
	if proto.Unmarshal(r.Body, c) != nil {
		return b, false
	}
	c.Name = mesh.StagedCluster(r.Name, s.tx)
	b = Ballot{Of: r}
	if c.GetType() == clusterv3.Cluster_EDS {
		if c.GetEdsClusterConfig() != nil {
			c.EdsClusterConfig.ServiceName = "" // the staged name's own: Envoy hangs on a name asked for twice
		}
		b.Endpoints = staged(r, EndpointType, c.Name, &endpointv3.ClusterLoadAssignment{ClusterName: c.Name})
	}
	b.Message = staged(r, ClusterType, c.Name, c)
	return b, b.Message != nil
}

// routes is the ballot of a route configuration; ok is false for a body that is
// none.
func (s stager) routes(r *Resource) (b Ballot, ok bool) {
	rc := &routev3.RouteConfiguration{}
	if proto.Unmarshal(r.Body, rc) != nil {
		return b, false
	}
	b, rc.Name = Ballot{Of: r}, mesh.BallotRoute
	known := true
	eachCluster(rc, func(name *string) {
		switch {
		case s.fresh[*name]:
			*name = mesh.StagedCluster(*name, s.tx)
			if !slices.Contains(b.Needs, *name) {
				b.Needs = append(b.Needs, *name)
			}
		case s.live(ClusterType, *name, r.Caller) != nil:
			b.On = append(b.On, *name)
		default:
			known = false // it is still to come, and its routes wait for it
		}
	})
	rc.ValidateClusters = wrapperspb.Bool(known)
	b.Message = staged(r, RouteType, mesh.BallotRoute, rc)
	return b, b.Message != nil
}

// staged makes the message of a ballot as it stands: what our own validation
// refuses is to be judged by the Envoy too.
func staged(of *Resource, typeURL, name string, m proto.Message) *Resource {
	body, err := deterministic.Marshal(m)
	if err != nil {
		return nil
	}
	return &Resource{Type: typeURL, Name: name, Service: of.Service, Body: body, Version: versionOf(typeURL, body)}
}

// eachCluster calls do with the place of every cluster's name in rc.
func eachCluster(rc *routev3.RouteConfiguration, do func(name *string)) {
	for _, vh := range rc.GetVirtualHosts() {
		for _, m := range vh.GetRequestMirrorPolicies() {
			do(&m.Cluster)
		}
		for _, route := range vh.GetRoutes() {
			a := route.GetRoute()
			if c, ok := a.GetClusterSpecifier().(*routev3.RouteAction_Cluster); ok {
				do(&c.Cluster)
			}
			for _, w := range a.GetWeightedClusters().GetClusters() {
				do(&w.Name)
			}
			for _, m := range a.GetRequestMirrorPolicies() {
				do(&m.Cluster)
			}
		}
	}
}
