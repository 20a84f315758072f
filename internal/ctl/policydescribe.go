package ctl

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/mesh"
)

func (s *session) policyDescribe() *cobra.Command {
	var p picked
	cmd := &cobra.Command{
		Use: "describe (NAME… | KIND [NAME…] | KIND/NAME…)", Args: cobra.MinimumNArgs(1), ValidArgsFunction: s.completePolicies,
		Short:   "Show one policy: targets, what became of it, which sidecars refused it, the document",
		Example: `  meshctl policy describe orders`,
		RunE: func(cmd *cobra.Command, args []string) error {
			items, err := s.policies(cmd, p, args)
			if err != nil {
				return err
			}
			var proxies []adminapi.Proxy
			if err := s.get(cmd.Context(), "/v1/proxies", &proxies); err != nil {
				return err
			}
			var findings adminapi.Findings
			if err := s.get(cmd.Context(), "/v1/findings", &findings); err != nil {
				return err
			}
			for _, p := range items {
				if err := s.describe(p, proxies, findings.Items); err != nil {
					return err
				}
			}
			return nil
		},
	}
	p.flags(s, cmd)
	return cmd
}

func (s *session) describe(p adminapi.Policy, proxies []adminapi.Proxy, findings []mesh.Finding) error {
	t := table{head: []string{"FIELD", "VALUE"}}
	row := func(k, v string) { t.rows = append(t.rows, []string{k, v}) }
	row("policy", label(p))
	row("generation", generation(p.Generation))
	row("source", p.Source)
	row("targets", targets(p))
	row("accepted", p.Accepted)
	row("message", p.Message)
	version := fmt.Sprintf("%s@%d", label(p), p.Generation)
	for _, x := range proxies {
		for _, e := range x.Errors {
			if slices.Contains(e.Policies, version) {
				row("refused by "+x.ID, fmt.Sprintf("%s %s: %s", e.Type, e.Resource, e.Message))
			}
		}
	}
	for _, f := range findings {
		if f.Document == version || f.Document == label(p) {
			row(f.Code, f.Message)
		}
	}
	if err := s.showTable(t); err != nil || p.Document == nil {
		return err
	}
	raw, err := yaml.JSONToYAML(p.Document)
	if err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	_, err = fmt.Fprintf(s.Out, "\n%s", raw)
	return err
}
