package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/admin/adminapi"
)

func (s *session) proxyConfig() *cobra.Command {
	var admin string
	cmd := &cobra.Command{
		Use: "config TYPE PROXY", Aliases: []string{"pc"}, Args: cobra.ExactArgs(2),
		Short: "Show what a sidecar was sent and acknowledged",
		Long: `Show what a sidecar was sent and acknowledged. TYPE is clusters, endpoints, listeners,
scopes, routes (CDS, EDS, LDS, SRDS, RDS) or all. The messages themselves come with
-o json or -o yaml.

With --admin the Envoy itself is asked, by its admin interface, and no server is
needed.`,
		Example: `  meshctl proxy config endpoints checkout-1
  meshctl proxy config routes checkout-1 -o yaml
  meshctl proxy config all checkout-1 --admin 127.0.0.1:15000`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return []string{"clusters", "endpoints", "listeners", "scopes", "routes", "all"}, cobra.ShellCompDirectiveNoFileComp
			}
			return s.completeProxies(cmd, args[1:], prefix)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, ok := typeNamed(args[0])
			if !ok {
				return usagef("%q is no type; use clusters, endpoints, listeners, scopes, routes or all", args[0])
			}
			rs, err := s.resources(cmd.Context(), kind, args[1], trimAdmin(admin))
			if err != nil {
				return err
			}
			return s.showResources(rs)
		},
	}
	cmd.Flags().StringVar(&admin, "admin", "", "ask the Envoy itself: its admin interface, HOST:PORT")
	return cmd
}

// typeNamed reads "clusters", "cluster" or "CDS"; "" is all.
func typeNamed(text string) (kind string, ok bool) {
	word := strings.TrimSuffix(strings.ToLower(text), "s")
	for i, name := range []string{"cluster", "endpoint", "listener", "scope", "route"} {
		if word == name || strings.EqualFold(text, types[i]) {
			return types[i], true
		}
	}
	return "", strings.EqualFold(text, "all")
}

func (s *session) resources(ctx context.Context, kind, proxy, admin string) ([]adminapi.ProxyResource, error) {
	if admin != "" {
		return s.fromEnvoy(ctx, kind, admin)
	}
	path := "/v1/proxies/" + url.PathEscape(proxy) + "/config"
	if kind != "" {
		path += "?type=" + kind
	}
	var rs []adminapi.ProxyResource
	err := s.get(ctx, path, &rs)
	return rs, err
}

func (s *session) showResources(rs []adminapi.ProxyResource) error {
	t := table{head: []string{"TYPE", "NAME", "STATUS", "VERSION", "POLICIES", "DETAIL"}, empty: "nothing of that type"}
	for _, r := range rs {
		more := detail(r)
		if r.Message != "" {
			more = r.Message
		}
		t.add(r.Type+"/"+r.Name, r.Type, r.Name, r.Status, r.Version, strings.Join(r.Policies, ","), more)
	}
	return s.show(rs, t)
}

// fromEnvoy reads the configuration that an Envoy reports of itself.
// https://www.envoyproxy.io/docs/envoy/v1.40.0/operations/admin#get--config_dump
func (s *session) fromEnvoy(ctx context.Context, kind, admin string) ([]adminapi.ProxyResource, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/config_dump?include_eds", nil)
	if err != nil {
		return nil, usagef("--admin is %q; use HOST:PORT", admin)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return nil, &exitError{ExitUnreachable, fmt.Errorf("reach Envoy at --admin %s: %w", admin, err)}
	}
	defer resp.Body.Close()
	var dump struct {
		Configs []map[string]json.RawMessage `json:"configs"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&dump); err != nil {
		return nil, fmt.Errorf("read the configuration of the Envoy at %s: %w", admin, err)
	}
	rs := []adminapi.ProxyResource{}
	for _, part := range dump.Configs {
		for _, section := range sections {
			if kind != "" && kind != section.kind {
				continue
			}
			more, err := section.read(part[section.key])
			if err != nil {
				return nil, fmt.Errorf("read %s of the Envoy at %s: %w", section.key, admin, err)
			}
			rs = append(rs, more...)
		}
	}
	return rs, nil
}

// section is a list within a config dump.
type section struct{ kind, key, message string }

var sections = []section{
	{"CDS", "dynamic_active_clusters", "cluster"},
	{"CDS", "dynamic_warming_clusters", "cluster"},
	{"EDS", "dynamic_endpoint_configs", "endpoint_config"},
	{"LDS", "dynamic_listeners", "listener"},
	{"SRDS", "dynamic_scoped_route_configs", "scoped_route_configs"},
	{"RDS", "dynamic_route_configs", "route_config"},
}

func (c section) read(list json.RawMessage) ([]adminapi.ProxyResource, error) {
	if list == nil {
		return nil, nil
	}
	var entries []map[string]json.RawMessage
	if err := json.Unmarshal(list, &entries); err != nil {
		return nil, err
	}
	var rs []adminapi.ProxyResource
	for _, e := range entries {
		if active, ok := e["active_state"]; ok { // listeners
			e = map[string]json.RawMessage{}
			if err := json.Unmarshal(active, &e); err != nil {
				return nil, err
			}
		}
		bodies := []json.RawMessage{e[c.message]}
		if c.kind == "SRDS" {
			bodies = nil
			if err := json.Unmarshal(e[c.message], &bodies); err != nil {
				return nil, err
			}
		}
		for _, body := range bodies {
			if body != nil {
				rs = append(rs, adminapi.ProxyResource{Type: c.kind, Name: nameIn(body), Version: text(e["version_info"]), Status: "IN USE", Config: body})
			}
		}
	}
	return rs, nil
}

func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

func nameIn(body json.RawMessage) string {
	var m struct {
		Name    string `json:"name"`
		Cluster string `json:"cluster_name"`
	}
	if json.Unmarshal(body, &m) != nil || m.Name == "" {
		return m.Cluster
	}
	return m.Name
}
