package xdstest

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/resource"
)

// Make wraps a message as the resource builders do.
func Make(typeURL, name, service string, m proto.Message, refs ...resource.Ref) *resource.Resource {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err) // a test made a message that is none
	}
	h := fnv.New64a()
	_, _ = h.Write(body)
	return &resource.Resource{
		Type: typeURL, Name: name, Service: service, Version: fmt.Sprintf("%016x", h.Sum64()),
		Body: body, Refs: refs, Policies: []string{"rp/default/" + service + "@1"},
	}
}

func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

// Cluster is an EDS cluster; timeout tells one content from another.
func Cluster(name string, timeout time.Duration) *resource.Resource {
	return Make(resource.ClusterType, name, name, &clusterv3.Cluster{
		Name: name, ConnectTimeout: durationpb.New(timeout),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
	})
}

// Assignment has one endpoint per port, on the loopback.
func Assignment(name string, ports ...uint32) *resource.Resource {
	m := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	if len(ports) > 0 {
		m.Endpoints = []*endpointv3.LocalityLbEndpoints{{}}
	}
	for _, p := range ports {
		m.Endpoints[0].LbEndpoints = append(m.Endpoints[0].LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: Address(p)}},
		})
	}
	return Make(resource.EndpointType, name, name, m)
}

// Address is a port on the loopback.
func Address(port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

// Route is a route configuration that sends all to clusters, in turn; timeout
// tells one content from another.
func Route(name string, timeout time.Duration, clusters ...string) *resource.Resource {
	vh := &routev3.VirtualHost{Name: name, Domains: []string{"*"}}
	refs := make([]resource.Ref, len(clusters))
	for i, c := range clusters {
		refs[i] = resource.Ref{Type: resource.ClusterType, Name: c}
		vh.Routes = append(vh.Routes, &routev3.Route{
			Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/" + strings.Repeat("x", len(clusters)-1-i)}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: c}, Timeout: durationpb.New(timeout),
			}},
		})
	}
	return Make(resource.RouteType, name, name, &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{vh}}, refs...)
}

// Split is a route configuration whose one route shares requests out among
// clusters and copies them to mirror, where that is not empty.
func Split(name string, timeout time.Duration, mirror string, clusters ...string) *resource.Resource {
	weights := &routev3.WeightedCluster{}
	for _, c := range clusters {
		weights.Clusters = append(weights.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: c, Weight: wrapperspb.UInt32(1)})
	}
	action := &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: weights}, Timeout: durationpb.New(timeout),
	}
	if mirror != "" {
		action.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: mirror}}
		clusters = append(slices.Clone(clusters), mirror)
	}
	refs := make([]resource.Ref, len(clusters))
	for i, c := range clusters {
		refs[i] = resource.Ref{Type: resource.ClusterType, Name: c}
	}
	vh := &routev3.VirtualHost{Name: name, Domains: []string{"*"}, Routes: []*routev3.Route{{
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}, Action: &routev3.Route_Route{Route: action},
	}}}
	return Make(resource.RouteType, name, name, &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{vh}}, refs...)
}

// Failover is a cluster of owner that tries members in order.
func Failover(owner string, timeout time.Duration, members ...string) *resource.Resource {
	list, err := anypb.New(&aggregatev3.ClusterConfig{Clusters: members})
	if err != nil {
		panic(err) // a test made a message that is none
	}
	name := owner + ">" + strings.Join(members, ">")
	return Make(resource.ClusterType, name, owner, &clusterv3.Cluster{
		Name: name, ConnectTimeout: durationpb.New(timeout), LbPolicy: clusterv3.Cluster_CLUSTER_PROVIDED,
		ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: "envoy.clusters.aggregate", TypedConfig: list,
		}},
	})
}

// Of returns a copy of r that belongs to service's set.
func Of(r *resource.Resource, service string) *resource.Resource {
	c := *r
	c.Service = service
	return &c
}

// LeadsTo are the clusters that a route configuration names.
func LeadsTo(rc *routev3.RouteConfiguration) (clusters []string) {
	for _, vh := range rc.GetVirtualHosts() {
		for _, route := range vh.GetRoutes() {
			if c := route.GetRoute().GetCluster(); c != "" {
				clusters = append(clusters, c)
			}
			for _, w := range route.GetRoute().GetWeightedClusters().GetClusters() {
				clusters = append(clusters, w.GetName())
			}
			for _, m := range route.GetRoute().GetRequestMirrorPolicies() {
				clusters = append(clusters, m.GetCluster())
			}
		}
	}
	return clusters
}

// Members are the clusters that a failover cluster tries; none of another.
func Members(cluster []byte) []string {
	c, list := &clusterv3.Cluster{}, &aggregatev3.ClusterConfig{}
	if proto.Unmarshal(cluster, c) != nil || c.GetClusterType().GetTypedConfig().UnmarshalTo(list) != nil {
		return nil
	}
	return list.GetClusters()
}

// Scope leads a host to a route configuration.
func Scope(host, route string) *resource.Resource {
	return Make(resource.ScopedRouteType, host, route, &routev3.ScopedRouteConfiguration{
		Name: host, RouteConfigurationName: route,
		Key: &routev3.ScopedRouteConfiguration_Key{Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{{
			Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: host},
		}}},
	}, resource.Ref{Type: resource.RouteType, Name: route})
}

// Listener is a listener without filters on a port.
func Listener(name string, port uint32) *resource.Resource {
	return Make(resource.ListenerType, name, "", &listenerv3.Listener{Name: name, Address: Address(port)})
}

// Service is everything of a plain service: cluster, endpoints, three scopes
// and a route configuration.
func Service(name string, ports ...uint32) resource.Set {
	return Tuned(name, time.Second, ports...)
}

// Tuned is a service whose cluster and route content depends on a timeout.
func Tuned(name string, timeout time.Duration, ports ...uint32) resource.Set {
	set := resource.Set{Service: name, Resources: []*resource.Resource{Cluster(name, timeout), Assignment(name, ports...)}}
	for _, h := range mesh.Hosts(name) {
		set.Resources = append(set.Resources, Scope(h, name))
	}
	set.Resources = append(set.Resources, Route(name, timeout, name))
	return set
}

// With returns a copy of r with another state.
func With(r *resource.Resource, s resource.State) *resource.Resource {
	c := *r
	c.State = s
	if s == resource.Withheld {
		c.Body, c.Refs, c.Version = nil, nil, ""
	}
	return &c
}

// For returns a copy of r that is a caller's own variant.
func For(r *resource.Resource, caller string) *resource.Resource {
	c := *r
	c.Caller = caller
	return &c
}

// Only returns a copy of set with the resources of the given types.
func Only(set resource.Set, types ...string) resource.Set {
	set.Resources = slices.DeleteFunc(slices.Clone(set.Resources), func(r *resource.Resource) bool {
		return !slices.Contains(types, r.Type)
	})
	return set
}
