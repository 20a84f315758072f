package admin

import (
	"net"
	"net/http"
	"strconv"
	"strings"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/xds/dump"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
)

func (a *api) proxies(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	out := []adminapi.Proxy{}
	for _, p := range a.Fleet.Proxies() {
		out = append(out, proxyRow(p))
	}
	return out, nil
}

func (a *api) proxy(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	p, err := a.proxyOf(r)
	if err != nil {
		return nil, err
	}
	return proxyRow(p), nil
}

// proxyConfig shows what a proxy acknowledged last, resource by resource.
func (a *api) proxyConfig(r *http.Request) (any, error) {
	q, err := query(r, "type", "name")
	if err != nil {
		return nil, err
	}
	typeURL, err := typeParameter(q["type"])
	if err != nil {
		return nil, err
	}
	rs, err := a.resourcesOf(r)
	if err != nil {
		return nil, err
	}
	out := []adminapi.ProxyResource{}
	for _, s := range rs {
		if typeURL != "" && s.Type != typeURL || q["name"] != "" && s.Name != q["name"] {
			continue
		}
		row := adminapi.ProxyResource{
			Type: shortType(s.Type), Name: s.Name, Version: s.Acked, Status: string(s.Status), Policies: s.Policies, Message: s.Message,
		}
		if row.Config, err = dump.JSON(s.Type, s.Body); err != nil {
			return nil, err
		}
		out = append(out, row)
	}
	return out, nil
}

// proxyDiff shows what the server holds for a proxy and the proxy has not
// acknowledged.
func (a *api) proxyDiff(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	p, err := a.proxyOf(r)
	if err != nil {
		return nil, err
	}
	rs, err := a.resourcesOf(r)
	if err != nil {
		return nil, err
	}
	out := []adminapi.ProxyDiff{}
	for _, s := range rs {
		if s.Acked == s.Wanted {
			continue
		}
		d, err := diffRow(s, changeOf(s))
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	restarts, err := a.restarts(p, rs)
	if err != nil {
		return nil, err
	}
	return append(out, restarts...), nil
}

// restarts finds the listeners that were fixed when the proxy started and
// would be others now.
func (a *api) restarts(p server.Proxy, rs []server.ResourceState) ([]adminapi.ProxyDiff, error) {
	if a.Listeners == nil {
		return nil, nil
	}
	held := map[string]server.ResourceState{}
	for _, s := range rs {
		if s.Type == resource.ListenerType {
			held[s.Name] = s
		}
	}
	var out []adminapi.ProxyDiff
	for _, l := range a.Listeners(p.Node) {
		s, ok := held[l.Name]
		if l.State != resource.IfAbsent || !ok || s.Acked == "" || s.Acked == l.Version {
			continue
		}
		s.WantedBody = l.Body
		d, err := diffRow(s, "needs a restart")
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

func changeOf(s server.ResourceState) string {
	switch {
	case s.Acked == "":
		return "add"
	case s.Wanted == "":
		return "remove"
	default:
		return "change"
	}
}

func diffRow(s server.ResourceState, change string) (d adminapi.ProxyDiff, err error) {
	d = adminapi.ProxyDiff{Type: shortType(s.Type), Name: s.Name, Change: change, Message: s.Message}
	if d.Held, err = dump.JSON(s.Type, s.Body); err != nil {
		return d, err
	}
	d.Wanted, err = dump.JSON(s.Type, s.WantedBody)
	return d, err
}

// targets lists the sidecars' own statistics for Prometheus (http_sd): the
// host that a proxy's stream comes from, and the admin port that it tells.
func (a *api) targets(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	out := []adminapi.TargetGroup{}
	for _, p := range a.Fleet.Proxies() {
		host, _, err := net.SplitHostPort(p.Address)
		if err != nil || p.AdminPort == 0 || !p.Connected {
			continue
		}
		out = append(out, adminapi.TargetGroup{
			Targets: []string{net.JoinHostPort(host, strconv.FormatUint(uint64(p.AdminPort), 10))},
			Labels:  map[string]string{"__metrics_path__": "/stats/prometheus", "service": p.Service, "proxy": p.ID},
		})
	}
	return out, nil
}

func (a *api) proxyOf(r *http.Request) (server.Proxy, error) {
	id := r.PathValue("id")
	p, ok := a.Fleet.Proxy(id)
	if !ok {
		return p, fail(http.StatusNotFound, "meshctl proxy status lists those seen within the last hour", "no proxy %q", id)
	}
	return p, nil
}

func (a *api) resourcesOf(r *http.Request) ([]server.ResourceState, error) {
	p, err := a.proxyOf(r)
	if err != nil {
		return nil, err
	}
	rs, ok := a.Fleet.Resources(p.ID)
	if !ok {
		return nil, fail(http.StatusNotFound, "meshctl proxy config --admin HOST:PORT asks the Envoy itself", "proxy %q is not connected", p.ID)
	}
	return rs, nil
}

func proxyRow(p server.Proxy) adminapi.Proxy {
	out := adminapi.Proxy{
		ID: p.ID, Service: p.Service, Envoy: p.Envoy, Labels: p.Labels, Address: p.Address, Protocol: p.Protocol,
		ConnectedAt: p.ConnectedAt, Connected: p.Connected, Status: string(p.Status), Types: []adminapi.TypeStatus{},
	}
	for _, t := range p.Types {
		out.Types = append(out.Types, adminapi.TypeStatus{
			Type: t.Type, Status: string(t.Status), Resources: t.Resources, InFlight: t.InFlight,
			LastSent: moment(t.LastSent), LastAcked: moment(t.LastAcked),
		})
	}
	for _, e := range p.Errors {
		out.Errors = append(out.Errors, adminapi.Rejection(e))
	}
	for _, h := range p.Held {
		out.Held = append(out.Held, adminapi.Held(h))
	}
	return out
}

// resourceTypes are the names by which a type can be asked for.
var resourceTypes = []struct {
	short, word, url string
}{
	{"CDS", "cluster", resource.ClusterType},
	{"EDS", "endpoint", resource.EndpointType},
	{"LDS", "listener", resource.ListenerType},
	{"SRDS", "scope", resource.ScopedRouteType},
	{"RDS", "route", resource.RouteType},
}

func shortType(url string) string {
	for _, t := range resourceTypes {
		if t.url == url {
			return t.short
		}
	}
	return url
}

// typeParameter reads CDS or cluster, in any case and number; "" is all.
func typeParameter(s string) (url string, err error) {
	if s == "" {
		return "", nil
	}
	for _, t := range resourceTypes {
		if strings.EqualFold(s, t.short) || strings.EqualFold(strings.TrimSuffix(s, "s"), t.word) {
			return t.url, nil
		}
	}
	return "", fail(http.StatusBadRequest, "use CDS (cluster), EDS (endpoint), LDS (listener), SRDS (scope) or RDS (route)", "parameter %q: no type %q", "type", s)
}
