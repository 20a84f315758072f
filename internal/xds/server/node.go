package server

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/resource"
)

// MetadataKey is the field of the node's metadata that Meshlite reads.
const MetadataKey = "meshlite.dev"

// Node is what a proxy says of itself in the first message of a stream.
type Node struct {
	ID           string // node.id: the instance
	Service      string // node.cluster
	Envoy        string // build version, "1.40.0"; "" when it is no Envoy
	Build        string // what decides what it accepts: version and extensions, "1.40.0/9f3c"
	Region, Zone string
	OutboundPort uint32 // 0: no outbound listener
	AdminPort    uint32 // 0: not told
	Certificate  bool   // its bootstrap names a certificate of its own, as mesh.ClientSecret
	Upstreams    []Upstream
	Labels       map[string]string
}

// Label is what the proxy is chosen by: one of its own labels, or its id,
// service, region, zone, or version of Envoy under these names; "" when it has
// none.
func (n Node) Label(key string) string {
	switch key {
	case "id":
		return n.ID
	case "service":
		return n.Service
	case "region":
		return n.Region
	case "zone":
		return n.Zone
	case "envoy":
		return n.Envoy
	}
	return n.Labels[key]
}

// Upstream is a local port of a proxy.
type Upstream struct {
	Service string
	Port    uint32
	TCP     bool // the proxy's own word; else the catalog's counts
}

// ParseNode reads a node. Missing parts are empty; metadata of a wrong shape
// is an error, since the proxy would come up without its listeners.
func ParseNode(n *corev3.Node) (Node, error) {
	out := Node{
		ID: n.GetId(), Service: n.GetCluster(),
		Region: n.GetLocality().GetRegion(), Zone: n.GetLocality().GetZone(),
	}
	if v := n.GetUserAgentBuildVersion().GetVersion(); v != nil {
		out.Envoy = fmt.Sprintf("%d.%d.%d", v.GetMajorNumber(), v.GetMinorNumber(), v.GetPatch())
	}
	out.Build = buildOf(out.Envoy, n.GetExtensions())
	if out.ID == "" {
		return out, fmt.Errorf("node.id is empty: start Envoy with a bootstrap of `meshctl proxy bootstrap`")
	}
	own := n.GetMetadata().GetFields()[MetadataKey]
	if own == nil {
		return out, nil
	}
	if own.GetStructValue() == nil {
		return out, fmt.Errorf("node metadata %s: must be an object", MetadataKey)
	}
	err := out.readMetadata(own.GetStructValue().GetFields())
	return out, err
}

// buildOf is the version, and a hash of the names of what the Envoy has built in,
// in any order, where it tells.
func buildOf(version string, extensions []*corev3.Extension) string {
	if len(extensions) == 0 {
		return version
	}
	names := make([]string, len(extensions))
	for i, e := range extensions {
		names[i] = e.GetCategory() + " " + e.GetName()
	}
	slices.Sort(names)
	sum := sha256.Sum256([]byte(strings.Join(names, "\n")))
	return version + "/" + hex.EncodeToString(sum[:2])
}

func (n *Node) readMetadata(m map[string]*structpb.Value) (err error) {
	if n.OutboundPort, err = port(m, "outboundPort"); err != nil {
		return err
	}
	if n.AdminPort, err = port(m, "adminPort"); err != nil {
		return err
	}
	if v, ok := m["certificate"]; ok {
		own, isBool := v.GetKind().(*structpb.Value_BoolValue)
		if !isBool {
			return fmt.Errorf("node metadata %s: certificate: must be true or false", MetadataKey)
		}
		n.Certificate = own.BoolValue
	}
	for key, v := range m["labels"].GetStructValue().GetFields() {
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		n.Labels[key] = v.GetStringValue()
	}
	if faults := mesh.CheckLabels(n.Labels); faults != nil {
		return fmt.Errorf("node metadata %s: labels: %w", MetadataKey, errors.Join(faults...))
	}
	for i, v := range m["upstreams"].GetListValue().GetValues() {
		f := v.GetStructValue().GetFields()
		p, err := port(f, "port")
		if err != nil {
			return fmt.Errorf("upstreams[%d]: %w", i, err)
		}
		service := f["service"].GetStringValue()
		if service == "" || p == 0 {
			return fmt.Errorf("node metadata %s: upstreams[%d]: service and port must be set", MetadataKey, i)
		}
		word := f["protocol"].GetStringValue()
		if word != "" && word != string(mesh.TCP) {
			return fmt.Errorf("node metadata %s: upstreams[%d]: protocol is %q; use tcp, or leave it out", MetadataKey, i, word)
		}
		n.Upstreams = append(n.Upstreams, Upstream{Service: service, Port: p, TCP: word != ""})
	}
	return nil
}

// port reads a number from 0 to 65535; absent is 0.
func port(m map[string]*structpb.Value, key string) (uint32, error) {
	v, ok := m[key]
	if !ok {
		return 0, nil
	}
	n, isNumber := v.GetKind().(*structpb.Value_NumberValue)
	if !isNumber || n.NumberValue < 0 || n.NumberValue > 65535 || n.NumberValue != math.Trunc(n.NumberValue) {
		return 0, fmt.Errorf("node metadata %s: %s: must be a port, 0 to 65535", MetadataKey, key)
	}
	return uint32(n.NumberValue), nil
}

// Profile is what the listeners of the proxy depend on; lookup completes the
// upstreams and may be nil.
func (n Node) Profile(lookup func(caller, service string) (mesh.Protocol, *mesh.Destination)) resource.Profile {
	p := resource.Profile{Service: n.Service, OutboundPort: n.OutboundPort}
	for _, u := range n.Upstreams {
		up := resource.Upstream{Service: u.Service, Port: u.Port, Protocol: mesh.HTTP1}
		if lookup != nil {
			if proto, dest := lookup(n.Service, u.Service); proto != "" {
				up.Protocol, up.Dest = proto, dest
			}
		}
		if u.TCP {
			up.Protocol = mesh.TCP
		}
		p.Upstreams = append(p.Upstreams, up)
	}
	return p
}

// calls reports whether the node has a local port for a service.
func (n Node) calls(service string) bool {
	for _, u := range n.Upstreams {
		if u.Service == service {
			return true
		}
	}
	return false
}

// listeners returns the names of the listeners that the node calls for.
func (n Node) listeners() map[string]bool {
	out := map[string]bool{}
	if n.OutboundPort != 0 {
		out[mesh.OutboundListener], out[mesh.BallotListener] = true, true
	}
	for _, u := range n.Upstreams {
		out[mesh.UpstreamListener(u.Service, u.Port)] = true
	}
	return out
}
