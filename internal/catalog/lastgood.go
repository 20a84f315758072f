package catalog

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
)

// LastGood is the catalog as it was last published, kept for a start without
// the source.
type LastGood struct {
	At         time.Time // when the source last vouched for it
	Datacenter string    // the own, "" unknown
	Services   []*Service
}

// Keep takes the synced services of a snapshot; the others are no knowledge.
func Keep(snap Snapshot, at time.Time) LastGood {
	kept := LastGood{At: at, Datacenter: snap.Datacenter}
	for _, s := range snap.Services.All() {
		if s.Synced {
			kept.Services = append(kept.Services, s)
		}
	}
	return kept
}

// Snapshot returns the services as a source would publish them.
func (g LastGood) Snapshot() Snapshot {
	m := map[string]*Service{}
	for _, s := range g.Services {
		m[s.Name] = s
	}
	return Snapshot{Services: pmap.From(m), Changed: slices.Sorted(maps.Keys(m)), Datacenter: g.Datacenter}
}

// The file's form is its own: a field renamed in mesh must not make an older
// file unreadable.
type (
	lastGoodFile struct {
		At         time.Time     `json:"at"`
		Datacenter string        `json:"datacenter,omitempty"`
		Services   []serviceFile `json:"services"`
	}
	serviceFile struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace,omitempty"`
		Protocol    mesh.Protocol     `json:"protocol"`
		Endpoints   []endpointFile    `json:"endpoints"`
		HealthCheck *mesh.HealthCheck `json:"healthCheck,omitempty"`
		Meta        map[string]string `json:"meta,omitempty"`
	}
	endpointFile struct {
		ID         string            `json:"id"`
		Address    string            `json:"address"`
		Port       uint32            `json:"port"`
		Health     string            `json:"health"`
		Weight     uint32            `json:"weight"`
		Region     string            `json:"region,omitempty"`
		Zone       string            `json:"zone,omitempty"`
		Node       string            `json:"node,omitempty"`
		Datacenter string            `json:"datacenter,omitempty"`
		Tags       []string          `json:"tags,omitempty"`
		Meta       map[string]string `json:"meta,omitempty"`
	}
)

// Encode writes g as JSON, the same bytes for the same content.
func Encode(g LastGood) ([]byte, error) {
	f := lastGoodFile{At: g.At.UTC(), Datacenter: g.Datacenter, Services: []serviceFile{}}
	for _, s := range g.Services {
		out := serviceFile{Name: s.Name, Namespace: s.Namespace, Protocol: s.Protocol, HealthCheck: s.HealthCheck, Meta: s.Meta, Endpoints: []endpointFile{}}
		for _, e := range s.Endpoints {
			out.Endpoints = append(out.Endpoints, endpointFile{
				ID: e.ID, Address: e.Address, Port: e.Port, Health: e.Health.String(), Weight: e.Weight,
				Region: e.Locality.Region, Zone: e.Locality.Zone, Node: e.Node, Datacenter: e.Datacenter, Tags: e.Tags, Meta: e.Meta,
			})
		}
		f.Services = append(f.Services, out)
	}
	slices.SortFunc(f.Services, func(a, b serviceFile) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	raw, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode the catalog: %w", err)
	}
	return raw, nil
}

// Decode reads what Encode wrote. It refuses the whole when any part could
// not have been published: half of a catalog is worse than none.
func Decode(raw []byte) (LastGood, error) {
	var f lastGoodFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return LastGood{}, fmt.Errorf("decode the catalog's last known good: %w", err)
	}
	g := LastGood{At: f.At, Datacenter: f.Datacenter}
	seen := map[string]bool{}
	for _, in := range f.Services {
		s, err := in.service()
		if err == nil && seen[in.Name] {
			err = fmt.Errorf("is there twice")
		}
		if err != nil {
			return LastGood{}, fmt.Errorf("decode the catalog's last known good: service %q %w", in.Name, err)
		}
		seen[in.Name] = true
		g.Services = append(g.Services, s)
	}
	return g, nil
}

func (in serviceFile) service() (*Service, error) {
	if _, ok := ParseProtocol(string(in.Protocol)); !ok || !mesh.IsServiceKey(in.Name) {
		return nil, fmt.Errorf("has no usable name or protocol")
	}
	s := &Service{Name: in.Name, Namespace: in.Namespace, Protocol: in.Protocol, Synced: true, HealthCheck: in.HealthCheck, Meta: in.Meta}
	for _, e := range in.Endpoints {
		if fault := CheckAddress(e.Address, int(e.Port)); fault != "" {
			return nil, fmt.Errorf("instance %q %s", e.ID, fault)
		}
		out := mesh.Endpoint{
			ID: e.ID, Address: e.Address, Port: e.Port, Weight: ClampWeight(int(e.Weight)), Node: e.Node, Datacenter: e.Datacenter,
			Locality: mesh.Locality{Region: e.Region, Zone: e.Zone}, Tags: e.Tags, Meta: e.Meta,
		}
		known := false
		for _, h := range []mesh.Health{mesh.Healthy, mesh.Unhealthy, mesh.Draining} {
			if h.String() == e.Health {
				out.Health, known = h, true
			}
		}
		if !known { // taken for healthy it would get calls
			return nil, fmt.Errorf("instance %q has the unknown health %q", e.ID, shorten(e.Health))
		}
		s.Endpoints = append(s.Endpoints, out)
	}
	s.Endpoints, _ = Arrange(s.Name, s.Endpoints)
	return s, nil
}
