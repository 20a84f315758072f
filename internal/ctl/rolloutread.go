package ctl

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/admin/adminapi"
)

func (s *session) rolloutList() *cobra.Command {
	var limit int
	var revisions bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls", "history"}, Args: cobra.NoArgs,
		Short: "List rollouts, newest first, or the revisions that were in force",
		Example: `  meshctl rollout list
  meshctl rollout list --limit 5 -o wide
  meshctl rollout list --revisions`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usagef("--limit is %d; use 1 or more", limit)
			}
			if revisions {
				return s.listRevisions(cmd, limit)
			}
			var all adminapi.Rollouts
			if err := s.get(cmd.Context(), "/v1/rollouts", &all); err != nil {
				return err
			}
			all.Items = all.Items[:min(len(all.Items), limit)]
			return s.show(all, rolloutTable(all.Items))
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many; the server keeps 100")
	cmd.Flags().BoolVar(&revisions, "revisions", false, "those that were in force, for undo and diff")
	return cmd
}

func rolloutTable(items []adminapi.Rollout) table {
	t := table{
		head:  []string{"ID", "STATE", "PHASE", "REVISION", "VOTES", "CHANGES", "AGE", "+BY", "+SOURCE", "+MODE", "+SKEW", "MESSAGE"},
		empty: "no rollouts yet",
	}
	for _, r := range items {
		skew := ""
		if r.Skew > 0 {
			skew = time.Duration(r.Skew).Round(time.Millisecond).String()
		}
		t.add(r.ID, r.ID, stateOf(r), r.Phase, arrow(r), fraction(r.Votes), documentsOf(r), ago(r.Started), r.By, r.Source, r.Settings.Mode, skew, r.Reason)
	}
	return t
}

// stateOf is the state, with what came of it later.
func stateOf(r adminapi.Rollout) string {
	if r.UndoneBy != "" {
		return r.State + ", undone"
	}
	return r.State
}

// revisionLabel is a revision as people see it: "12 (3f9c2a1b)".
func revisionLabel(r adminapi.RevisionRef) string {
	switch {
	case r.Hash == "":
		return fmt.Sprintf("%d (mesh-default)", r.Number)
	case r.Number == 0:
		return fmt.Sprintf("(%.8s)", r.Hash)
	}
	return fmt.Sprintf("%d (%.8s)", r.Number, r.Hash)
}

// arrow shows which revision follows which.
func arrow(r adminapi.Rollout) string {
	return fmt.Sprintf("%d → %s", r.From.Number, revisionLabel(r.To))
}

// fraction is "8/10", or "" where nobody votes.
func fraction(v adminapi.VoteCount) string {
	if v.Voters == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", v.Yes, v.Voters)
}

// documentsOf names what a rollout changes.
func documentsOf(r adminapi.Rollout) string {
	var names []string
	for _, c := range r.Changes {
		names = append(names, changeOf(c))
	}
	return several(names)
}

// changeOf is "rp/default/orders@3", with what happens to it unless it changes.
func changeOf(c adminapi.RolloutChange) string {
	name := shortName(c.Document)
	switch c.Change {
	case "add":
		return fmt.Sprintf("%s@%d (new)", name, c.To)
	case "remove":
		return name + " (removed)"
	}
	return fmt.Sprintf("%s@%d", name, c.To)
}

func (s *session) listRevisions(cmd *cobra.Command, limit int) error {
	var all adminapi.Revisions
	if err := s.get(cmd.Context(), "/v1/revisions", &all); err != nil {
		return err
	}
	all.Items = all.Items[:min(len(all.Items), limit)]
	t := table{head: []string{"REVISION", "HASH", "IN FORCE", "AGE", "CHANGES", "ROLLOUT", "+BY", "+SOURCE"}, empty: "no revisions yet"}
	for _, r := range all.Items {
		in := ""
		if r.InForce {
			in = "yes"
		}
		hash := r.Hash
		if s.output != "wide" {
			hash = fmt.Sprintf("%.8s", hash)
		}
		t.add(fmt.Sprint(r.Number), fmt.Sprint(r.Number), hash, in, ago(r.At), documentsOf(adminapi.Rollout{Changes: r.Changes}), r.Rollout, r.By, r.Source)
	}
	return s.show(all, t)
}

func (s *session) rolloutVotes() *cobra.Command {
	var only string
	cmd := &cobra.Command{
		Use: "votes [ID]", Args: cobra.MaximumNArgs(1), ValidArgsFunction: s.completeRollouts,
		Short: "Show what each sidecar said to a rollout, refusals in Envoy's words",
		Long: `Show what each sidecar said to a rollout: the newest one unless ID is given. A refusal
comes with the message that Envoy would not take, the policies that made it, and Envoy's
own words; an abstention with why nothing was heard.`,
		Example: `  meshctl rollout votes
  meshctl rollout votes --only no
  meshctl rollout votes r12-3f9c2a1b -o wide`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := s.one(cmd.Context(), args)
			if err != nil {
				return err
			}
			var v adminapi.RolloutVotes
			if err := s.get(cmd.Context(), rolloutPath(r.ID, "/votes"), &v); err != nil {
				return err
			}
			return s.showVotes(v, only)
		},
	}
	answers := []string{adminapi.VoteYes, adminapi.VoteNo, adminapi.VoteAbstain, adminapi.VoteWaiting}
	cmd.Flags().StringVar(&only, "only", "", "those of one answer: "+strings.Join(answers, ", "))
	_ = cmd.RegisterFlagCompletionFunc("only", cobra.FixedCompletions(answers, cobra.ShellCompDirectiveNoFileComp)) // the flag is there: see above
	return cmd
}

func (s *session) showVotes(v adminapi.RolloutVotes, only string) error {
	t := table{head: []string{"PROXY", "SERVICE", "BUILD", "ANSWER", "+REPLICA", "+AT", "MESSAGE"}, empty: "no such vote"}
	if v.Votes.Voters == 0 {
		t.empty = "nobody was asked: no connected proxy gets what it changes, or the vote was skipped"
	}
	shown := []adminapi.ProxyVote{}
	for _, p := range v.Items {
		if only != "" && p.Answer != only {
			continue
		}
		shown = append(shown, p)
		at := ""
		if p.At != nil {
			at = p.At.UTC().Format(time.RFC3339)
		}
		rows := [][]string{{p.Proxy, p.Service, p.Build, p.Answer, p.Replica, at, p.Text}}
		for i, f := range p.Refusals {
			words := fmt.Sprintf("%s %s, of %s: %s", f.Type, f.Resource, policies(f.Policies), f.Message)
			if i == 0 {
				rows[0][6] = words
				continue
			}
			rows = append(rows, []string{blank, blank, blank, blank, blank, blank, words})
		}
		t.names = append(t.names, p.Proxy)
		t.rows = append(t.rows, rows...)
	}
	v.Items = shown
	if err := s.show(v, t); err != nil || s.structured() || s.output == "name" || v.Votes.Voters == 0 {
		return err
	}
	s.hint("%s", tally(v.Votes))
	if v.Unlisted > 0 && only == "" {
		s.hint("%s more: the server keeps every refusal and abstention, and some of the others", count(v.Unlisted, "vote"))
	}
	return nil
}

// tally is the sum of votes in words.
func tally(v adminapi.VoteCount) string {
	out := fmt.Sprintf("%d of %d yes", v.Yes, v.Voters)
	for _, part := range []struct {
		n    int
		word string
	}{{v.No, "no"}, {v.Abstain - v.Excused, "silent"}, {v.Excused, "excused"}, {v.Waiting(), "waiting"}} {
		if part.n > 0 {
			out += fmt.Sprintf(", %d %s", part.n, part.word)
		}
	}
	return out
}

func (s *session) rolloutLog() *cobra.Command {
	return &cobra.Command{
		Use: "log [ID]", Args: cobra.MaximumNArgs(1), ValidArgsFunction: s.completeRollouts,
		Short: "Show what happened to a rollout, oldest first",
		Example: `  meshctl rollout log
  meshctl rollout log r12-3f9c2a1b -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := s.one(cmd.Context(), args)
			if err != nil {
				return err
			}
			var l adminapi.RolloutLog
			if err := s.get(cmd.Context(), rolloutPath(r.ID, "/log"), &l); err != nil {
				return err
			}
			t := table{head: []string{"TIME", "PHASE", "WHO", "+BY", "WHAT"}, empty: "nothing is recorded of it"}
			for _, e := range l.Items {
				t.add(e.At.UTC().Format(time.RFC3339Nano), e.At.Local().Format("2006-01-02 15:04:05.000"), e.Phase, e.Party, e.By, e.Text)
			}
			return s.show(l, t)
		},
	}
}
