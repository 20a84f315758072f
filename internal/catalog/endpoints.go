package catalog

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"meshlite.dev/internal/mesh"
)

// EndpointKey identifies an instance at one place: an instance that moves to
// another address is a new one, and the old place is lost.
func EndpointKey(e *mesh.Endpoint) string {
	return fmt.Sprintf("%s/%s@%s:%d", e.Node, e.ID, e.Address, e.Port)
}

// CheckAddress returns what is wrong with an endpoint's address and port, in
// words that say what would be right; "" when nothing is.
func CheckAddress(address string, port int) string {
	ip, err := netip.ParseAddr(address)
	switch {
	case address == "":
		return "has no address; give it an IP address"
	case err != nil:
		return fmt.Sprintf("has the address %q; Envoy's endpoints need an IP address, not a name", shorten(address))
	case ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "":
		return fmt.Sprintf("has the address %q, which no client can call; give it the address it listens on", address)
	case port < 1 || port > 65535:
		return fmt.Sprintf("has the port %d; use 1 to 65535", port)
	}
	return ""
}

// ClampWeight brings a catalog's weight into Envoy's range of 1..128.
func ClampWeight(w int) uint32 { return uint32(min(max(w, 1), 128)) }

// Arrange sorts endpoints by address, port and id, in place, and leaves one of
// those that share an address and port: the healthiest, then the first. It
// names what it left out.
func Arrange(service string, es []mesh.Endpoint) ([]mesh.Endpoint, []mesh.Finding) {
	slices.SortFunc(es, func(a, b mesh.Endpoint) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port),
			cmp.Compare(a.Health, b.Health), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Node, b.Node))
	})
	var findings []mesh.Finding
	kept := es[:0]
	for _, e := range es {
		if n := len(kept); n > 0 && kept[n-1].Address == e.Address && kept[n-1].Port == e.Port {
			findings = append(findings, mesh.Finding{
				Code: mesh.CodeInvalidCatalogEntry, Severity: mesh.Info, Service: service,
				Message: fmt.Sprintf("instance %q has the address %s:%d of instance %q; one of them is used", e.ID, e.Address, e.Port, kept[n-1].ID),
				Hint:    "deregister the one that is gone",
			})
			continue
		}
		kept = append(kept, e)
	}
	return slices.Clip(kept), findings
}

// EqualEndpoint reports whether a and b are the same in every field but Index.
func EqualEndpoint(a, b mesh.Endpoint) bool {
	return a.ID == b.ID && a.Address == b.Address && a.Port == b.Port && a.Health == b.Health &&
		a.Weight == b.Weight && a.Locality == b.Locality && a.Node == b.Node && a.Datacenter == b.Datacenter &&
		slices.Equal(a.Tags, b.Tags) && maps.Equal(a.Meta, b.Meta)
}

// Equal reports whether two descriptions of a service are the same.
func Equal(a, b *Service) bool {
	if a == nil || b == nil {
		return a == b
	}
	if (a.HealthCheck == nil) != (b.HealthCheck == nil) || a.HealthCheck != nil && *a.HealthCheck != *b.HealthCheck {
		return false
	}
	return a.Name == b.Name && a.Namespace == b.Namespace && a.Protocol == b.Protocol && a.Synced == b.Synced &&
		maps.Equal(a.Meta, b.Meta) && slices.EqualFunc(a.Endpoints, b.Endpoints, EqualEndpoint)
}

// shorten keeps a value from a file or a server readable in a message.
func shorten(s string) string {
	const most = 64
	s = strings.ToValidUTF8(s, "\uFFFD")
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
