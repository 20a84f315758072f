package resource

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// scope binds a host name to the route configuration of its service. Name and
// key are one: Envoy loses a key that moves between names.
func scope(host, routeConfiguration string) *routev3.ScopedRouteConfiguration {
	return &routev3.ScopedRouteConfiguration{
		Name:                   host,
		RouteConfigurationName: routeConfiguration,
		Key: &routev3.ScopedRouteConfiguration_Key{Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{{
			Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: host},
		}}},
	}
}
