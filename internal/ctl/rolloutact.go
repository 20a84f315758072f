package ctl

import (
	"cmp"
	"fmt"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/admin/adminapi"
)

// rolloutFlags are how a rollout goes; what is not given is the server's.
type rolloutFlags struct {
	mode, canary, maxFailed, quorum string
	bake, confirm                   time.Duration
	skipVote                        bool
}

func (f *rolloutFlags) flags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.mode, "mode", "", "auto: commit after the vote; hold: after the vote a person commits; direct: commit without asking")
	fs.StringVar(&f.canary, "canary", "", "serve it to some first: a share such as 10%, or a label KEY=VALUE; none: to nobody")
	fs.DurationVar(&f.bake, "bake", 0, "how long the canary serves it before its errors are judged")
	fs.DurationVar(&f.confirm, "confirm-timeout", 0, "undo it unless it is confirmed so soon after the commit; 0s: no confirmation")
	fs.BoolVar(&f.skipVote, "skip-vote", false, "do not ask the sidecars: for emergencies, and written down as such")
	fs.StringVar(&f.maxFailed, "max-failed", "", "undo it when more refuse after the commit: 2, 1%, or both as in 2,1%")
	fs.StringVar(&f.quorum, "quorum", "", "share of the voters, beyond one of each build, whose yes it takes: 95%")
	for flag, words := range map[string][]string{
		"mode": {adminapi.ModeAuto, adminapi.ModeHold, adminapi.ModeDirect}, "canary": {"1%", "10%", "none"},
	} {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // the flags are there: see above
	}
}

// options are those that were given, checked as far as one can without the
// server's.
func (f *rolloutFlags) options(cmd *cobra.Command) (adminapi.RolloutOptions, error) {
	var o adminapi.RolloutOptions
	given := cmd.Flags().Changed
	if given("mode") {
		o.Mode = &f.mode
	}
	if given("canary") {
		canary := strings.TrimSuffix(f.canary, "none")
		o.Canary = &canary
	}
	if given("bake") {
		o.Bake = (*adminapi.Duration)(&f.bake)
	}
	if given("confirm-timeout") {
		o.ConfirmTimeout = (*adminapi.Duration)(&f.confirm)
	}
	if given("skip-vote") {
		o.SkipVote = &f.skipVote
	}
	if given("max-failed") {
		o.MaxFailed = new(adminapi.MaxFailed)
		if err := o.MaxFailed.UnmarshalText([]byte(f.maxFailed)); err != nil {
			return o, usagef("--max-failed: %w", err)
		}
	}
	if given("quorum") {
		n, err := percent(f.quorum)
		if err != nil {
			return o, usagef("--quorum: %w", err)
		}
		o.Quorum = &n
	}
	if err := o.Over(adminapi.DefaultRolloutSettings()).Validate(); err != nil {
		return o, &exitError{ExitUsage, err}
	}
	return o, nil
}

// percent reads "95%" or "95".
func percent(text string) (n int, err error) {
	var rest string
	if got, _ := fmt.Sscanf(strings.TrimSuffix(text, "%")+" .", "%d %s", &n, &rest); got != 2 || rest != "." || n < 0 || n > 100 {
		return 0, fmt.Errorf("%.64q: must be 0%% to 100%%", text)
	}
	return n, nil
}

// by is who asks, as far as anything tells.
func (s *session) by() string {
	name, _ := s.Getenv("USER")
	login, _ := s.Getenv("LOGNAME")
	return cmp.Or(name, login, account())
}

// account is whose process this is, where the environment does not say: a break-glass
// without a name helps nobody.
func account() string {
	u, err := user.Current()
	if err != nil {
		return "" // then nobody knows
	}
	return u.Username
}

func (s *session) rolloutStart() *cobra.Command {
	var f rolloutFlags
	var w watching
	var req adminapi.StartRequest
	cmd := &cobra.Command{
		Use: "start", Args: cobra.NoArgs,
		Short: "Begin a rollout of what waits, or say how the next one goes",
		Long: `Begin a rollout of what waits: changes behind a rollout that is open, or whose last one
found no quorum, or, with --retry, documents that a rollout refused. Where nothing waits
the flags are kept for the next change set, and for that one alone: start first, then
apply. Rollouts begin by themselves; this is for those that are to go another way than the
server's flags say. What a flag does not say is the server's.

--id names it, so that a command that is repeated starts nothing twice.
` + exitHelp,
		Example: `  meshctl rollout start --canary 10% --bake 5m
  meshctl rollout start --mode hold
  meshctl rollout start --confirm-timeout 10m --canary zone=eu-1
  meshctl rollout start --retry -w`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if req.Options, err = f.options(cmd); err != nil {
				return err
			}
			req.By = s.by()
			var out adminapi.StartResponse
			if err := s.order(cmd, "/v1/rollouts", req, &out); err != nil {
				return err
			}
			if out.Rollout == nil {
				return s.armed(cmd, out, w)
			}
			return s.begun(cmd, out, *out.Rollout, w)
		},
	}
	f.flags(cmd)
	w.flags(cmd)
	cmd.Flags().StringVar(&req.ID, "id", "", "the rollout's name: up to 64 letters, digits, \"-\", \".\" or \"_\" (default: the server makes one)")
	cmd.Flags().BoolVar(&req.Retry, "retry", false, "take what rollouts refused once more")
	return cmd
}

// armed says how the next rollout goes.
func (s *session) armed(cmd *cobra.Command, out adminapi.StartResponse, w watching) error {
	if s.structured() && !w.on {
		return s.show(out, table{})
	}
	var all adminapi.Rollouts
	if err := s.get(cmd.Context(), "/v1/rollouts", &all); err != nil {
		return err
	}
	if w.on {
		return s.next(cmd.Context(), all, w.limit)
	}
	var next adminapi.RolloutOptions
	if out.Next != nil {
		next = *out.Next
	}
	_, err := fmt.Fprintf(s.Out, "nothing waits; the next change set goes so: %s\n", manner(next.Over(all.Settings)))
	return err
}

// begun tells of a rollout that began, and follows it where that is asked for.
func (s *session) begun(cmd *cobra.Command, doc any, r adminapi.Rollout, w watching) error {
	if w.on {
		s.hint("rollout %s", r.ID)
		return s.follow(cmd.Context(), &r, "", w.limit)
	}
	t := table{names: []string{r.ID}}
	if s.structured() || s.output == "name" {
		return s.show(doc, t)
	}
	_, err := fmt.Fprintf(s.Out, "rollout %s begins: %s\n", r.ID, documentsOf(r))
	return err
}

func (s *session) rolloutUndo() *cobra.Command {
	var f rolloutFlags
	var w watching
	var req adminapi.UndoRequest
	cmd := &cobra.Command{
		Use: "undo", Args: cobra.NoArgs,
		Short: "Go back to the revision before, or to an earlier one, by a rollout",
		Long: `Go back to the revision before that in force, or to the one that --to-revision names, by a
rollout with a vote like any other. The documents that it takes back stay pinned as they
were then, whatever the carrier holds, until they are edited or "rollout start --retry"
takes them again: put the carrier right as well.
` + exitHelp,
		Example: `  meshctl rollout undo -w
  meshctl rollout undo --to-revision 11
  meshctl rollout undo --skip-vote`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if req.Options, err = f.options(cmd); err != nil {
				return err
			}
			req.By = s.by()
			var r adminapi.Rollout
			if err := s.order(cmd, "/v1/rollouts/undo", req, &r); err != nil {
				return err
			}
			return s.begun(cmd, r, r, w)
		},
	}
	f.flags(cmd)
	w.flags(cmd)
	cmd.Flags().StringVar(&req.ToRevision, "to-revision", "", "a number or a hash of `meshctl rollout list --revisions`")
	cmd.Flags().StringVar(&req.ID, "id", "", "the rollout's name (default: the server makes one)")
	_ = cmd.RegisterFlagCompletionFunc("to-revision", s.revisionNames) // the flag is there: see above
	return cmd
}

// decisions say of each verb what it does, and what was done.
var decisions = map[adminapi.RolloutVerb]struct{ short, long, done, past string }{
	adminapi.VerbCommit: {
		"Put a rollout in force that is held after its vote",
		`Put a rollout in force that is held after its vote, that of ID or the one that is.`,
		"is committed", adminapi.PhaseHeld,
	},
	adminapi.VerbConfirm: {
		"Keep a rollout that would be undone otherwise",
		`Keep a rollout that was committed with --confirm-timeout: unless that comes in time it is
undone. That of ID, or the one that waits for it.`,
		"is confirmed", adminapi.PhaseConfirming,
	},
	adminapi.VerbAbort: {
		"End a rollout that is not in force, or undo one that is not confirmed",
		`End a rollout that is not in force yet, or undo one that is not confirmed: that of ID,
or the newest that goes on. Its documents stay pinned as they are in force until they are edited,
or "rollout start --retry" takes them again.`,
		"is aborted", adminapi.PhaseConfirming,
	},
	adminapi.VerbResolve: {
		"Close a HEURISTIC rollout as it is",
		`Close a HEURISTIC rollout as it is, once somebody has looked: it was decided, and not all
of it held. That of ID, or the newest that is not closed. It stays HEURISTIC in the history.`,
		"is closed as it is", "",
	},
}

// awaiting is the rollout that waits for verb, the newest where none does.
func awaiting(items []adminapi.Rollout, verb adminapi.RolloutVerb) *adminapi.Rollout {
	for i := range items {
		r := &items[i]
		switch {
		case verb == adminapi.VerbCommit && r.Phase == adminapi.PhaseHeld,
			verb == adminapi.VerbConfirm && r.Phase == adminapi.PhaseConfirming,
			verb == adminapi.VerbAbort && r.Open(),
			verb == adminapi.VerbResolve && r.State == adminapi.Heuristic && r.ResolvedBy == "":
			return r
		}
	}
	return &items[0]
}

func (s *session) rolloutDecide(verb adminapi.RolloutVerb) *cobra.Command {
	var w watching
	var reason string
	d := decisions[verb]
	cmd := &cobra.Command{
		Use: string(verb) + " [ID]", Args: cobra.MaximumNArgs(1), ValidArgsFunction: s.completeRollouts,
		Short: d.short, Long: d.long,
		Example: fmt.Sprintf("  meshctl rollout %s\n  meshctl rollout %s r12-3f9c2a1b --reason \"looked at the dashboards\"", verb, verb),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, r, err := s.pick(cmd.Context(), args)
			switch {
			case err != nil:
				return err
			case r == nil:
				return errNoRollouts
			case len(args) == 0:
				r = awaiting(all.Items, verb)
			}
			req := adminapi.DecideRequest{By: s.by(), Reason: reason}
			var now adminapi.Rollout
			if err := s.order(cmd, rolloutPath(r.ID, "/"+string(verb)), req, &now); err != nil {
				return err
			}
			switch {
			case w.on:
				return s.follow(cmd.Context(), &now, d.past, w.limit)
			case s.structured() || s.output == "name":
				return s.show(now, table{names: []string{now.ID}})
			}
			_, err = fmt.Fprintf(s.Out, "rollout %s %s\n", now.ID, d.done)
			return err
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log")
	if verb != adminapi.VerbResolve {
		w.flags(cmd)
	}
	return cmd
}
