package resource

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"meshlite.dev/internal/mesh"
)

// The address of the ballot listener. Nothing is bound to it; it only has to
// differ from those of other listeners.
const (
	ballotAddress = "127.0.0.9"
	ballotPort    = 20999
)

// ballotListener takes what an Envoy votes on: it has the filters of the outbound
// listener and no socket, so that a route configuration is judged as a live one
// would be and serves nothing. It stands for ever: a listener that is removed
// drains for ten minutes (docs/adr/0009-voting.md).
func ballotListener(cfg Config, p Profile) *listenerv3.Listener {
	m := connectionManager(p, "prepare", outboundFilters(cfg))
	m.AccessLog = nil
	m.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: mesh.BallotRoute, ConfigSource: overADS()}}
	l := listener(mesh.BallotListener, ballotPort, hcmFilter, m)
	l.Address = socket(ballotAddress, ballotPort)
	l.BindToPort = wrapperspb.Bool(false)
	return l
}

// noBallot is what the ballot listener has between votes.
func noBallot() *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{Name: mesh.BallotRoute}
}
