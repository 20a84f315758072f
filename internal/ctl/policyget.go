package ctl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
)

// picked are the flags by which get and describe choose documents.
type picked struct {
	namespace string
	all       bool
	selector  string
}

func (p *picked) flags(s *session, cmd *cobra.Command) {
	s.namespaceFlag(cmd, &p.namespace, "only this namespace (default all, or the context's)")
	cmd.Flags().BoolVarP(&p.all, "all-namespaces", "A", false, "every namespace, whatever the context says")
	cmd.MarkFlagsMutuallyExclusive("namespace", "all-namespaces")
	cmd.Flags().StringVarP(&p.selector, "selector", "l", "", "only with these labels: KEY=VALUE, KEY!=VALUE, KEY in (VALUE,…), KEY notin (…), KEY, !KEY; commas between")
}

// chooses is what -l says; no NAME goes with it.
func (p *picked) chooses(chosen []ref) (policy.Selector, error) {
	by, err := policy.ParseSelector(p.selector)
	if err != nil {
		return by, usagef("--selector: %w", err)
	}
	named := func(r ref) bool { return r.Name != "" }
	if at := slices.IndexFunc(chosen, named); at >= 0 && p.selector != "" {
		return by, usagef("%q is a name, and --selector chooses by labels; give one of the two", chosen[at].text)
	}
	return by, nil
}

// namespaceFlag adds -n, with completion.
func (s *session) namespaceFlag(cmd *cobra.Command, into *string, usage string) {
	cmd.Flags().StringVarP(into, "namespace", "n", "", usage)
	_ = cmd.RegisterFlagCompletionFunc("namespace", s.completeNamespaces) // the flag is there: see above
}

func (s *session) policyGet() *cobra.Command {
	var p picked
	cmd := &cobra.Command{
		Use: "get [NAME… | KIND[,KIND…] [NAME…] | KIND/NAME…]", ValidArgsFunction: s.completePolicies,
		Short: "List policies with what became of each; the built-in one comes first",
		Long: `List policies with what became of each; the built-in one, mesh-default, comes first. KIND
is a full name, a plural or a short name (rp, tr, es).

  ACCEPTED    it is in force, or in shadow
  PROGRAMMED  it is part of what sidecars are sent
  ENFORCED    every sidecar runs it
  AGE         since it is as ACCEPTED says

What is not True is explained in the last column. The documents in force come with
-o yaml or -o json; what stands there can be edited and applied again.

-l chooses by labels as kubectl does, on every carrier: those in metadata.labels where
the document is written now, whichever version is in force. -o wide shows them.`,
		Example: `  meshctl policy get
  meshctl policy get tr -n shop -o wide
  meshctl policy get -l team=shop,tier!=web
  meshctl policy get rp/orders -o yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			items, err := s.policies(cmd, p, args)
			if err != nil {
				return err
			}
			if s.structured() {
				return s.showDocuments(items)
			}
			return s.show(items, policyTable(items))
		},
	}
	p.flags(s, cmd)
	return cmd
}

func policyTable(items []adminapi.Policy) table {
	onto := "SERVICE" // what every kind but ResiliencePolicy is about
	if len(items) == 0 || slices.ContainsFunc(items, func(p adminapi.Policy) bool { return p.Kind == policy.KindResiliencePolicy }) {
		onto = "TARGET"
	}
	t := table{
		head:  []string{"KIND", "NAMESPACE", "NAME", onto, "ACCEPTED", "PROGRAMMED", "ENFORCED", "AGE", "+GENERATION", "+IN-FORCE", "+SOURCE", "+LABELS", "MESSAGE"},
		empty: "no such policy",
	}
	for _, p := range items {
		target := targets(p)
		if onto == "SERVICE" {
			target = strings.TrimPrefix(target, "Service/")
		}
		t.add(label(p), mesh.ShortKind(p.Kind), p.Namespace, p.Name, target,
			statusOf(p, policy.ConditionAccepted), statusOf(p, policy.ConditionProgrammed), statusOf(p, policy.ConditionEnforced), age(p),
			generation(p.Generation), generation(p.InForceGeneration), p.Source, pairs(p.Labels), trouble(p))
	}
	return t
}

// targets are what the document says they are, where the server tells none.
func targets(p adminapi.Policy) string {
	var doc struct {
		Spec struct {
			Service string `json:"service"`
			Handler struct {
				Service string `json:"service"`
			} `json:"handler"`
		} `json:"spec"`
	}
	switch {
	case len(p.Targets) > 0 || p.Kind == policy.KindResiliencePolicy || json.Unmarshal(p.Document, &doc) != nil:
		return strings.Join(p.Targets, ",")
	case doc.Spec.Handler.Service != "":
		return "Service/" + doc.Spec.Handler.Service
	}
	return "Service/" + doc.Spec.Service
}

// statusOf is that of a condition: True, False, Unknown, or "".
func statusOf(p adminapi.Policy, name string) string {
	if c, ok := conditionOf(p, name); ok {
		return c.Status
	}
	switch {
	case name != policy.ConditionAccepted || p.Accepted == "":
		return ""
	case p.Accepted == "Accepted":
		return "True"
	}
	return "False"
}

// age is since when the document is as its condition Accepted says.
func age(p adminapi.Policy) string {
	c, ok := conditionOf(p, policy.ConditionAccepted)
	if !ok || c.LastTransitionTime.IsZero() {
		return ""
	}
	return ago(c.LastTransitionTime)
}

// trouble is what keeps the first condition from being True.
func trouble(p adminapi.Policy) string {
	for _, name := range []string{policy.ConditionAccepted, policy.ConditionResolvedRefs, policy.ConditionProgrammed, policy.ConditionEnforced} {
		if c, ok := conditionOf(p, name); ok && c.Status != "True" {
			return strings.TrimPrefix(because(c), ": ")
		}
	}
	if p.Accepted != "" && p.Accepted != "Accepted" && p.Message != "" {
		return p.Accepted + ": " + p.Message
	}
	return p.Message
}

func generation(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// label names a document as everywhere: "rp/default/orders".
func label(p adminapi.Policy) string {
	if p.Namespace == "" {
		return p.Name
	}
	return mesh.ShortKind(p.Kind) + "/" + p.Namespace + "/" + p.Name
}

func keyOf(p adminapi.Policy) policy.Key {
	return policy.Key{Kind: p.Kind, Namespace: p.Namespace, Name: p.Name}
}

// policies reads the documents that args choose; a name that chooses none is
// an error.
func (s *session) policies(cmd *cobra.Command, p picked, args []string) ([]adminapi.Policy, error) {
	namespace, err := s.scope(p)
	if err != nil {
		return nil, err
	}
	chosen, err := refs(args, namespace)
	if err != nil {
		return nil, err
	}
	by, err := p.chooses(chosen)
	if err != nil {
		return nil, err
	}
	if len(chosen) == 0 {
		chosen = []ref{{Key: policy.Key{Namespace: namespace}}}
	}
	var all adminapi.Policies
	if err := s.get(cmd.Context(), "/v1/policies", &all); err != nil {
		return nil, err
	}
	out := []adminapi.Policy{}
	for _, r := range chosen {
		found := false
		for _, item := range all.Items {
			if r.has(keyOf(item)) && by.Matches(item.Labels) {
				out, found = append(out, item), true
			}
		}
		if !found && r.Name != "" {
			return nil, fmt.Errorf("no policy %q%s\nhint: meshctl policy get -A lists them", r.text, inNamespace(r.Namespace))
		}
	}
	return out, nil
}

// scope is the namespace of names without one; "" is any.
func (s *session) scope(p picked) (string, error) {
	if p.all {
		return "", nil
	}
	return s.namespace(p.namespace, "")
}

func inNamespace(namespace string) string {
	if namespace == "" {
		return ""
	}
	return " in namespace " + namespace
}

// showDocuments prints the documents as kubectl does: as they would be
// applied, with what became of them, which apply leaves out.
func (s *session) showDocuments(items []adminapi.Policy) error {
	docs := []json.RawMessage{}
	for _, p := range items {
		if p.Document == nil {
			continue
		}
		doc, err := object(p)
		if err != nil {
			return err
		}
		docs = append(docs, doc)
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

// object is a document with its generation and status.
func object(p adminapi.Policy) (json.RawMessage, error) {
	var doc map[string]any
	d := json.NewDecoder(bytes.NewReader(p.Document))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("read %s: %w", label(p), err)
	}
	if meta, ok := doc["metadata"].(map[string]any); ok && p.Generation > 0 {
		meta["generation"] = p.Generation
		if len(p.Labels) > 0 {
			meta["labels"] = p.Labels
		}
	}
	if len(p.Conditions) > 0 {
		status := map[string]any{"conditions": p.Conditions}
		if p.InForceGeneration > 0 {
			status["inForceGeneration"] = p.InForceGeneration
		}
		if len(p.Ancestors) > 0 {
			status["ancestors"] = p.Ancestors
		}
		doc["status"] = status
	}
	out, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", label(p), err)
	}
	return out, nil
}
