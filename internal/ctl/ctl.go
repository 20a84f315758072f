// Package ctl is meshctl: each command is a function of its arguments, the
// environment and three streams, so that tests run it as users do.
package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes. Those from 64 on are of sysexits.h, those from 79 on Meshlite's own.
const (
	ExitOK          = 0
	ExitFailure     = 1
	ExitUsage       = 64 // a flag, an argument or a command that does not exist
	ExitBadInput    = 65 // a document with faults
	ExitUnreachable = 69 // no answer from the server
	ExitFindings    = 79 // the question was answered, and something needs attention
	ExitRolledBack  = 80 // the rollout is not in force, or not any more
	ExitHeld        = 81 // the rollout waits for `rollout commit`
	ExitHeuristic   = 82 // the rollout was decided, and not all of it held
	ExitUndecided   = 83 // the rollout goes on
)

// IO is what a command may touch of the process it runs in.
type IO struct {
	In     io.Reader
	Out    io.Writer // data
	Err    io.Writer // hints, warnings, errors
	Getenv func(string) (string, bool)
}

// exitError ends a command with a code of its own. A nil Err prints nothing:
// the command has said all.
type exitError struct {
	Code int
	Err  error
}

// Error implements error.
func (e *exitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap implements errors.Unwrap.
func (e *exitError) Unwrap() error { return e.Err }

func usagef(format string, args ...any) error {
	return &exitError{ExitUsage, fmt.Errorf(format, args...)}
}

// Run runs meshctl with args (without the program's name) and returns its exit
// code. Data goes to stdio.Out, all else to stdio.Err.
func Run(ctx context.Context, args []string, stdio IO) int {
	root := New(stdio) //nolint:contextcheck // commands take the context of ExecuteContext
	root.SetArgs(args)
	root.SetIn(stdio.In)
	root.SetOut(stdio.Out)
	root.SetErr(stdio.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = &exitError{ExitFailure, err}
		if isUsage(err) {
			exit.Code = ExitUsage
		}
	}
	if exit.Err != nil {
		fmt.Fprintf(stdio.Err, "meshctl: %v\n", exit.Err)
	}
	return exit.Code
}

// isUsage tells the errors that cobra itself makes of a command line.
func isUsage(err error) bool {
	for _, prefix := range []string{"unknown command", "unknown flag", "unknown shorthand flag", "required flag(s)", "flag needs an argument", "invalid argument", "accepts ", "requires at least", "requires at most", "if any flags in the group", "bad flag syntax"} {
		if strings.HasPrefix(err.Error(), prefix) {
			return true
		}
	}
	return false
}

// New returns the tree of commands, for Run and for the generated reference.
func New(stdio IO) *cobra.Command {
	s := &session{IO: stdio}
	root := &cobra.Command{
		Use:           "meshctl",
		Short:         "See and steer a Meshlite service mesh",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return s.checkOutput()
		},
	}
	s.flags(root.PersistentFlags())
	for flag, complete := range map[string]cobra.CompletionFunc{
		"context": s.contextNames,
		"output":  cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp),
	} {
		_ = root.RegisterFlagCompletionFunc(flag, complete) // the flags are there: see above
	}
	root.AddCommand(s.serviceCmd(), s.proxyCmd(), s.policyCmd(), s.rolloutCmd(), s.txnCmd(), s.eventsCmd(), s.freezeCmd(), s.doctorCmd(), s.configCmd(), s.versionCmd())
	return root
}

// group is a command that only holds others: alone it shows its help, and a
// word that it does not know is a usage error.
func group(use, short string, aliases ...string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Aliases: aliases, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
}
