package app

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/xds/resource"
)

// ConfigAPIVersion and ConfigKind head the document given to --config.
const (
	ConfigAPIVersion = "config.meshlite.dev/v1alpha1"
	ConfigKind       = "ServerConfig"
	envPrefix        = "MESHLITE_"
)

// ErrHelp reports that --help was asked for; Usage holds the text.
var ErrHelp = pflag.ErrHelp

// Inputs are where settings come from; a flag beats the environment, which
// beats the file.
type Inputs struct {
	Args     []string
	Getenv   func(string) (string, bool)
	ReadFile func(string) ([]byte, error)
}

// Parse reads flags, environment and file into a validated Config. Its error
// joins every fault found.
func Parse(in Inputs) (Config, error) {
	cfg := Default()
	if dir, ok := in.Getenv("STATE_DIRECTORY"); ok && dir != "" {
		cfg.StateDir, _, _ = strings.Cut(dir, ":") // systemd lists several with colons
	}
	if addr, ok := in.Getenv("CONSUL_HTTP_ADDR"); ok && addr != "" {
		cfg.Consul.Addr = addr
	}
	fs, file := flags(&cfg)
	if err := fs.Parse(in.Args); err != nil {
		return cfg, err
	}
	if rest := fs.Args(); len(rest) > 0 {
		return cfg, fmt.Errorf("unexpected argument %q: xds-server takes flags only", rest[0])
	}
	given := map[string]bool{}
	fs.Visit(func(f *pflag.Flag) { given[f.Name] = true })
	err := fromEnvironment(fs, given, in.Getenv)
	if *file != "" {
		err = errors.Join(err, fromFile(fs, given, *file, in.ReadFile))
	}
	if err != nil {
		return cfg, err
	}
	return cfg, cfg.Validate()
}

// Usage describes every flag.
func Usage(w io.Writer) {
	fs := Flags()
	fmt.Fprintf(w, "xds-server configures Envoy sidecars from a service catalog.\n\nUsage:\n  xds-server [flags]\n\nEach flag is also read from %s<FLAG> and from --config.\n\nFlags:\n%s", envPrefix, fs.FlagUsages())
}

// Flags returns every flag with its default, for the generated reference.
func Flags() *pflag.FlagSet {
	cfg := Default()
	fs, _ := flags(&cfg)
	return fs
}

func flags(c *Config) (*pflag.FlagSet, *string) {
	fs := pflag.NewFlagSet("xds-server", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.SortFlags = false
	fs.StringVar(&c.Catalog, "catalog", c.Catalog, "where services come from: file or consul")
	fs.StringVar(&c.CatalogDir, "catalog-dir", c.CatalogDir, "folder of Consul service definitions (.json, .hcl), for --catalog file")
	fs.StringVar(&c.Consul.Addr, "consul-addr", c.Consul.Addr, "Consul agent, HOST:PORT or URL; CONSUL_HTTP_TOKEN, CONSUL_CACERT and their like are honoured")
	fs.IntVar(&c.Consul.MaxWatches, "consul-max-watches", c.Consul.MaxWatches, "most services to watch; 0 means 150 on plain HTTP, 5000 on HTTPS")
	fs.StringSliceVar(&c.Services, "services", c.Services, "serve only these services; empty means all")
	fs.DurationVar(&c.DrainGrace, "drain-grace", c.DrainGrace, "how long an instance in maintenance is kept as DRAINING")
	fs.IntVar(&c.WaveRate, "wave-rate", c.WaveRate, "how many proxies a second take a changed cluster, which resets their connections to it, where more than 50 are connected; 0 means all at once")
	fs.StringVar(&c.PolicySource, "policy-source", c.PolicySource, "where policies come from: dir, consul (its key-value store, mesh/policies/KIND/NAMESPACE/NAME) or kube (objects in every namespace)")
	fs.StringVar(&c.PolicyDir, "policy-dir", c.PolicyDir, "folder of policy documents; none means mesh-default alone")
	fs.StringVar(&c.Kubeconfig, "kubeconfig", c.Kubeconfig, "how to reach Kubernetes; empty is the pod's own account, else KUBECONFIG or ~/.kube/config")
	fs.DurationVar(&c.PolicyQuiet, "policy-quiet", c.PolicyQuiet, "edits this close together make one revision")
	fs.StringVar(&c.Rollout, "rollout", c.Rollout, "how changes of policies come in force: auto (the proxies vote), hold (they vote, a person commits) or direct (nobody is asked)")
	fs.DurationVar(&c.RolloutTimeout, "rollout-timeout", c.RolloutTimeout, "how long proxies may take to vote")
	fs.IntVar(&c.Quorum, "quorum", c.Quorum, "percent of the proxies, beyond one of each build of Envoy, that must say yes")
	fs.TextVar(&c.MaxFailed, "max-failed", c.MaxFailed, "proxies that may refuse a change after they voted for it before it is undone: a number, a share, or both")
	fs.StringVar(&c.Canary, "canary", c.Canary, "proxies that serve a change before the others: a share (10%) or a label (KEY=VALUE); empty: none")
	fs.DurationVar(&c.Bake, "bake", c.Bake, "how long those of --canary serve a change before it is judged by their calls")
	fs.DurationVar(&c.ConfirmTimeout, "confirm-timeout", c.ConfirmTimeout, "undo a change unless meshctl rollout confirm follows in time; 0 wants none")
	fs.StringVar(&c.RootNamespace, "root-namespace", c.RootNamespace, "namespace whose policies may target everything; with --store kube also where revisions are kept")
	fs.StringVar(&c.XDSAddr, "xds-addr", c.XDSAddr, "address for Envoy sidecars")
	fs.StringVar(&c.AdminAddr, "admin-addr", c.AdminAddr, "address for meshctl, probes and metrics")
	fs.StringVar(&c.AppAddr, "app-addr", c.AppAddr, "address for applications, which reach it through their sidecars, with --roles transactions or events")
	fs.StringVar(&c.AppAdvertise, "app-advertise", c.AppAdvertise, "IP:PORT at which sidecars reach --app-addr; empty is --app-addr itself")
	fs.StringVar(&c.AppTLSCert, "app-tls-cert", c.AppTLSCert, "certificate file of the address for applications, reloaded on change; its DNS names must have transactions.mesh and events.mesh, as far as the roles go")
	fs.StringVar(&c.AppTLSKey, "app-tls-key", c.AppTLSKey, "key file of --app-tls-cert")
	fs.StringVar(&c.AppCA, "app-ca", c.AppCA, "CA file that is sent to the sidecars, by which they know the servers of --app-addr; on every replica, reloaded on change")
	fs.StringVar(&c.AppClientCA, "app-client-ca", c.AppClientCA, "CA file; sidecars must then show a certificate to --app-addr, that of their bootstrap")
	fs.StringVar(&c.AppProxy, "app-proxy", c.AppProxy, "outbound address of a sidecar of the server's own, through which it calls services")
	fs.StringVar(&c.XDSTLSCert, "xds-tls-cert", c.XDSTLSCert, "certificate file of the xDS address, reloaded on change")
	fs.StringVar(&c.XDSTLSKey, "xds-tls-key", c.XDSTLSKey, "key file of --xds-tls-cert")
	fs.StringVar(&c.XDSClientCA, "xds-client-ca", c.XDSClientCA, "CA file; sidecars must then show a certificate for their service")
	fs.StringVar(&c.AdminTLSCert, "admin-tls-cert", c.AdminTLSCert, "certificate file of the admin address, reloaded on change")
	fs.StringVar(&c.AdminTLSKey, "admin-tls-key", c.AdminTLSKey, "key file of --admin-tls-cert")
	fs.StringVar(&c.AdminTokenFile, "admin-token-file", c.AdminTokenFile, "file with the bearer token of the admin API")
	fs.BoolVar(&c.Insecure, "insecure", c.Insecure, "allow other addresses than loopback without credentials")
	fs.StringVar(&c.StateDir, "state-dir", c.StateDir, "folder for state.json (last known good and the revision in force), rollouts.db and outbox.db (events); $STATE_DIRECTORY")
	fs.StringVar(&c.Store, "store", c.Store, "what keeps the revision in force: file, or consul or kube for several replicas; empty is that of the policy source")
	fs.StringSliceVar(&c.Roles, "roles", c.Roles, "what this process does: xds, admin, transactions (coordinates those of applications), events (takes those of applications)")
	fs.StringVar((*string)(&c.Egress), "egress", string(c.Egress), fmt.Sprintf("hosts outside the mesh: %s or %s", resource.Deny, resource.Passthrough))
	fs.StringVar(&c.Events, "events", c.Events, "domain events: local keeps them in outbox.db under --state-dir, for meshctl events; amqp publishes them from there too; off keeps none")
	fs.StringVar(&c.AMQP.URL, "amqp-url", c.AMQP.URL, "broker for --events amqp: amqp://HOST:5672/VHOST or amqps://HOST:5671/VHOST")
	fs.StringVar(&c.AMQP.CredentialsFile, "amqp-credentials-file", c.AMQP.CredentialsFile, "file with one line USER:PASSWORD for the broker, read at each connection; empty is guest:guest")
	fs.StringVar(&c.AMQP.CAFile, "amqp-ca-file", c.AMQP.CAFile, "CA file for the broker's certificate, with amqps://; empty is the system's")
	fs.StringVar(&c.AMQP.CertFile, "amqp-cert-file", c.AMQP.CertFile, "certificate file to show to the broker, with amqps://")
	fs.StringVar(&c.AMQP.KeyFile, "amqp-key-file", c.AMQP.KeyFile, "key file of --amqp-cert-file")
	fs.BoolVar(&c.Pprof, "pprof", c.Pprof, "serve /debug/pprof on the admin address")
	fs.StringVar(&c.LogFormat, "log-format", c.LogFormat, "text or json")
	fs.StringVar(&c.LogLevel, "log-level", c.LogLevel, "debug, info, warn or error")
	file := fs.String("config", "", "file with the same settings: apiVersion "+ConfigAPIVersion+", kind "+ConfigKind)
	return fs, file
}

func fromEnvironment(fs *pflag.FlagSet, given map[string]bool, getenv func(string) (string, bool)) error {
	var faults []error
	fs.VisitAll(func(f *pflag.Flag) {
		key := envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := getenv(key)
		if !ok || given[f.Name] {
			return
		}
		given[f.Name] = true
		if err := fs.Set(f.Name, value); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", key, err))
		}
	})
	return errors.Join(faults...)
}

// fromFile sets what neither a flag nor the environment did. Keys are the
// flags' names in camelCase: xdsAddr for --xds-addr.
func fromFile(fs *pflag.FlagSet, given map[string]bool, name string, read func(string) ([]byte, error)) error {
	raw, err := read(name)
	if err != nil {
		return fmt.Errorf("read --config: %w", err)
	}
	var doc struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Spec       map[string]any `json:"spec"`
	}
	if err := yaml.UnmarshalStrict(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")), &doc); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if doc.APIVersion != ConfigAPIVersion || doc.Kind != ConfigKind {
		return fmt.Errorf("%s: apiVersion is %q and kind %q; use %s and %s", name, doc.APIVersion, doc.Kind, ConfigAPIVersion, ConfigKind)
	}
	byKey := map[string]*pflag.Flag{}
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Name != "config" {
			byKey[camel(f.Name)] = f
		}
	})
	var faults []error
	for _, key := range sortedKeys(doc.Spec) {
		f, ok := byKey[key]
		if !ok {
			faults = append(faults, fmt.Errorf("%s: spec.%s: no such setting; known are %s", name, key, strings.Join(sortedKeys(byKey), ", ")))
			continue
		}
		if given[f.Name] {
			continue
		}
		value, err := scalar(doc.Spec[key])
		if err == nil {
			err = fs.Set(f.Name, value)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: spec.%s: %w", name, key, err))
		}
	}
	return errors.Join(faults...)
}

// scalar writes a value of the file as a flag would be given.
func scalar(v any) (string, error) {
	switch v := v.(type) {
	case string, bool, float64, int64:
		return fmt.Sprint(v), nil
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			s, ok := e.(string)
			if !ok {
				return "", fmt.Errorf("element %d is %v; use a string", i, e)
			}
			parts[i] = s
		}
		return strings.Join(parts, ","), nil
	default:
		return "", fmt.Errorf("is %v; use a string, a number, a boolean or a list of strings", v)
	}
}

func camel(flag string) string {
	parts := strings.Split(flag, "-")
	for i, p := range parts[1:] {
		parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
	}
	return strings.Join(parts, "")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
