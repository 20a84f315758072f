package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/ctl/envoy"
	"meshlite.dev/internal/xds/bootstrap"
)

func newProxyRun(stdio IO) *cobra.Command {
	var cfg bootstrap.Config
	run := envoy.Config{Path: "envoy", DrainTime: 30 * time.Second}
	cmd := &cobra.Command{
		Use:   "run --service SERVICE --id ID [-- ENVOY-FLAG…]",
		Short: "Run a sidecar: start Envoy, tell when it is ready, drain it on SIGTERM",
		Long: `Start an Envoy with the bootstrap that "meshctl proxy bootstrap" prints, and stay
until it ends. "ready" is told once the first complete configuration is in force;
Envoy's ports are closed before.

SIGTERM or SIGINT drains: health checks fail, connections are asked to close, calls
under way may end within --drain-time. A second signal ends Envoy at once. The exit
code is Envoy's own; 0 after a drain.`,
		Example: `  meshctl proxy run --service checkout --id checkout-1 --upstream orders=9001
  meshctl proxy run --service checkout --id checkout-1 -- --log-level debug`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 0 && len(args) > 0 {
				return usagef("unexpected argument %q: flags for Envoy stand behind --", args[0])
			}
			if err := cfg.Validate(); err != nil {
				return &exitError{ExitUsage, err}
			}
			out, err := cfg.YAML()
			if err != nil {
				return err
			}
			run.Bootstrap, run.Args, run.AdminPort = out, args, cfg.AdminPort
			run.Out, run.Err = stdio.Out, stdio.Err
			return exitOf(envoy.Run(cmd.Context(), run))
		},
	}
	bootstrapFlags(cmd.Flags(), &cfg)
	cmd.Flags().StringVar(&run.Path, "envoy", run.Path, "the Envoy to start, looked up on PATH")
	cmd.Flags().DurationVar(&run.DrainTime, "drain-time", run.DrainTime, "how long calls under way may take after SIGTERM")
	return cmd
}

// exitOf hands Envoy's exit code on.
func exitOf(err error) error {
	var ended *envoy.ExitError
	switch {
	case errors.As(err, &ended):
		return &exitError{ended.Code, err}
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w; install Envoy, or name it with --envoy", err)
	case errors.Is(err, context.Canceled):
		return nil
	}
	return err
}
