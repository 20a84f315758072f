package facts

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
)

// ServiceSubject names a service.
func ServiceSubject(name string) string { return "service/" + name }

// OfService returns the facts of a service and its endpoints.
func OfService(s *mesh.Service) Subject {
	name, datacenter := mesh.SplitServiceKey(s.Name)
	out := Subject{"service": fact(Service, "registered", "", events.Service{
		Service: name, Namespace: s.Namespace, Datacenter: datacenter, Protocol: string(s.Default.Protocol),
	})}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		address := hostPort(e.Address, e.Port)
		version := ""
		if e.Index > 0 {
			version = strconv.FormatUint(e.Index, 10)
		}
		out["endpoint "+e.Node+"/"+e.ID+"@"+address] = fact(Endpoint, strings.ToLower(e.Health.String()), version, events.Endpoint{
			Service: name, ID: e.ID, Address: address, Health: e.Health.String(), Weight: e.Weight, Node: e.Node,
			Region: e.Locality.Region, Zone: e.Locality.Zone, Datacenter: e.Datacenter, Tags: e.Tags,
		})
	}
	return out
}

// hostPort is as callers write it: an IPv6 address in brackets.
func hostPort(address string, port uint32) string {
	if ip, err := netip.ParseAddr(address); err == nil {
		return netip.AddrPortFrom(ip, uint16(port)).String()
	}
	return address + ":" + strconv.FormatUint(uint64(port), 10)
}

// PolicySubject names a document.
func PolicySubject(k policy.Key) string { return "policy/" + k.String() }

// OfPolicy returns the facts of a document in force at a revision, d, nil where
// it is not, and of what became of its newest version. Generations begin anew
// with a document that comes back; numbers of revisions do not.
func OfPolicy(key policy.Key, d *policy.Document, status policy.Status, revision uint64) Subject {
	out := Subject{}
	data := events.Policy{Kind: key.Kind, Namespace: key.Namespace, Name: key.Name}
	if d != nil {
		data.Generation = d.Generation
		out["document"] = fact(Document, "inforce", strconv.FormatUint(revision, 10), data)
	}
	for _, c := range status.Conditions {
		if c.Type != policy.ConditionAccepted || c.Status == policy.Unknown {
			continue
		}
		state := "rejected"
		switch {
		case c.Status == policy.True:
			state = "accepted"
		case c.Reason == "Conflicted":
			state = "conflicted"
		}
		data.Generation, data.Reason, data.Message = c.ObservedGeneration, c.Reason, c.Message
		out["acceptance"] = fact(Acceptance, state, "", data)
	}
	return out
}

// Proxy is a connected sidecar as its replica knows it.
type Proxy struct {
	ID, Service, Envoy, Replica string
	ConnectedAt                 time.Time
	Sync                        string // "synced", "stale", "nacked"; "" while that cannot be said
	Errors                      []events.Rejection
}

// ProxySubject names a sidecar.
func ProxySubject(id string) string { return "proxy/" + id }

// OfProxy returns the facts of a connected sidecar. While its sync cannot be
// said what was told before stays, of the same stream.
func OfProxy(p Proxy, before Subject) Subject {
	data := events.Proxy{Proxy: p.ID, Service: p.Service, Envoy: p.Envoy, ConnectedAt: p.ConnectedAt.UTC(), Replica: p.Replica}
	version := p.Replica + " " + p.ConnectedAt.UTC().Format(time.RFC3339Nano)
	out := Subject{"connection": fact(Connection, "connected", version, data)}
	if p.Sync == "" {
		if old, ok := before["sync"]; ok && before["connection"].Version == version {
			out["sync"] = old
		}
		return out
	}
	data.Errors = p.Errors
	out["sync"] = fact(Sync, p.Sync, "", data)
	return out
}
