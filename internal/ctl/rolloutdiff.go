package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/admin/adminapi"
)

func (s *session) rolloutDiff() *cobra.Command {
	return &cobra.Command{
		Use: "diff REVISION [REVISION]", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: s.completeRevisions,
		Short: "Compare the documents of two revisions, or of one with what is in force",
		Long: `Compare the documents of two revisions, the second that in force unless given. A revision is
a number, a hash, or its first eight digits or more: "meshctl rollout list --revisions".
Exit code 0: the same; 1: they differ; above: an error.`,
		Example: `  meshctl rollout diff 11
  meshctl rollout diff 11 12
  meshctl rollout diff 3f9c2a1b 12 -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			differ, err := s.diffRevisions(cmd.Context(), args)
			if err != nil {
				return aboveOne(err)
			}
			if differ {
				return &exitError{Code: 1}
			}
			return nil
		},
	}
}

// revisionDiff is the difference for programs.
type revisionDiff struct {
	From      adminapi.RevisionRef `json:"from"`
	To        adminapi.RevisionRef `json:"to"`
	Documents []documentDiff       `json:"documents"`
}

type documentDiff struct {
	Document string          `json:"document"`
	Change   string          `json:"change"` // add, change, remove
	Before   json.RawMessage `json:"before,omitempty"`
	After    json.RawMessage `json:"after,omitempty"`
}

func (s *session) diffRevisions(ctx context.Context, args []string) (differ bool, err error) {
	if len(args) == 1 {
		var all adminapi.Rollouts
		if err := s.get(ctx, "/v1/rollouts", &all); err != nil {
			return false, err
		}
		args = append(args, fmt.Sprint(all.InForce.Number))
	}
	var of [2]adminapi.RevisionDocuments
	for i, revision := range args {
		if err := s.get(ctx, "/v1/revisions/"+url.PathEscape(revision), &of[i]); err != nil {
			return false, err
		}
	}
	out := revisionDiff{of[0].RevisionRef, of[1].RevisionRef, compared(of[0].Documents, of[1].Documents)}
	if s.structured() {
		return len(out.Documents) > 0, s.show(out, table{})
	}
	between := sides{"revision " + revisionLabel(out.From), "revision " + revisionLabel(out.To)}
	for _, d := range out.Documents {
		text, err := difference(d.Document, between, d.Before, d.After)
		if err != nil {
			return true, err
		}
		if _, err := fmt.Fprint(s.Out, text); err != nil {
			return true, err
		}
	}
	if len(out.Documents) == 0 {
		s.hint("the same documents")
	}
	return len(out.Documents) > 0, nil
}

// compared lists the documents that differ, by name.
func compared(before, after []adminapi.RevisionDocument) []documentDiff {
	was, is := contents(before), contents(after)
	names := map[string]bool{}
	for _, set := range []map[string]json.RawMessage{was, is} {
		for name := range set {
			names[name] = true
		}
	}
	out := []documentDiff{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		d := documentDiff{Document: name, Change: "change", Before: was[name], After: is[name]}
		switch {
		case d.Before == nil:
			d.Change = "add"
		case d.After == nil:
			d.Change = "remove"
		case string(d.Before) == string(d.After):
			continue
		}
		out = append(out, d)
	}
	return out
}

func contents(documents []adminapi.RevisionDocument) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(documents))
	for _, d := range documents {
		out[d.Document] = d.Content
	}
	return out
}
