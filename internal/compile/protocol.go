package compile

import (
	"reflect"
	"strconv"

	"meshlite.dev/internal/mesh"
)

// Words of origins that the protocol decides.
const (
	whyGRPC     = "grpc: the caller's grpc-timeout counts"
	whyGRPCLost = "grpc"
	whyTCP      = "built-in, for tcp"
)

var (
	leafRequest  = mustLeaf("timeouts.request")
	leafProtocol = mustLeaf("connection.protocol")
	// tcpDefaults stand in mesh-default's place for a tcp service. Its client
	// alone knows how long a connection may be silent, so none is closed for
	// that; keepalive finds those whose other end is gone. There is no request to
	// try again, so a connection is.
	tcpDefaults = []fallback{
		{"timeouts.idle", "0s"},
		{"retry.tcpConnectAttempts", strconv.Itoa(mesh.TCPConnectAttempts)},
		{"connection.tcpKeepalive.idle", "60s"},
		{"connection.tcpKeepalive.interval", "15s"},
		{"connection.tcpKeepalive.probes", "4"},
	}
)

func mustLeaf(path string) int {
	i, ok := leafIndex[path]
	if !ok {
		panic("compile: the schema has no field " + path)
	}
	return i
}

// settleProtocol puts the protocol and what follows from it into the result:
// the catalog's word is an origin too.
func (m *merged) settleProtocol(spec reflect.Value, origins map[string]mesh.Origin) {
	protocol := schema[leafProtocol].path
	if o, ok := origins[protocol]; ok {
		m.protocol = mesh.Protocol(o.Value)
	} else {
		m.protocol = m.stack.protocol
		origins[protocol] = mesh.Origin{Value: string(m.protocol), Why: "catalog"}
	}
	switch m.protocol {
	case mesh.GRPC:
		m.settleGRPC(spec, origins)
	case mesh.TCP:
		m.settleTCP(spec, origins)
	}
}

// settleGRPC takes the request timeout of ours away, as the caller's
// grpc-timeout counts.
func (m *merged) settleGRPC(spec reflect.Value, origins map[string]mesh.Origin) {
	request := schema[leafRequest].path
	was, ok := origins[request]
	if ok && was.Value == "0s" {
		return // the policy says the same
	}
	o := mesh.Origin{Value: "0s", Why: whyGRPC}
	if ok {
		lost := mesh.Lost{DocumentRef: was.DocumentRef, Path: was.Path, Value: was.Value, Why: whyGRPCLost}
		o.Lost = append([]mesh.Lost{lost}, was.Lost...)
	}
	m.winners[leafRequest] = nil
	origins[request] = o
	schema[leafRequest].set(spec, schema[leafRequest].parse("0s"))
}

// settleTCP puts tcpDefaults where no document says anything.
func (m *merged) settleTCP(spec reflect.Value, origins map[string]mesh.Origin) {
	for _, f := range tcpDefaults {
		at := mustLeaf(f.path)
		if l := m.winners[at]; l != nil && l.level != levelDefault {
			if lost := origins[f.path].Lost; len(lost) > 0 && lost[len(lost)-1].IsDefault() {
				lost[len(lost)-1].Value = f.value
			}
			continue
		}
		schema[at].set(spec, schema[at].parse(f.value))
		origins[f.path] = mesh.Origin{Value: f.value, Why: whyTCP}
	}
}
