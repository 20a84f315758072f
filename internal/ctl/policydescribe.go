package ctl

import (
	"fmt"
	"net/url"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/admin/adminapi"
)

func (s *session) policyDescribe() *cobra.Command {
	var p picked
	cmd := &cobra.Command{
		Use: "describe (NAME… | KIND [NAME…] | KIND/NAME…)", Args: cobra.MinimumNArgs(1), ValidArgsFunction: s.completePolicies,
		Short: "Show all about policies: conditions, values that they decide, findings, the document",
		Long: `Show all about policies: the conditions, summed up and per target; every value in force
that came from the document, for which services and callers; what should be looked at;
what Envoys refused of it, in their own words; the document.`,
		Example: `  meshctl policy describe orders
  meshctl policy describe tr orders -n shop`,
		RunE: func(cmd *cobra.Command, args []string) error {
			items, err := s.policies(cmd, p, args)
			if err != nil {
				return err
			}
			details := []adminapi.PolicyDetail{}
			for _, item := range items {
				d := adminapi.PolicyDetail{Policy: item}
				if item.Namespace != "" { // the built-in one is no document
					if err := s.get(cmd.Context(), "/v1/policies/"+pathOf(item), &d); err != nil {
						return err
					}
				}
				details = append(details, d)
			}
			return s.describe(details)
		},
	}
	p.flags(s, cmd)
	return cmd
}

func pathOf(p adminapi.Policy) string {
	return url.PathEscape(p.Kind) + "/" + url.PathEscape(p.Namespace) + "/" + url.PathEscape(p.Name)
}

func (s *session) describe(details []adminapi.PolicyDetail) error {
	if s.structured() || s.output == "name" {
		t := table{}
		for _, d := range details {
			t.names = append(t.names, label(d.Policy))
		}
		return s.show(details, t)
	}
	for i, d := range details {
		if i > 0 {
			fmt.Fprint(s.Out, "\n---\n")
		}
		for _, t := range []table{summaryTable(d), conditionTable(d), decidesTable(d), findingTable(d), refusalTable(d)} {
			if len(t.rows) == 0 {
				continue
			}
			if err := s.showTable(t); err != nil {
				return err
			}
			fmt.Fprintln(s.Out)
		}
		if d.Document == nil {
			continue
		}
		raw, err := yaml.JSONToYAML(d.Document)
		if err != nil {
			return fmt.Errorf("write YAML: %w", err)
		}
		fmt.Fprintf(s.Out, "%s", raw)
	}
	return nil
}

func summaryTable(d adminapi.PolicyDetail) table {
	t := table{head: []string{"FIELD", "VALUE"}}
	row := func(k, v string) { t.rows = append(t.rows, []string{k, v}) }
	row("policy", label(d.Policy))
	row("generation", generation(d.Generation))
	row("in force", generation(d.InForceGeneration))
	row("source", d.Source)
	row("targets", targets(d.Policy))
	row("accepted", d.Accepted)
	if d.Message != "" {
		row("message", d.Message)
	}
	return t
}

// conditionTable has the conditions of the whole, then those of each target.
func conditionTable(d adminapi.PolicyDetail) table {
	t := table{head: []string{"TARGET", "CONDITION", "STATUS", "REASON", "AGE", "MESSAGE"}}
	add := func(target string, conditions []adminapi.Condition) {
		for _, c := range conditions {
			t.rows = append(t.rows, []string{target, c.Type, c.Status, c.Reason, ago(c.LastTransitionTime), c.Message})
		}
	}
	add("all", d.Conditions)
	for _, a := range d.Ancestors {
		add(a.Target, a.Conditions)
	}
	return t
}

func decidesTable(d adminapi.PolicyDetail) table {
	t := table{head: []string{"DECIDES", "VALUE", "SERVICES", "CALLER", "RULE"}}
	for _, x := range d.Decides {
		for _, f := range x.Fields {
			t.rows = append(t.rows, []string{f.Field, f.Value, several(x.Services), x.Caller, x.Rule})
		}
	}
	return t
}

func findingTable(d adminapi.PolicyDetail) table {
	t := table{head: []string{"FINDING", "SEVERITY", "SERVICE", "PATH", "MESSAGE"}}
	for _, f := range d.Findings {
		t.rows = append(t.rows, []string{f.Code, string(f.Severity), f.Service, f.Path, f.Message})
		if f.Hint != "" {
			t.rows = append(t.rows, []string{blank, blank, blank, blank, "→ " + f.Hint})
		}
	}
	return t
}

func refusalTable(d adminapi.PolicyDetail) table {
	t := table{head: []string{"REFUSED BY", "MESSAGE OF TYPE", "NAME", "ENVOY SAYS"}}
	for _, r := range d.Refused {
		t.rows = append(t.rows, []string{r.Proxy, r.Type, r.Resource, r.Message})
	}
	return t
}
