package ctl

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/ctl/envoy"
)

func newProxyReady(stdio IO) *cobra.Command {
	admin, limit := "127.0.0.1:15000", time.Second
	cmd := &cobra.Command{
		Use: "ready", Args: cobra.NoArgs,
		Short: "Tell whether the sidecar on this host has its first configuration",
		Long: `Tell whether the sidecar on this host has its first configuration: its Envoy is
LIVE then, and calls through it succeed. For the probe of a container, or a script
that starts a service after its sidecar. Exit code 1 when it is not within --timeout.`,
		Example: `  meshctl proxy ready --timeout 30s && exec ./checkout`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), limit)
			defer cancel()
			if envoy.Ready(ctx, trimAdmin(admin)) != nil {
				return fmt.Errorf("the Envoy at %s is not ready after %s", trimAdmin(admin), limit)
			}
			_, err := fmt.Fprintln(stdio.Out, "ready")
			return err
		},
	}
	cmd.Flags().StringVar(&admin, "admin", admin, "the Envoy's admin interface, HOST:PORT")
	cmd.Flags().DurationVar(&limit, "timeout", limit, "how long to wait")
	return cmd
}
