package ctl

import (
	"encoding/json"
	"fmt"
	"strings"

	"meshlite.dev/internal/admin/adminapi"
)

// message is the part of Envoy's messages that one line can show. Servers
// write camelCase and Envoys snake_case.
type message struct {
	ConnectTimeout string `json:"connecttimeout"`
	RouteConfig    string `json:"routeconfigurationname"`
	VirtualHosts   []struct {
		Routes []struct {
			Name string `json:"name"`
		} `json:"routes"`
	} `json:"virtualhosts"`
	Address   address `json:"address"`
	Endpoints []struct {
		LBEndpoints []struct {
			Health   string `json:"healthstatus"`
			Endpoint struct {
				Address address `json:"address"`
			} `json:"endpoint"`
		} `json:"lbendpoints"`
	} `json:"endpoints"`
}

type address struct {
	Socket struct {
		Address string `json:"address"`
		Port    int    `json:"portvalue"`
	} `json:"socketaddress"`
}

func (a address) String() string { return fmt.Sprintf("%s:%d", a.Socket.Address, a.Socket.Port) }

// detail says in a line what matters of a resource.
func detail(r adminapi.ProxyResource) string {
	var m message
	if json.Unmarshal(plainKeys(r.Config), &m) != nil {
		return ""
	}
	var parts []string
	switch r.Type {
	case "CDS":
		parts = append(parts, "connect "+m.ConnectTimeout)
	case "EDS":
		for _, group := range m.Endpoints {
			for _, e := range group.LBEndpoints {
				parts = append(parts, e.Endpoint.Address.String()+" "+e.Health)
			}
		}
		if parts == nil {
			parts = []string{"no endpoints"}
		}
	case "LDS":
		parts = append(parts, m.Address.String())
	case "SRDS":
		parts = append(parts, "routes of "+m.RouteConfig)
	case "RDS":
		for _, h := range m.VirtualHosts {
			for _, route := range h.Routes {
				parts = append(parts, route.Name)
			}
		}
	}
	return strings.Join(parts, ", ")
}

// plainKeys drops the underscores of every key, so that both spellings match
// (encoding/json ignores case).
func plainKeys(raw json.RawMessage) []byte {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	out, err := json.Marshal(plain(v))
	if err != nil {
		return nil
	}
	return out
}

func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[strings.ReplaceAll(k, "_", "")] = plain(x)
		}
		return out
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	}
	return v
}
