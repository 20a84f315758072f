package ctl

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/mesh"
)

func (s *session) policyGet() *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use: "get [NAME…]", ValidArgsFunction: s.completePolicies,
		Short: "List policies with what became of each; the built-in one comes first",
		Long: `List policies with what became of each; the built-in mesh-default comes first. A NAME is
a document's name, or KIND/NAMESPACE/NAME (rp/default/orders). The documents in force
come with -o yaml or -o json; what stands there can be edited and applied again.`,
		Example: `  meshctl policy get
  meshctl policy get orders -o yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			items, err := s.policies(cmd, namespace, args)
			if err != nil {
				return err
			}
			if s.structured() {
				return s.showDocuments(items)
			}
			t := table{
				head:  []string{"KIND", "NAMESPACE", "NAME", "TARGETS", "ACCEPTED", "GENERATION", "+SOURCE", "MESSAGE"},
				empty: "no policy of that namespace",
			}
			for _, p := range items {
				t.add(label(p), mesh.ShortKind(p.Kind), p.Namespace, p.Name, strings.Join(p.Targets, ","), p.Accepted, generation(p), p.Source, p.Message)
			}
			return s.show(items, t)
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "only this namespace")
	return cmd
}

func generation(p adminapi.Policy) string {
	if p.Generation == 0 {
		return ""
	}
	return fmt.Sprint(p.Generation)
}

// label names a document as everywhere: "rp/default/orders".
func label(p adminapi.Policy) string {
	if p.Namespace == "" {
		return p.Name
	}
	return mesh.ShortKind(p.Kind) + "/" + p.Namespace + "/" + p.Name
}

// policies reads the documents that names and namespace choose; a name that
// chooses none is an error.
func (s *session) policies(cmd *cobra.Command, namespace string, names []string) ([]adminapi.Policy, error) {
	var all adminapi.Policies
	if err := s.get(cmd.Context(), "/v1/policies", &all); err != nil {
		return nil, err
	}
	all.Items = slices.DeleteFunc(all.Items, func(p adminapi.Policy) bool { return namespace != "" && p.Namespace != namespace })
	if len(names) == 0 {
		return all.Items, nil
	}
	out := []adminapi.Policy{}
	for _, n := range names {
		before := len(out)
		for _, p := range all.Items {
			if n == p.Name || n == label(p) || strings.EqualFold(n, p.Kind+"/"+p.Namespace+"/"+p.Name) {
				out = append(out, p)
			}
		}
		if len(out) == before {
			return nil, fmt.Errorf("no policy %q\nhint: meshctl policy get lists them", n)
		}
	}
	return out, nil
}

// showDocuments prints the documents themselves, as they would be applied.
func (s *session) showDocuments(items []adminapi.Policy) error {
	docs := []json.RawMessage{}
	for _, p := range items {
		if p.Document != nil {
			docs = append(docs, p.Document)
		}
	}
	if s.output == "json" {
		return s.showJSON(docs)
	}
	for i, d := range docs {
		raw, err := yaml.JSONToYAML(d)
		if err != nil {
			return fmt.Errorf("write YAML: %w", err)
		}
		if i > 0 {
			fmt.Fprintln(s.Out, "---")
		}
		if _, err := s.Out.Write(raw); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) policyDescribe() *cobra.Command {
	return &cobra.Command{
		Use: "describe NAME", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completePolicies,
		Short:   "Show one policy: targets, what became of it, which sidecars refused it, the document",
		Example: `  meshctl policy describe orders`,
		RunE: func(cmd *cobra.Command, args []string) error {
			items, err := s.policies(cmd, "", args)
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
}

func (s *session) describe(p adminapi.Policy, proxies []adminapi.Proxy, findings []mesh.Finding) error {
	t := table{head: []string{"FIELD", "VALUE"}}
	row := func(k, v string) { t.rows = append(t.rows, []string{k, v}) }
	row("policy", label(p))
	row("generation", generation(p))
	row("source", p.Source)
	row("targets", strings.Join(p.Targets, ", "))
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
