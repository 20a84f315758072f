package admin

import (
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/xds/dump"
	"meshlite.dev/internal/xds/server"
)

type (
	debugResource struct {
		Type     string          `json:"type"`
		Name     string          `json:"name"`
		Service  string          `json:"service,omitempty"`
		Status   string          `json:"status"`
		Acked    string          `json:"acked,omitempty"`
		Wanted   string          `json:"wanted,omitempty"`
		Policies []string        `json:"policies,omitempty"`
		Message  string          `json:"message,omitempty"`
		At       *time.Time      `json:"at,omitempty"`
		Config   json.RawMessage `json:"config,omitempty"`
	}
	debugLedger struct {
		Proxy     adminapi.Proxy  `json:"proxy"`
		Resources []debugResource `json:"resources"` // without ?proxy= those that are not SYNCED
	}
)

// debugSnapshot shows everything that a proxy should have, as messages.
func (a *api) debugSnapshot(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	rs, err := a.resourcesOf(r)
	if err != nil {
		return nil, err
	}
	out := []debugResource{}
	for _, s := range rs {
		if s.Wanted == "" {
			continue
		}
		row := resourceRow(s)
		if row.Config, err = dump.JSON(s.Type, s.WantedBody); err != nil {
			return nil, err
		}
		out = append(out, row)
	}
	return out, nil
}

// debugLedger shows what each proxy acknowledged, and what it has not.
func (a *api) debugLedger(r *http.Request) (any, error) {
	q, err := query(r, "proxy")
	if err != nil {
		return nil, err
	}
	proxies := a.Fleet.Proxies()
	if id := q["proxy"]; id != "" {
		p, ok := a.Fleet.Proxy(id)
		if !ok {
			return nil, fail(http.StatusNotFound, "leave it out to see all", "parameter %q: no proxy %q", "proxy", id)
		}
		proxies = []server.Proxy{p}
	}
	out := []debugLedger{}
	for _, p := range proxies {
		row := debugLedger{Proxy: proxyRow(p), Resources: []debugResource{}}
		if q["proxy"] != "" || p.Status != server.Synced { // a proxy that is in step has nothing to tell
			rs, _ := a.Fleet.Resources(p.ID) // none of one that is gone
			for _, s := range rs {
				if q["proxy"] != "" || s.Status != server.Synced {
					row.Resources = append(row.Resources, resourceRow(s))
				}
			}
		}
		out = append(out, row)
	}
	return out, nil
}

func resourceRow(s server.ResourceState) debugResource {
	return debugResource{
		Type: shortType(s.Type), Name: s.Name, Service: s.Service, Status: string(s.Status),
		Acked: s.Acked, Wanted: s.Wanted, Policies: s.Policies, Message: s.Message, At: moment(s.At),
	}
}

// pprofPages serves Go's profiler.
func pprofPages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
