// Package app joins the parts of xds-server: it reads the settings, opens the
// sockets, starts every component and waits for all of them. Nothing imports
// it but cmd/xds-server and tests.
package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/events/amqp"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
)

// Values of --events.
const (
	EventsOff   = "off"
	EventsLocal = "local"
	EventsAMQP  = "amqp"
)

// Config is everything that xds-server can be told. Default gives the values
// of an xds-server without flags; each field carries its flag's name.
type Config struct {
	Catalog    string        // catalog: file or consul
	CatalogDir string        // catalog-dir: folder of service definitions, needed by file
	Consul     ConsulConfig  // consul-*
	Services   []string      // services: only these; empty means all
	DrainGrace time.Duration // drain-grace: how long an instance in maintenance is kept as DRAINING; over 0
	WaveRate   int           // wave-rate: proxies a second that take a changed cluster; 0 means all at once

	PolicySource  string        // policy-source: dir, consul or kube
	PolicyDir     string        // policy-dir: empty means mesh-default alone
	PolicyQuiet   time.Duration // policy-quiet: edits this close together make one revision; 0 takes each at once
	RootNamespace string        // root-namespace: may target everything; revisions are kept there with store kube
	Kubeconfig    string        // kubeconfig: empty is the pod's own account, else kubectl's rules

	Rollout        string             // rollout: auto, direct or hold
	RolloutTimeout time.Duration      // rollout-timeout: for all proxies to answer; over 0, at most 1 h
	Quorum         int                // quorum: percent of the proxies beyond one of each build
	MaxFailed      adminapi.MaxFailed // max-failed: proxies that may refuse after the commit
	ConfirmTimeout time.Duration      // confirm-timeout: 0 wants no confirmation
	Canary         string             // canary: a share or a label of the proxies that serve a change first; empty is none
	Bake           time.Duration      // bake: how long these do

	XDSAddr        string // xds-addr
	AdminAddr      string // admin-addr
	XDSTLSCert     string // xds-tls-cert, reloaded on change
	XDSTLSKey      string // xds-tls-key
	XDSClientCA    string // xds-client-ca: demands client certificates
	AppAddr        string // app-addr: where applications speak to the roles that serve them
	AppAdvertise   string // app-advertise: HOST:PORT at which sidecars reach it; empty is app-addr
	AppTLSCert     string // app-tls-cert, reloaded on change
	AppTLSKey      string // app-tls-key
	AppClientCA    string // app-client-ca: demands client certificates of the sidecars
	AppCA          string // app-ca: by which sidecars know the servers of app-addr; reloaded on change
	AppProxy       string // app-proxy: URL of an Envoy through which services are called
	AdminTLSCert   string // admin-tls-cert, reloaded on change
	AdminTLSKey    string // admin-tls-key
	AdminTokenFile string // admin-token-file
	Insecure       bool   // insecure: other addresses than loopback without credentials

	StateDir string // state-dir
	Store    string // store: file, consul or kube; empty is that of the policy source
	Roles    []string
	Egress   resource.Egress // egress: deny or passthrough
	Events   string          // events: off, local or amqp
	AMQP     amqp.Config     // amqp-*: with events amqp
	Pprof    bool            // pprof: /debug/pprof on the admin address

	LogFormat string // log-format: text or json
	LogLevel  string // log-level: debug, info, warn or error
}

// ConsulConfig says how Consul is reached. CONSUL_HTTP_TOKEN, CONSUL_CACERT
// and their like are read by Consul's own client library.
type ConsulConfig struct {
	Addr       string // consul-addr: HOST:PORT or URL
	MaxWatches int    // consul-max-watches: 0 means 150 on plain HTTP and 5,000 on HTTPS
}

// Default returns the settings of an xds-server without flags.
func Default() Config {
	return Config{
		Catalog: "file", DrainGrace: 30 * time.Second, WaveRate: server.Default().WaveRate,
		PolicySource: "dir", PolicyQuiet: 2 * time.Second, RootNamespace: "default",
		Rollout: adminapi.ModeAuto, RolloutTimeout: 15 * time.Second,
		Quorum: adminapi.DefaultRolloutSettings().Quorum, MaxFailed: adminapi.DefaultRolloutSettings().MaxFailed,
		Bake:    time.Duration(adminapi.DefaultRolloutSettings().Bake),
		XDSAddr: "127.0.0.1:18000", AdminAddr: "127.0.0.1:18001", AppAddr: "127.0.0.1:18002", AppProxy: "http://127.0.0.1:15001",
		StateDir: "./state", Roles: []string{"xds", "admin"},
		Egress: resource.Deny, Events: EventsLocal, LogFormat: "text", LogLevel: "info",
		Consul: ConsulConfig{Addr: "127.0.0.1:8500"},
	}
}

// Validate returns every fault of c, joined, each a sentence that names the
// setting, its value and what would be right.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	oneOf := func(flag, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			fault("--%s is %q; use %s", flag, value, list(allowed))
		}
	}
	oneOf("catalog", c.Catalog, "file", "consul")
	oneOf("policy-source", c.PolicySource, "dir", "consul", "kube")
	oneOf("store", c.store(), "file", "consul", "kube")
	if c.PolicySource != "dir" && c.PolicyDir != "" {
		fault("--policy-dir is %q and --policy-source %s: policies have one source; leave one of them out", c.PolicyDir, c.PolicySource)
	}
	if c.Kubeconfig != "" && c.PolicySource != "kube" && c.store() != "kube" {
		fault("--kubeconfig is %q, and nothing is in Kubernetes; add --policy-source kube, or leave it out", c.Kubeconfig)
	}
	oneOf("egress", string(c.Egress), string(resource.Deny), string(resource.Passthrough))
	oneOf("events", c.Events, EventsOff, EventsLocal, EventsAMQP)
	if err := c.validateAMQP(); err != nil {
		faults = append(faults, err)
	}
	oneOf("log-format", c.LogFormat, "text", "json")
	for _, role := range c.Roles {
		oneOf("roles", role, "xds", "admin", "transactions", "events")
	}
	if !slices.Contains(c.Roles, "xds") {
		fault("--roles is %q; xds must be among them", strings.Join(c.Roles, ","))
	}
	if c.Catalog == "file" && c.CatalogDir == "" {
		fault("--catalog file needs --catalog-dir, a folder of Consul service definitions; or use --catalog consul")
	}
	if c.DrainGrace <= 0 {
		fault("--drain-grace is %s; use a duration over 0, such as 30s", c.DrainGrace)
	}
	if c.WaveRate < 0 {
		fault("--wave-rate is %d; use a number of proxies a second, or 0 for all at once", c.WaveRate)
	}
	if c.PolicyQuiet < 0 {
		fault("--policy-quiet is %s; use 0s or more", c.PolicyQuiet)
	}
	faults = append(faults, c.validateRollouts()...)
	if c.Consul.MaxWatches < 0 {
		fault("--consul-max-watches is %d; use 0 for the default or a positive number", c.Consul.MaxWatches)
	}
	if _, err := c.level(); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(append(append(faults, c.validateApp()...), c.validateTrust()...)...)
}

// has reports whether a role is on.
func (c Config) has(role string) bool { return slices.Contains(c.Roles, role) }

// app reports whether applications are served.
func (c Config) app() bool { return c.has("transactions") || c.has("events") }

// appHosts are the reserved hosts that this replica answers for, by its roles.
func (c Config) appHosts() (hosts []string) {
	if c.has("transactions") {
		hosts = append(hosts, mesh.TransactionsHost)
	}
	if c.has("events") {
		hosts = append(hosts, mesh.EventsHost)
	}
	return hosts
}

// validateAMQP checks how the broker is reached, where there is one.
func (c Config) validateAMQP() error {
	switch {
	case c.Events == EventsAMQP && c.AMQP.URL == "":
		return errors.New("--events amqp needs --amqp-url, such as amqp://HOST:5672/VHOST")
	case c.Events == EventsAMQP:
		return c.AMQP.Validate()
	case c.AMQP != amqp.Config{}:
		return fmt.Errorf("--amqp-… settings are given, and --events is %s; use --events amqp, or leave them out", c.Events)
	}
	return nil
}

// validateApp checks what serves applications.
func (c Config) validateApp() (faults []error) {
	if !c.app() {
		return nil
	}
	if u, err := url.Parse(c.AppProxy); err != nil || u.Scheme != "http" || u.Host == "" {
		faults = append(faults, fmt.Errorf("--app-proxy is %q; use the URL of a sidecar's outbound port, such as http://127.0.0.1:15001", c.AppProxy))
	}
	addr, flag := c.AppAdvertise, "app-advertise"
	if addr == "" {
		addr, flag = c.AppAddr, "app-addr"
	}
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || ip == nil || ip.IsUnspecified() {
		faults = append(faults, fmt.Errorf("--%s is %q; sidecars need IP:PORT, an address of this machine: set --app-advertise", flag, addr))
	}
	if c.has("events") && c.Events == EventsOff {
		faults = append(faults, errors.New("--roles events takes events of applications, and --events off keeps none; use another, or leave the role out"))
	}
	return faults
}

// store is where revisions are kept: with the policies, unless told.
func (c Config) store() string {
	switch {
	case c.Store != "":
		return c.Store
	case c.PolicySource == "consul", c.PolicySource == "kube":
		return c.PolicySource
	}
	return "file"
}

// validateTrust keeps what has no credentials on the loopback device.
func (c Config) validateTrust() []error {
	var faults []error
	pair := func(a, b, flagA, flagB string) {
		if (a == "") != (b == "") {
			faults = append(faults, fmt.Errorf("--%s and --%s go together; only one is set", flagA, flagB))
		}
	}
	pair(c.XDSTLSCert, c.XDSTLSKey, "xds-tls-cert", "xds-tls-key")
	pair(c.AdminTLSCert, c.AdminTLSKey, "admin-tls-cert", "admin-tls-key")
	pair(c.AppTLSCert, c.AppTLSKey, "app-tls-cert", "app-tls-key")
	if c.AppClientCA != "" && c.AppTLSCert == "" {
		faults = append(faults, errors.New("--app-client-ca needs --app-tls-cert and --app-tls-key: client certificates come with TLS"))
	}
	if c.AppTLSCert != "" && c.AppCA == "" {
		faults = append(faults, errors.New("--app-tls-cert needs --app-ca, the CA file by which sidecars know the server"))
	}
	if c.XDSClientCA != "" && c.XDSTLSCert == "" {
		faults = append(faults, errors.New("--xds-client-ca needs --xds-tls-cert and --xds-tls-key: client certificates come with TLS"))
	}
	for _, a := range []struct {
		flag, addr, need string
		safe             bool
	}{
		{"xds-addr", c.XDSAddr, "--xds-tls-cert, --xds-tls-key and --xds-client-ca", c.XDSTLSCert != "" && c.XDSClientCA != ""},
		{"admin-addr", c.AdminAddr, "--admin-token-file", c.AdminTokenFile != ""},
		{"app-addr", c.AppAddr, "--app-tls-cert, --app-tls-key, --app-ca and --app-client-ca", !c.app() || c.AppTLSCert != "" && c.AppClientCA != ""},
	} {
		loopback, err := isLoopback(a.addr)
		if err != nil {
			faults = append(faults, fmt.Errorf("--%s is %q; use HOST:PORT: %w", a.flag, a.addr, err))
			continue
		}
		if !loopback && !a.safe && !c.Insecure {
			faults = append(faults, fmt.Errorf("--%s is %q, which others can reach; set %s, or listen on 127.0.0.1, or accept the risk with --insecure", a.flag, a.addr, a.need))
		}
	}
	return faults
}

// list writes "a, b or c".
func list(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func isLoopback(addr string) (bool, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false, err
	}
	if host == "localhost" {
		return true, nil
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback(), nil
}

func (c Config) level() (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return 0, fmt.Errorf("--log-level is %q; use debug, info, warn or error", c.LogLevel)
	}
	return l, nil
}
