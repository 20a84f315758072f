package ctl

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/ctl/envoy"
)

func (s *session) proxyDrain() *cobra.Command {
	var admin string
	limit := drainLimit
	cmd := &cobra.Command{
		Use: "drain PROXY", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeProxies,
		Short: "Let a sidecar finish its calls and take no new ones",
		Long: `Let a sidecar finish its calls and take no new ones: its health checks fail, its
listeners close gracefully, and the command returns when no call is under way. The
Envoy itself goes on until it is ended.

The Envoy's admin interface does this. It listens on loopback: run the command on the
sidecar's own host, or reach it otherwise and say where with --admin.`,
		Example: `  meshctl proxy drain checkout-1
  meshctl proxy drain checkout-1 --admin 127.0.0.1:15000`,
		RunE: func(cmd *cobra.Command, args []string) error {
			addr := trimAdmin(admin)
			if addr == "" {
				var err error
				if addr, err = s.adminOf(cmd, args[0]); err != nil {
					return err
				}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), limit)
			defer cancel()
			begin := time.Now()
			if err := envoy.Drain(ctx, addr); err != nil {
				return fmt.Errorf("%s at %s: %w", args[0], addr, err)
			}
			_, err := fmt.Fprintf(s.Out, "%s is drained (%s)\n", args[0], time.Since(begin).Round(time.Millisecond))
			return err
		},
	}
	cmd.Flags().StringVar(&admin, "admin", "", "the Envoy's admin interface, HOST:PORT")
	cmd.Flags().DurationVar(&limit, "drain-time", limit, "how long calls under way may take")
	return cmd
}
