package ctl

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/schema"
)

func (s *session) policyAnalyze() *cobra.Command {
	var from files
	root := compile.Default().RootNamespace
	cmd := &cobra.Command{
		Use: "analyze [-f FILE…]", Args: cobra.NoArgs,
		Short: "Look for settings that are valid and unwise",
		Long: `Look for settings that are valid and unwise: retries that exceed the timeout, 503
retried on POST, ejection that ejects nobody. Without -f the live mesh is looked at, with
it files alone, where every service that they name is taken to exist. Exit code 79 from a
warning up. The codes are listed in docs/troubleshooting.md.`,
		Example: `  meshctl policy analyze
  meshctl policy analyze -f policies/`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var found adminapi.Findings
			if len(from.names) == 0 {
				if err := s.get(cmd.Context(), "/v1/findings", &found); err != nil {
					return err
				}
				return s.showFindings(found)
			}
			docs, err := from.valid(s.In)
			if err != nil {
				return err
			}
			for _, f := range compile.Analyze(compile.Config{RootNamespace: root}, docs) {
				// Files have no generation yet.
				f.Document, f.Message = strings.ReplaceAll(f.Document, "@0", ""), strings.ReplaceAll(f.Message, "@0", "")
				found.Items = append(found.Items, f)
			}
			return s.showFindings(found)
		},
	}
	from.flags(cmd, "file, folder, or - for stdin; repeatable")
	cmd.Flags().StringVar(&root, "root-namespace", root, "with -f: the namespace that may target everything")
	return cmd
}

func (s *session) showFindings(found adminapi.Findings) error {
	t := table{
		head:  []string{"CODE", "SEVERITY", "SERVICE", "DOCUMENT", "PATH", "MESSAGE"},
		empty: "nothing found",
	}
	grave := 0
	for _, f := range found.Items {
		t.add(f.Code, f.Code, string(f.Severity), f.Service, f.Document, f.Path, f.Message)
		if f.Hint != "" {
			t.rows = append(t.rows, []string{blank, blank, blank, blank, blank, "→ " + f.Hint})
		}
		if f.Severity != mesh.Info {
			grave++
		}
	}
	if found.Items == nil {
		found.Items = []mesh.Finding{}
	}
	if err := s.show(found, t); err != nil {
		return err
	}
	if grave > 0 {
		return &exitError{ExitFindings, fmt.Errorf("%s from warning up", count(grave, "finding"))}
	}
	return nil
}

func (s *session) policySchema() *cobra.Command {
	return &cobra.Command{
		Use: "schema [KIND]", Args: cobra.MaximumNArgs(1),
		Short: "Print the JSON Schema of a kind, for editors",
		Long: `Print the JSON Schema of a kind (default ResiliencePolicy), for editors that complete and
check YAML. It is the schema of the CRD; the rules across fields are left out, which JSON
Schema cannot say: "meshctl policy validate" knows them.`,
		Example: `  meshctl policy schema > resiliencepolicy.schema.json
  meshctl policy schema tr -o yaml`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return policy.Kinds(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			kind := policy.KindResiliencePolicy
			if len(args) == 1 {
				var ok bool
				if kind, ok = kindNamed(args[0]); !ok {
					return usagef("no kind %q; use %s", args[0], strings.Join(policy.Kinds(), ", "))
				}
			}
			raw, ok := schema.JSONSchema(kind)
			if !ok {
				return fmt.Errorf("the schema of %s cannot be written", kind)
			}
			if s.output == "yaml" {
				text, err := yaml.JSONToYAML(raw)
				if err != nil {
					return fmt.Errorf("write YAML: %w", err)
				}
				raw = text
				_, err = s.Out.Write(raw)
				return err
			}
			return s.showJSON(json.RawMessage(raw))
		},
	}
}
