package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/admin/adminapi"
)

// exitHelp is the part of a long help that tells the exit codes of a rollout.
const exitHelp = `
Exit code 0: committed; 80: rolled back, or undone; 81: held until somebody commits it;
82: HEURISTIC, an operator should look; 83: not decided.`

func (s *session) rolloutCmd() *cobra.Command {
	cmd := group("rollout", "Follow and steer how policies come in force on the sidecars", "rollouts", "ro")
	cmd.AddCommand(s.rolloutStart(), s.rolloutStatus(), s.rolloutList(), s.rolloutVotes(), s.rolloutLog(),
		s.rolloutDecide(adminapi.VerbCommit), s.rolloutDecide(adminapi.VerbConfirm), s.rolloutDecide(adminapi.VerbAbort),
		s.rolloutUndo(), s.rolloutDecide(adminapi.VerbResolve), s.rolloutDiff())
	return cmd
}

// orderLimit is how long a command may take, unless --request-timeout says: the
// server has it done by the replica that leads, and waits for the next one where
// that has died.
const orderLimit = 40 * time.Second

// order posts what a person decides about rollouts.
func (s *session) order(cmd *cobra.Command, path string, body, v any) error {
	patient := *s
	if !cmd.Flags().Changed("timeout") && !cmd.Flags().Changed("request-timeout") {
		patient.timeout = orderLimit
	}
	return patient.call(cmd.Context(), http.MethodPost, path, body, v)
}

// watching are the flags of commands that may wait for the end of a rollout.
type watching struct {
	on    bool
	limit time.Duration
}

func (w *watching) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&w.on, "watch", "w", false, "follow it until it is decided and the sidecars have it, or a person is awaited")
	cmd.Flags().DurationVar(&w.limit, "wait-timeout", 10*time.Minute, "how long --watch follows it")
}

func (s *session) rolloutStatus() *cobra.Command {
	var w watching
	cmd := &cobra.Command{
		Use: "status [ID]", Args: cobra.MaximumNArgs(1), ValidArgsFunction: s.completeRollouts,
		Short: "Show where a rollout stands: the newest one, or that of an id",
		Long: `Show where a rollout stands, the newest one unless ID or the begin of one is given: what it
changes, its votes, what it waits for, and how many of the proxies of all replicas run
what is in force.

With --watch, follow it: on a terminal with a bar, elsewhere a line for each phase; with
-o json a document a line. Where none is open and "rollout start" said how the next one
goes, it waits for that one.
` + exitHelp,
		Example: `  meshctl rollout status
  meshctl rollout status -w --wait-timeout 2m
  meshctl rollout status r12-3f9c2a1b -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			all, r, err := s.pick(cmd.Context(), args)
			if err != nil {
				return err
			}
			idle := len(args) == 0 && (r == nil || !r.Open()) && (all.Next != nil || all.Queued > 0)
			switch {
			case w.on && idle:
				return s.next(cmd.Context(), all, w.limit)
			case r == nil && w.on:
				return errNoRollouts
			case r == nil:
				return s.showIdle(all)
			case w.on:
				return s.follow(cmd.Context(), r, "", w.limit)
			}
			if err := s.showRollout(cmd.Context(), all, *r); err != nil {
				return err
			}
			return verdictOf(*r)
		},
	}
	w.flags(cmd)
	return cmd
}

// errNoRollouts is that nothing was ever rolled out.
var errNoRollouts = errors.New("there was no rollout yet\nhint: meshctl policy apply begins one")

// pick reads the rollouts and finds the one that args name; without args the
// newest, nil where there is none.
func (s *session) pick(ctx context.Context, args []string) (adminapi.Rollouts, *adminapi.Rollout, error) {
	var all adminapi.Rollouts
	if err := s.get(ctx, "/v1/rollouts", &all); err != nil {
		return all, nil, err
	}
	if len(args) == 0 {
		if len(all.Items) == 0 {
			return all, nil, nil
		}
		return all, &all.Items[0], nil
	}
	r, err := named(all.Items, args[0])
	return all, r, err
}

// named finds a rollout by its id or the begin of it.
func named(items []adminapi.Rollout, id string) (*adminapi.Rollout, error) {
	var found []*adminapi.Rollout
	for i := range items {
		if items[i].ID == id {
			return &items[i], nil
		}
		if strings.HasPrefix(items[i].ID, id) {
			found = append(found, &items[i])
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("no rollout %q\nhint: meshctl rollout list shows those kept", id)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("%q begins the ids of %d rollouts, %s and %s among them", id, len(found), found[0].ID, found[1].ID)
}

// one is pick where there must be one.
func (s *session) one(ctx context.Context, args []string) (*adminapi.Rollout, error) {
	_, r, err := s.pick(ctx, args)
	if err == nil && r == nil {
		err = errNoRollouts
	}
	return r, err
}

func rolloutPath(id, page string) string {
	return "/v1/rollouts/" + url.PathEscape(id) + page
}

// verdictOf is the exit code of a rollout.
func verdictOf(r adminapi.Rollout) error {
	switch {
	case r.State == adminapi.Heuristic:
		return &exitError{ExitHeuristic, fmt.Errorf("rollout %s is HEURISTIC%s\nhint: meshctl rollout log %s tells what happened; meshctl rollout resolve %s closes it", r.ID, colon(r.Reason), r.ID, r.ID)}
	case r.State == adminapi.RolledBack:
		return &exitError{ExitRolledBack, fmt.Errorf("rollout %s was rolled back%s", r.ID, colon(r.Reason))}
	case r.UndoneBy != "":
		return &exitError{ExitRolledBack, fmt.Errorf("rollout %s was undone by %s%s", r.ID, r.UndoneBy, colon(r.Reason))}
	case r.State == adminapi.Committed:
		return nil
	case r.Phase == adminapi.PhaseHeld:
		return &exitError{ExitHeld, fmt.Errorf("rollout %s is held\nhint: meshctl rollout commit %s puts it in force, meshctl rollout abort %s ends it", r.ID, r.ID, r.ID)}
	}
	return &exitError{Code: ExitUndecided}
}

func colon(text string) string {
	if text == "" {
		return ""
	}
	return ": " + oneLine(text)
}

func (s *session) completeRollouts(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var all adminapi.Rollouts
	return s.complete(cmd, "/v1/rollouts", &all, func() (names []string) {
		for _, r := range all.Items {
			names = append(names, r.ID+"\t"+r.State+" "+documentsOf(r))
		}
		return names
	})
}

func (s *session) completeRevisions(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.revisionNames(cmd, nil, "")
}

// revisionNames complete a flag, at whatever argument.
func (s *session) revisionNames(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var all adminapi.Revisions
	return s.complete(cmd, "/v1/revisions", &all, func() (names []string) {
		for _, r := range all.Items {
			names = append(names, fmt.Sprintf("%d\t%.8s %s", r.Number, r.Hash, ago(r.At)))
		}
		return names
	})
}
