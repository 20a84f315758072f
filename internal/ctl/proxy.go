package ctl

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/admin/adminapi"
)

func (s *session) proxyCmd() *cobra.Command {
	cmd := group("proxy", "Start, look at and drain the Envoys beside services", "proxies", "px")
	cmd.AddCommand(newProxyBootstrap(s.IO), newProxyRun(s.IO), newProxyInject(s.IO), newProxyReady(s.IO), s.proxyStatus(), s.proxyConfig(), s.proxyDiff(), s.proxyDrain())
	return cmd
}

// types are the xDS types in the order in which they are sent.
var types = []string{"CDS", "EDS", "LDS", "SRDS", "RDS"}

func (s *session) proxyStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status [PROXY]", Aliases: []string{"ps"}, Args: cobra.MaximumNArgs(1), ValidArgsFunction: s.completeProxies,
		Short: "Show for each sidecar and type whether it has what it should",
		Long: `Show for each sidecar and type whether it has what it should:

  SYNCED     all that was sent is acknowledged
  STALE      sent and not acknowledged yet, or held back
  NOT SENT   the sidecar has not asked for this type
  ERROR      the Envoy refused a resource; its last good version serves

What was refused is told with Envoy's own words and the policy at fault. A sidecar
that went away is shown for an hour. Exit code 79 when one is in ERROR.`,
		Example: `  meshctl proxy status
  meshctl proxy status checkout-1 -o wide`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var proxies []adminapi.Proxy
			if len(args) == 0 {
				if err := s.get(cmd.Context(), "/v1/proxies", &proxies); err != nil {
					return err
				}
			} else {
				var one adminapi.Proxy
				if err := s.get(cmd.Context(), "/v1/proxies/"+url.PathEscape(args[0]), &one); err != nil {
					return err
				}
				proxies = []adminapi.Proxy{one}
			}
			return s.showProxies(proxies)
		},
	}
}

func (s *session) showProxies(proxies []adminapi.Proxy) error {
	t := table{
		head:  append(append([]string{"PROXY", "SERVICE", "STATUS"}, types...), "ENVOY", "AGE", "+ADDRESS", "+XDS", "+RESOURCES", "+LABELS"),
		empty: "no sidecar has connected within the last hour",
	}
	refused := false
	for _, p := range proxies {
		t.add(p.ID, proxyRow(p)...)
		refused = refused || len(p.Errors) > 0
	}
	if err := s.show(proxies, t); err != nil {
		return err
	}
	if !s.structured() && s.output != "name" {
		if err := s.showTroubles(proxies); err != nil {
			return err
		}
	}
	if refused {
		return &exitError{Code: ExitFindings}
	}
	return nil
}

func proxyRow(p adminapi.Proxy) []string {
	status, age := p.Status, ago(p.ConnectedAt)
	if !p.Connected {
		status = "GONE"
	}
	row := []string{p.ID, p.Service, status}
	at := map[string]adminapi.TypeStatus{}
	resources := 0
	for _, t := range p.Types {
		at[t.Type] = t
		resources += t.Resources
	}
	for _, name := range types {
		row = append(row, at[name].Status)
	}
	return append(row, p.Envoy, age, p.Address, p.Protocol, fmt.Sprint(resources), pairs(p.Labels))
}

// pairs are labels as they are typed: "team=shop,tier=web".
func pairs(labels map[string]string) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, key+"="+labels[key])
	}
	return strings.Join(out, ",")
}

// showTroubles says what was refused and what waits, below the table.
func (s *session) showTroubles(proxies []adminapi.Proxy) error {
	for _, p := range proxies {
		for _, e := range p.Errors {
			if _, err := fmt.Fprintf(s.Out, "\nERROR %s: %s %s refused %s ago\n  Envoy says  %s\n  policy      %s\n  serving     %s\n",
				p.ID, e.Type, e.Resource, ago(e.At), oneLine(e.Message), policies(e.Policies), lastGood(e.LastGood)); err != nil {
				return err
			}
		}
		for _, h := range p.Held {
			if _, err := fmt.Fprintf(s.Out, "\nSTALE %s: %s %s waits for %s since %s\n", p.ID, h.Type, h.Resource, h.Waits, ago(h.Since)); err != nil {
				return err
			}
		}
	}
	return nil
}

func lastGood(version string) string {
	if version == "" {
		return "nothing: there was no version before"
	}
	return "the last good version, " + version
}

func (s *session) proxyDiff() *cobra.Command {
	return &cobra.Command{
		Use: "diff PROXY", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeProxies,
		Short:   "Compare what a sidecar acknowledged with what it should have",
		Long:    "Compare what a sidecar acknowledged with what it should have. Exit code 0: the same; 1: they differ; above: an error.",
		Example: `  meshctl proxy diff checkout-1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var diffs []adminapi.ProxyDiff
			if err := s.get(cmd.Context(), "/v1/proxies/"+url.PathEscape(args[0])+"/diff", &diffs); err != nil {
				return aboveOne(err)
			}
			t := table{head: []string{"TYPE", "NAME", "CHANGE", "MESSAGE"}, empty: args[0] + " has what it should"}
			for _, d := range diffs {
				t.add(d.Type+"/"+d.Name, d.Type, d.Name, d.Change, d.Message)
			}
			if err := s.show(diffs, t); err != nil {
				return aboveOne(err)
			}
			if len(diffs) > 0 {
				return &exitError{Code: 1}
			}
			return nil
		},
	}
}

// aboveOne keeps 1 free for "they differ".
func aboveOne(err error) error {
	if exit, ok := err.(*exitError); ok && exit.Code > 1 { //nolint:errorlint // only our own, unwrapped
		return err
	}
	return &exitError{2, err}
}

// adminOf finds the admin interface of a proxy's Envoy.
func (s *session) adminOf(cmd *cobra.Command, proxy string) (string, error) {
	var groups []adminapi.TargetGroup
	if err := s.get(cmd.Context(), "/v1/prometheus/targets", &groups); err != nil {
		return "", err
	}
	for _, g := range groups {
		if g.Labels["proxy"] == proxy && len(g.Targets) > 0 {
			return g.Targets[0], nil
		}
	}
	return "", fmt.Errorf("no admin address of %q is known; name it with --admin HOST:PORT", proxy)
}

const drainLimit = 30 * time.Second

// trimAdmin takes HOST:PORT and URLs alike.
func trimAdmin(addr string) string {
	return strings.TrimSuffix(strings.TrimPrefix(addr, "http://"), "/")
}
