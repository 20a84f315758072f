package consul

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
)

// described is one answer of /v1/health/service in Meshlite's words.
type described struct {
	endpoints []mesh.Endpoint // arranged
	namespace string          // the server's own, where it has namespaces
	findings  []mesh.Finding
}

// describe reads all plain instances of a service; gateways and proxies that
// share its name are not taken for instances.
func describe(service string, entries []*api.ServiceEntry) described {
	var d described
	for _, e := range entries {
		if e == nil || e.Service == nil || e.Node == nil || e.Service.Kind != api.ServiceKindTypical {
			continue
		}
		d.namespace = e.Service.Namespace
		address := addressOf(e)
		if fault := catalog.CheckAddress(address, e.Service.DefaultPort()); fault != "" {
			d.findings = append(d.findings, skipped(service, e, fault, "re-register it with an address and a port that clients can call"))
			continue
		}
		if _, fault := catalog.Read(e.Service.ID, e.Service.Tags, e.Service.Meta); fault != "" {
			d.findings = append(d.findings, mesh.Finding{
				Code: mesh.CodeInvalidCatalogEntry, Severity: mesh.Warning, Service: service, Path: "Meta." + catalog.MetaProtocol,
				Message: fmt.Sprintf("instance %q of %q %s", e.Service.ID, service, fault),
				Hint:    "its protocol is taken from tags, service-defaults, else http1",
			})
		}
		d.endpoints = append(d.endpoints, endpointOf(e, address))
	}
	var twice []mesh.Finding
	d.endpoints, twice = catalog.Arrange(service, d.endpoints)
	d.findings = append(d.findings, twice...)
	return d
}

func skipped(service string, e *api.ServiceEntry, fault, hint string) mesh.Finding {
	return mesh.Finding{
		Code: mesh.CodeInvalidCatalogEntry, Severity: mesh.Warning, Service: service,
		Message: fmt.Sprintf("instance %q of %q on node %q is not served: it %s", e.Service.ID, service, e.Node.Node, fault),
		Hint:    hint,
	}
}

func endpointOf(e *api.ServiceEntry, address string) mesh.Endpoint {
	health, weight := healthOf(e)
	tags := slices.Clone(e.Service.Tags)
	slices.Sort(tags)
	return mesh.Endpoint{
		ID: e.Service.ID, Address: address, Port: uint32(e.Service.DefaultPort()),
		Health: health, Weight: weight, Locality: localityOf(e),
		Node: e.Node.Node, Datacenter: e.Node.Datacenter,
		Tags: slices.Compact(tags), Meta: e.Service.Meta, Index: indexOf(e),
	}
}

// indexOf is the newest ModifyIndex of all that an instance is made of.
func indexOf(e *api.ServiceEntry) uint64 {
	newest := max(e.Node.ModifyIndex, e.Service.ModifyIndex)
	for _, check := range e.Checks {
		if check != nil {
			newest = max(newest, check.ModifyIndex)
		}
	}
	return newest
}

// healthOf maps Consul's checks: maintenance beats critical beats warning. A
// warning without weight takes the instance out, as Consul's DNS does.
func healthOf(e *api.ServiceEntry) (mesh.Health, uint32) {
	passing := catalog.ClampWeight(e.Service.Weights.Passing)
	worst := mesh.Healthy
	warning := false
	for _, check := range e.Checks {
		if check == nil {
			continue
		}
		if check.CheckID == api.NodeMaint || strings.HasPrefix(check.CheckID, api.ServiceMaintPrefix) {
			return mesh.Draining, passing
		}
		switch check.Status {
		case api.HealthPassing:
		case api.HealthWarning:
			warning = true
		default:
			worst = mesh.Unhealthy
		}
	}
	if worst == mesh.Healthy && warning {
		if e.Service.Weights.Warning <= 0 {
			return mesh.Unhealthy, passing
		}
		return mesh.Healthy, catalog.ClampWeight(e.Service.Weights.Warning)
	}
	return worst, passing
}

// addressOf is the instance's address, else its node's. Where that is a host
// name, a tagged LAN address that is an IP stands in.
func addressOf(e *api.ServiceEntry) string {
	address := e.Service.Address
	if address == "" {
		address = e.Node.Address
	}
	if isIP(address) {
		return address
	}
	for _, tag := range []string{"lan_ipv4", "lan", "lan_ipv6"} {
		if a := e.Service.TaggedAddresses[tag].Address; isIP(a) {
			return a
		}
	}
	if e.Service.Address != "" {
		return address // the node's addresses are somebody else's
	}
	for _, tag := range []string{"lan_ipv4", "lan", "lan_ipv6"} {
		if a := e.Node.TaggedAddresses[tag]; isIP(a) {
			return a
		}
	}
	return address
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// localityOf is the instance's own, else its node's, else what meta says.
func localityOf(e *api.ServiceEntry) mesh.Locality {
	for _, l := range []*api.Locality{e.Service.Locality, e.Node.Locality} {
		if l != nil && (l.Region != "" || l.Zone != "") {
			return mesh.Locality{Region: l.Region, Zone: l.Zone}
		}
	}
	for _, meta := range []map[string]string{e.Service.Meta, e.Node.Meta} {
		if l := (mesh.Locality{Region: meta[catalog.MetaRegion], Zone: meta[catalog.MetaZone]}); l != (mesh.Locality{}) {
			return l
		}
	}
	return mesh.Locality{}
}
