package ctl

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
)

func (s *session) policyCmd() *cobra.Command {
	cmd := group("policy", "Write policies, check them, and see which one decides what", "policies", "pol")
	s.carrierFlags(cmd.PersistentFlags())
	_ = cmd.RegisterFlagCompletionFunc("carrier", cobra.FixedCompletions(carriers, cobra.ShellCompDirectiveNoFileComp)) // the flag is there: see above
	cmd.AddCommand(s.policyGet(), s.policyDescribe(), s.policyApply(), s.policyEdit(), s.policyDelete(),
		s.policyDiff(), s.policyValidate(), s.policyTranslate(), s.policyExplain(), s.policyAnalyze(),
		s.policySchema(), s.policyImport())
	return cmd
}

func (s *session) policyValidate() *cobra.Command {
	var from files
	cmd := &cobra.Command{
		Use: "validate -f FILE…", Args: cobra.NoArgs,
		Short: "Check policy documents as the server does, without one",
		Long: `Check policy documents as the server does, without one. FILE is a file of YAML
documents or JSON, a folder of such files, or - for stdin. Every fault is told at
once, with document, field, value and what would be right. Exit code 65 for faults.`,
		Example: `  meshctl policy validate -f policies/ -R
  kubectl get rp orders -o yaml | meshctl policy validate -f -`,
		RunE: func(*cobra.Command, []string) error {
			if err := from.given(); err != nil {
				return err
			}
			p, err := from.proposal(s.In)
			if err != nil {
				return err
			}
			return s.verdict(p)
		},
	}
	from.flags(cmd, "file, folder, or - for stdin; repeatable")
	return cmd
}

// verdict is what validate prints.
type verdict struct {
	Valid  []string      `json:"valid"` // "ResiliencePolicy/default/orders"
	Faults []policyFault `json:"faults"`
}

type policyFault struct {
	Source   string `json:"source"`
	Line     int    `json:"line,omitempty"`
	Document string `json:"document,omitempty"`
	Path     string `json:"path,omitempty"`
	Value    string `json:"value,omitempty"`
	Reason   string `json:"reason"`
}

func (s *session) verdict(p policy.Proposal) error {
	v := verdict{Valid: []string{}, Faults: []policyFault{}}
	for _, d := range p.Documents {
		v.Valid = append(v.Valid, d.Key.String())
	}
	for _, r := range p.Refused {
		for _, f := range r.Faults {
			out := policyFault{Source: f.Source, Line: f.Line, Path: f.Path, Value: f.Value, Reason: f.Reason}
			if f.Key != (policy.Key{}) {
				out.Document = f.Key.String()
			}
			v.Faults = append(v.Faults, out)
			if !s.structured() {
				s.hint("%v", f)
			}
		}
	}
	switch {
	case s.structured():
		if err := s.show(v, table{}); err != nil {
			return err
		}
	default:
		for _, d := range v.Valid {
			fmt.Fprintf(s.Out, "%s is valid\n", d)
		}
	}
	switch {
	case len(v.Faults) > 0:
		return &exitError{ExitBadInput, fmt.Errorf("%s in %d of %d documents", count(len(v.Faults), "fault"), len(p.Refused), len(p.Refused)+len(p.Documents))}
	case len(v.Valid) == 0:
		s.hint("no document in it")
	}
	return nil
}

func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

func (s *session) policyExplain() *cobra.Command {
	var from, path, field string
	cmd := &cobra.Command{
		Use: "explain SERVICE", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeServices,
		Short: "Show every value in force for a service, and the document it comes from",
		Example: `  meshctl policy explain orders
  meshctl policy explain orders --from checkout --field retry
  meshctl policy explain orders --path /api/1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"service": {args[0]}}
			for k, v := range map[string]string{"caller": from, "path": path, "field": field} {
				if v != "" {
					q.Set(k, v)
				}
			}
			var e adminapi.Explain
			if err := s.get(cmd.Context(), "/v1/explain?"+q.Encode(), &e); err != nil {
				return err
			}
			s.hintRule(e)
			t := table{head: []string{"FIELD", "VALUE", "FROM", "WHY"}}
			for _, f := range e.Fields {
				t.add(f.Field, f.Field, f.Value, origin(f.Origin), f.Why)
				if s.output == "wide" || field != "" {
					for _, l := range f.Lost {
						t.add(f.Field, "  not", l.Value, origin(l.Origin), l.Why)
					}
				}
			}
			return s.show(e, t)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "as this caller sees it")
	_ = cmd.RegisterFlagCompletionFunc("from", s.serviceNames) // the flag is there: see above
	cmd.Flags().StringVar(&path, "path", "", "for this path, by the rule that takes it")
	cmd.Flags().StringVar(&field, "field", "", "only this field and those below it, such as retry; shows what lost, too")
	return cmd
}

// hintRule says which rule the values are of, where a path was asked for.
func (s *session) hintRule(e adminapi.Explain) {
	if e.Route == "" {
		return
	}
	line := fmt.Sprintf("no rule of %s takes %s", e.Route, e.Path)
	if e.Rule != "" {
		line = fmt.Sprintf("rule %s of %s takes %s", e.Rule, e.Route, e.Path)
	}
	if len(e.Sooner) > 0 {
		line += ", unless these take it by further conditions: " + strings.Join(e.Sooner, ", ")
	}
	s.hint("%s", line)
}

func origin(o adminapi.ExplainOrigin) string {
	if o.Kind == "" {
		return o.Name
	}
	return mesh.DocumentRef{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, Generation: o.Generation}.String()
}
