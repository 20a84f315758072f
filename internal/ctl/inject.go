package ctl

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/ctl/inject"
	"meshlite.dev/internal/version"
	"meshlite.dev/internal/xds/bootstrap"
)

func newProxyInject(stdio IO) *cobra.Command {
	o := inject.Options{Proxy: bootstrap.Default(), Image: "meshlite-proxy:" + version.Number}
	o.Proxy.XDSAddr = "meshlite-xds.meshlite-system.svc:18000"
	var file string
	cmd := &cobra.Command{
		Use: "inject -f FILE", Args: cobra.NoArgs,
		Short: "Add the sidecar to the workloads of a Kubernetes manifest",
		Long: `Add the sidecar to every Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob
and Pod of a manifest, and print the result. Needs no cluster. What an earlier call
added is replaced, so the output may be injected again.

The sidecar is a native one (Kubernetes 1.29 and later): it is ready before the
workload's own containers start and ends after them. Annotations of the pod template
decide for one workload:

  meshlite.dev/inject: "false"              leave it alone
  meshlite.dev/service: checkout            its name; else the label app.kubernetes.io/name
                                            or app, else the name of the object
  meshlite.dev/upstreams: orders=9001       local ports, separated by commas
  meshlite.dev/http-proxy: "true"           set HTTP_PROXY and NO_PROXY in its containers`,
		Example: `  meshctl proxy inject -f checkout.yaml --upstream orders=9001 --tls-secret checkout-mesh | kubectl apply -f -
  kubectl get deployment checkout -o yaml | meshctl proxy inject -f - --http-proxy`,
		RunE: func(*cobra.Command, []string) error {
			if file == "" {
				return usagef("name a manifest with -f, or -f - for stdin")
			}
			data, err := readInput(file, stdio.In)
			if err != nil {
				return err
			}
			out, res, err := inject.Inject(data, o)
			if err != nil {
				return &exitError{ExitBadInput, fmt.Errorf("%s: %w", file, err)}
			}
			for _, s := range res.Skipped {
				fmt.Fprintln(stdio.Err, "left as it is:", s)
			}
			for _, s := range res.Injected {
				fmt.Fprintln(stdio.Err, "sidecar added:", s)
			}
			if len(res.Injected) == 0 {
				fmt.Fprintln(stdio.Err, "no workload in it")
			}
			_, err = stdio.Out.Write(out)
			return err
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVarP(&file, "filename", "f", "", "manifest, or - for stdin")
	fs.StringVar(&o.Proxy.Service, "service", "", "the workload's own name, where no annotation says it")
	fs.Var((*upstreams)(&o.Proxy.Upstreams), "upstream", "a local port for one service, NAME=PORT, or NAME=PORT/tcp for one that speaks tcp; repeatable")
	fs.StringToStringVar(&o.Proxy.Labels, "label", nil, "KEY=VALUE, by which a rollout's --canary can choose the sidecars; repeatable")
	fs.BoolVar(&o.HTTPProxy, "http-proxy", false, "set HTTP_PROXY and NO_PROXY in the workload's containers")
	fs.StringSliceVar(&o.Proxy.NoProxy, "no-proxy", nil, "with --http-proxy: more hosts that do not enter the mesh")
	fs.StringVar(&o.Image, "image", o.Image, "image of the sidecar")
	fs.StringVar(&o.Proxy.XDSAddr, "xds-addr", o.Proxy.XDSAddr, "xds-server, HOST:PORT")
	fs.StringVar(&o.TLSSecret, "tls-secret", "", "Secret with ca.crt, tls.crt and tls.key; without it the sidecar speaks to xds-server in clear text")
	fs.Uint16Var(&o.Proxy.OutboundPort, "outbound-port", o.Proxy.OutboundPort, "port on loopback for calls by Host")
	fs.Uint16Var(&o.Proxy.AdminPort, "admin-port", o.Proxy.AdminPort, "port on loopback of Envoy's admin interface")
	fs.StringVar(&o.Proxy.Region, "region", "", "where the proxy runs")
	fs.StringVar(&o.Proxy.Zone, "zone", "", "where the proxy runs, within the region")
	return cmd
}

// readInput reads a file, or stdin for "-".
func readInput(path string, stdin io.Reader) ([]byte, error) {
	if path == "-" {
		data, err := io.ReadAll(stdin)
		if err != nil {
			return nil, fmt.Errorf("read stdin: %w", err)
		}
		return data, nil
	}
	data, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	return data, nil
}
