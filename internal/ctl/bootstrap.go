package ctl

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"meshlite.dev/internal/xds/bootstrap"
)

func newProxyBootstrap(stdio IO) *cobra.Command {
	var cfg bootstrap.Config
	var env bool
	cmd := &cobra.Command{
		Use:   "bootstrap --service SERVICE --id ID",
		Short: "Print the bootstrap of a sidecar, or its variables for a shell",
		Long: `Print the configuration with which an Envoy starts as the sidecar of a service
instance. Everything else reaches it over xDS. Needs no server.

With --env, print assignments for a shell in its place: HTTP_PROXY and NO_PROXY,
so that curl, Python and Go call through the sidecar.`,
		Example: `  meshctl proxy bootstrap --service checkout --id checkout-1 > checkout-1.yaml
  envoy -c checkout-1.yaml

  eval "$(meshctl proxy bootstrap --env --service checkout --id checkout-1)"`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := cfg.Validate(); err != nil {
				return &exitError{ExitUsage, err}
			}
			if env {
				fmt.Fprint(stdio.Out, cfg.Env())
				return nil
			}
			out, err := cfg.YAML()
			if err != nil {
				return err
			}
			_, err = stdio.Out.Write(out)
			return err
		},
	}
	bootstrapFlags(cmd.Flags(), &cfg)
	cmd.Flags().BoolVar(&env, "env", false, "print variables for a shell in place of the bootstrap")
	cmd.Flags().StringSliceVar(&cfg.NoProxy, "no-proxy", nil, "with --env: more hosts that do not enter the mesh")
	return cmd
}

// bootstrapFlags are those that bootstrap and run share.
func bootstrapFlags(fs *pflag.FlagSet, c *bootstrap.Config) {
	*c = bootstrap.Default()
	fs.SortFlags = false
	fs.StringVar(&c.Service, "service", "", "the caller's own name; need not be in the catalog")
	fs.StringVar(&c.ID, "id", "", "the instance; unique in the mesh")
	fs.StringVar(&c.XDSAddr, "xds-addr", c.XDSAddr, "xds-server, HOST:PORT")
	fs.Uint16Var(&c.OutboundPort, "outbound-port", c.OutboundPort, "port on loopback for calls by Host; 0 opens none")
	fs.Uint16Var(&c.AdminPort, "admin-port", c.AdminPort, "port on loopback of Envoy's admin interface")
	fs.Var((*upstreams)(&c.Upstreams), "upstream", "a local port for one service, NAME=PORT, or NAME=PORT/tcp for one that speaks tcp; repeatable")
	fs.StringVar(&c.Region, "region", "", "where the proxy runs")
	fs.StringVar(&c.Zone, "zone", "", "where the proxy runs, within the region")
	fs.StringToStringVar(&c.Labels, "label", nil, "KEY=VALUE, by which a rollout's --canary can choose it; repeatable")
	fs.StringVar(&c.TLSCA, "tls-ca", "", "CA file that proves xds-server; turns TLS on")
	fs.StringVar(&c.TLSCert, "tls-cert", "", "certificate file of this sidecar")
	fs.StringVar(&c.TLSKey, "tls-key", "", "key file of --tls-cert")
}

// upstreams reads NAME=PORT.
type upstreams []bootstrap.Upstream

// Type implements pflag.Value.
func (*upstreams) Type() string { return "NAME=PORT" }

// String implements pflag.Value.
func (u *upstreams) String() string {
	var out []string
	for _, one := range *u {
		out = append(out, one.String())
	}
	return strings.Join(out, ",")
}

// Set implements pflag.Value.
func (u *upstreams) Set(text string) error {
	more, err := bootstrap.ParseUpstreams(text)
	*u = append(*u, more...)
	return err
}
