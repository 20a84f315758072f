package ctl

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/admin/adminapi"
)

func (s *session) serviceCmd() *cobra.Command {
	cmd := group("service", "What the catalog says, and who calls whom", "services", "svc")
	cmd.AddCommand(s.serviceList(), s.serviceGet(), s.serviceEndpoints(), s.serviceAccept(), s.serviceGraph(), s.serviceWatch())
	return cmd
}

func (s *session) serviceList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Args: cobra.NoArgs,
		Short: "List services, with what the guard holds back",
		Example: `  meshctl service list
  meshctl service list -o wide`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var services []adminapi.Service
			if err := s.get(cmd.Context(), "/v1/services", &services); err != nil {
				return err
			}
			t := table{
				head:  []string{"NAME", "+NAMESPACE", "PROTOCOL", "HEALTHY", "UNHEALTHY", "DRAINING", "POLICIES", "+HOSTS", "HELD"},
				empty: "the catalog has no services",
			}
			for _, v := range services {
				held := v.Held
				if !v.Synced {
					held = "the catalog has not answered for it yet"
				}
				t.add(v.Name, v.Name, v.Namespace, v.Protocol, fmt.Sprint(v.Healthy), fmt.Sprint(v.Unhealthy), fmt.Sprint(v.Draining),
					policies(v.Policies), strings.Join(v.Hosts, ","), held)
			}
			return s.show(services, t)
		},
	}
}

// policies names documents; none means mesh-default alone.
func policies(names []string) string {
	if len(names) == 0 {
		return "mesh-default"
	}
	return strings.Join(names, ",")
}

func (s *session) service(cmd *cobra.Command, name string) (adminapi.ServiceDetail, error) {
	var d adminapi.ServiceDetail
	err := s.get(cmd.Context(), "/v1/services/"+url.PathEscape(name), &d)
	return d, err
}

func (s *session) serviceGet() *cobra.Command {
	return &cobra.Command{
		Use: "get NAME", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeServices,
		Short:   "Show one service: hosts, instances, policies, age of what is known",
		Example: `  meshctl service get orders`,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := s.service(cmd, args[0])
			if err != nil {
				return err
			}
			t := table{head: []string{"FIELD", "VALUE"}}
			row := func(k, v string) { t.rows = append(t.rows, []string{k, v}) }
			t.names = []string{d.Name}
			row("name", d.Name)
			row("namespace", d.Namespace)
			row("protocol", d.Protocol)
			row("hosts", strings.Join(d.Hosts, ", "))
			row("policies", policies(d.Policies))
			row("policies by caller", strings.Join(d.Callers, ", "))
			row("instances", fmt.Sprintf("%d healthy, %d unhealthy, %d draining", d.Healthy, d.Unhealthy, d.Draining))
			if d.LastRead != nil {
				row("last read", ago(*d.LastRead)+" ago")
			}
			if d.Hold != nil {
				row("held", fmt.Sprintf("%s: %s (since %s; meshctl service accept %s believes it)", d.Hold.Reason, strings.Join(d.Hold.Lost, ", "), ago(d.Hold.Since), d.Name))
			}
			if err := s.show(d, t); err != nil || s.structured() || s.output == "name" {
				return err
			}
			fmt.Fprintln(s.Out)
			return s.showTable(endpoints(d))
		},
	}
}

func endpoints(d adminapi.ServiceDetail) table {
	t := table{
		head:  []string{"INSTANCE", "ADDRESS", "HEALTH", "WEIGHT", "ZONE", "+REGION", "+NODE", "+DATACENTER", "+TAGS"},
		empty: d.Name + " has no instances",
	}
	for _, e := range d.Endpoints {
		t.add(e.ID, e.ID, e.Address, e.Health, fmt.Sprint(e.Weight), e.Zone, e.Region, e.Node, e.Datacenter, strings.Join(e.Tags, ","))
	}
	return t
}

func (s *session) serviceEndpoints() *cobra.Command {
	return &cobra.Command{
		Use: "endpoints NAME", Aliases: []string{"ep"}, Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeServices,
		Short:   "List the instances of a service: address, health, weight",
		Example: `  meshctl service endpoints orders -o wide`,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := s.service(cmd, args[0])
			if err != nil {
				return err
			}
			return s.show(d.Endpoints, endpoints(d))
		},
	}
}

func (s *session) serviceAccept() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "accept NAME… | --all", ValidArgsFunction: s.completeServices,
		Short: "Believe a loss of instances that the guard holds back",
		Long: `Believe a loss of instances that the guard holds back: they leave every sidecar at
once. "meshctl service list" shows what is held and why.`,
		Example: `  meshctl service accept orders
  meshctl service accept --all`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return usagef("name the services to believe, or say --all")
			}
			var out adminapi.AcceptResponse
			if err := s.call(cmd.Context(), http.MethodPost, "/v1/services/accept", adminapi.AcceptRequest{Names: args, All: all}, &out); err != nil {
				return err
			}
			t := table{head: []string{"ACCEPTED"}, empty: "nothing was held"}
			for _, n := range out.Accepted {
				t.add(n, n)
			}
			return s.show(out, t)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "everything that is held")
	return cmd
}

func (s *session) serviceGraph() *cobra.Command {
	return &cobra.Command{
		Use: "graph", Args: cobra.NoArgs,
		Short: "Show who called whom, from the load reports of the sidecars",
		Long: `Show who called whom, from the load reports that every sidecar sends each 10
seconds. Counts are tries: a call that was retried counts each of them.`,
		Example: `  meshctl service graph
  meshctl service graph -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var g adminapi.Graph
			if err := s.get(cmd.Context(), "/v1/graph", &g); err != nil {
				return err
			}
			t := table{
				head:  []string{"FROM", "TO", "RATE", "SUCCESSES", "ERRORS", "DROPPED", "IN-PROGRESS"},
				empty: "no calls within " + g.Window + "; sidecars report each 10s",
			}
			for _, e := range g.Edges {
				t.add(e.From+"/"+e.To, e.From, e.To, fmt.Sprintf("%.1f/s", e.Rate), fmt.Sprint(e.Successes), fmt.Sprint(e.Errors), fmt.Sprint(e.Dropped), fmt.Sprint(e.InProgress))
			}
			return s.show(g, t)
		},
	}
}

// errStreamEnded reports a watch that the server ended.
var errStreamEnded = errors.New("the server ended the stream")
