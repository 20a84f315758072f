package admin

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
)

// state returns what is served, or a failure that says what is waited for.
func (a *api) state() (State, error) {
	s, ok := a.State()
	if !ok {
		return State{}, fail(http.StatusServiceUnavailable, "GET /readyz says when",
			"nothing is served yet: waiting for %s", strings.Join(a.Ready.State().Waiting, ", "))
	}
	return s, nil
}

func (a *api) services(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	s, err := a.state()
	if err != nil {
		return nil, err
	}
	holds := holdsOf(a.Catalog.Status())
	out := []adminapi.Service{}
	for name, svc := range s.Result.Model.Services.All() {
		out = append(out, serviceRow(svc, holds[name]))
	}
	return out, nil
}

func (a *api) service(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	s, err := a.state()
	if err != nil {
		return nil, err
	}
	svc, err := serviceOf(s, r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	status := a.Catalog.Status()
	hold := holdsOf(status)[svc.Name]
	out := adminapi.ServiceDetail{
		Service: serviceRow(svc, hold), Hold: hold, Endpoints: []adminapi.Endpoint{},
		Callers: slices.Sorted(maps.Keys(svc.ByCaller)),
	}
	for i := range svc.Endpoints {
		out.Endpoints = append(out.Endpoints, endpointRow(&svc.Endpoints[i]))
	}
	for _, w := range status.Watches {
		if w.Service == svc.Name {
			out.LastRead, out.Index = moment(w.LastRead), w.Index
		}
	}
	return out, nil
}

// accept ends the guard's holds on the services named, or on all.
func (a *api) accept(_ *http.Request, body []byte) (any, string, error) {
	var req adminapi.AcceptRequest
	if err := decode(body, &req); err != nil {
		return nil, "", err
	}
	const hint = `{"names": ["orders"]} or {"all": true}`
	if req.All == (len(req.Names) > 0) {
		return nil, "", fail(http.StatusBadRequest, hint, "exactly one of names and all must be set")
	}
	if slices.Contains(req.Names, "") {
		return nil, "", fail(http.StatusBadRequest, hint, "names: a name is empty")
	}
	accepted := a.Catalog.Accept(req.Names, req.All)
	if accepted == nil {
		accepted = []string{}
	}
	asked := "all"
	if !req.All {
		asked = strings.Join(req.Names, ", ")
	}
	return adminapi.AcceptResponse{Accepted: accepted}, fmt.Sprintf("accept %s: accepted %s", asked, cmp.Or(strings.Join(accepted, ", "), "none")), nil
}

func serviceOf(s State, name string) (*mesh.Service, error) {
	svc, ok := s.Result.Model.Services.Get(name)
	if !ok {
		return nil, fail(http.StatusNotFound, "meshctl service list shows what is served; meshctl doctor what is skipped, and why", "no service %q", name)
	}
	return svc, nil
}

func serviceRow(s *mesh.Service, hold *adminapi.Hold) adminapi.Service {
	out := adminapi.Service{
		Name: s.Name, Namespace: s.Namespace, Protocol: string(s.Default.Protocol), Synced: s.Synced,
		Hosts: mesh.Hosts(s.Name), Policies: policiesOf(s),
	}
	for i := range s.Endpoints {
		switch s.Endpoints[i].Health {
		case mesh.Healthy:
			out.Healthy++
		case mesh.Draining:
			out.Draining++
		default:
			out.Unhealthy++
		}
	}
	if hold != nil {
		out.Held = hold.Reason
	}
	return out
}

// policiesOf labels every document that has a part in s, for whatever caller,
// least specific first.
func policiesOf(s *mesh.Service) []string {
	out := []string{}
	add := func(d *mesh.Destination) {
		for _, ref := range d.Documents {
			if label := ref.String(); !slices.Contains(out, label) {
				out = append(out, label)
			}
		}
	}
	add(s.Default)
	for _, caller := range slices.Sorted(maps.Keys(s.ByCaller)) {
		add(s.ByCaller[caller])
	}
	return out
}

func endpointRow(e *mesh.Endpoint) adminapi.Endpoint {
	return adminapi.Endpoint{
		ID: e.ID, Address: net.JoinHostPort(e.Address, strconv.FormatUint(uint64(e.Port), 10)),
		Health: e.Health.String(), Weight: e.Weight, Region: e.Locality.Region, Zone: e.Locality.Zone,
		Node: e.Node, Datacenter: e.Datacenter, Tags: e.Tags, Meta: e.Meta,
	}
}

func holdsOf(s catalog.Status) map[string]*adminapi.Hold {
	out := map[string]*adminapi.Hold{}
	for _, h := range s.Holds {
		out[h.Service] = holdRow(h)
	}
	return out
}

func holdRow(h catalog.Hold) *adminapi.Hold {
	return &adminapi.Hold{Service: h.Service, Lost: h.Lost, Reason: h.Reason, Since: h.Since, Expires: moment(h.Expires)}
}

// moment is nil for the zero time, so that JSON leaves it out.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
