package ctl

import (
	"encoding/json"
	"fmt"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/admin/adminapi"
)

func (s *session) policyDiff() *cobra.Command {
	var from files
	cmd := &cobra.Command{
		Use: "diff -f FILE…", Args: cobra.NoArgs,
		Short: "Compare documents with those in force",
		Long:  "Compare documents with those in force, as unified diffs. Exit code 0: the same; 1: they differ; above: an error.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := from.given(); err != nil {
				return aboveOne(err)
			}
			docs, err := from.valid(s.In)
			if err != nil {
				return aboveOne(err)
			}
			var now adminapi.Policies
			if err := s.get(cmd.Context(), "/v1/policies", &now); err != nil {
				return aboveOne(err)
			}
			old := map[string]json.RawMessage{}
			for _, p := range now.Items {
				old[p.Kind+"/"+p.Namespace+"/"+p.Name] = p.Document
			}
			differ := false
			for _, d := range docs {
				text, err := difference(d.Key.String(), old[d.Key.String()], d.Canonical)
				if err != nil {
					return aboveOne(err)
				}
				differ = differ || text != ""
				fmt.Fprint(s.Out, text)
			}
			if differ {
				return &exitError{Code: 1}
			}
			return nil
		},
	}
	from.flags(cmd, "file, folder, or - for stdin; repeatable")
	return cmd
}

// difference is a unified diff of two documents as YAML; "" when they are the
// same.
func difference(name string, before, after json.RawMessage) (string, error) {
	var texts [2][]byte
	for i, raw := range []json.RawMessage{before, after} {
		if raw == nil {
			continue
		}
		text, err := yaml.JSONToYAML(raw)
		if err != nil {
			return "", fmt.Errorf("write %s as YAML: %w", name, err)
		}
		texts[i] = text
	}
	return string(diff.Diff("in force: "+name, texts[0], "given: "+name, texts[1])), nil
}
