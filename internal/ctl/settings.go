package ctl

import (
	"net/url"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"meshlite.dev/internal/ctl/clientconfig"
)

// settings say where things are: by flag, else by environment, else by the
// context, else by default.
type settings struct {
	contextName string
	server      string
	tokenFile   string
	caFile      string

	carrierName string
	consulAddr  string
	kubeconfig  string
	kubeContext string
	force       bool // fields of Kubernetes objects that another manager owns are taken over

	loaded *clientconfig.Context // once it was read
}

func (s *settings) flags(fs *pflag.FlagSet) {
	fs.StringVar(&s.contextName, "context", "", "context of meshctl config (default $MESHCTL_CONTEXT, else the current one)")
	fs.StringVar(&s.server, "server", "", "admin API of xds-server (default $MESHCTL_SERVER, else the context's, else "+defaultServer+")")
	fs.StringVar(&s.tokenFile, "token-file", "", "file with the bearer token of the admin API (default $MESHCTL_TOKEN_FILE, else the context's; $MESHCTL_TOKEN holds the token itself)")
	fs.StringVar(&s.caFile, "ca-file", "", "CA that proves an https server (default $MESHCTL_CA_FILE, else the context's, else the system's)")
}

// carrierFlags are for the commands that write policies.
func (s *settings) carrierFlags(fs *pflag.FlagSet) {
	fs.StringVar(&s.carrierName, "carrier", "", "where policies are written: dir, consul or kube (default $MESHCTL_CARRIER, else the context's, else what the server says)")
	fs.StringVar(&s.consulAddr, "consul-addr", "", "Consul's HTTP API (default $CONSUL_HTTP_ADDR, else the context's, else 127.0.0.1:8500)")
	fs.StringVar(&s.kubeconfig, "kubeconfig", "", "kubeconfig file (default $KUBECONFIG, else the context's, else ~/.kube/config)")
	fs.StringVar(&s.kubeContext, "kube-context", "", "context of the kubeconfig (default the context's, else its current one)")
}

// chosen returns what a flag, else an environment variable, says.
func (s *session) chosen(flag, variable string) (value string, ok bool) {
	if flag != "" {
		return flag, true
	}
	v, _ := s.Getenv(variable)
	return v, v != ""
}

// configFile is where the contexts are; "" where there is no home either.
func (s *session) configFile() string {
	if file, ok := s.chosen("", "MESHCTL_CONFIG"); ok {
		return file
	}
	dir, ok := s.chosen("", "XDG_CONFIG_HOME")
	if !ok {
		home, ok := s.chosen("", "HOME")
		if !ok {
			return ""
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "meshctl", "config.yaml")
}

func (s *session) contexts() (clientconfig.Config, error) {
	file := s.configFile()
	if file == "" {
		return clientconfig.Config{}, nil
	}
	c, err := clientconfig.Load(file)
	if err != nil {
		return c, &exitError{ExitBadInput, err}
	}
	return c, nil
}

// current is the context that counts; the zero value where there is none.
func (s *session) current() (clientconfig.Context, error) {
	if s.loaded != nil {
		return *s.loaded, nil
	}
	all, err := s.contexts()
	if err != nil {
		return clientconfig.Context{}, err
	}
	name, ok := s.chosen(s.contextName, "MESHCTL_CONTEXT")
	if !ok {
		name = all.CurrentContext
	}
	c, ok := all.Get(name)
	if !ok && name != "" {
		return c, usagef("no context %q in %s\nhint: meshctl config get-contexts lists them", name, s.configFile())
	}
	s.loaded = &c
	return c, nil
}

// base is the server's URL.
func (s *session) base() (string, error) {
	text, ok := s.chosen(s.server, "MESHCTL_SERVER")
	if !ok {
		c, err := s.current()
		if err != nil {
			return "", err
		}
		text = serverOf(c)
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", usagef("--server is %q; use a URL such as %s", text, defaultServer)
	}
	return strings.TrimSuffix(text, "/"), nil
}

func serverOf(c clientconfig.Context) string {
	if c.Server == "" {
		return defaultServer
	}
	return c.Server
}

// contextOf returns the context where base is its server; what it says of
// another one is not for base.
func (s *session) contextOf(base string) (clientconfig.Context, error) {
	c, err := s.current()
	if err != nil || base != strings.TrimSuffix(serverOf(c), "/") {
		return clientconfig.Context{}, err
	}
	return c, nil
}

// namespace is that of -n, else the context's, else otherwise.
func (s *session) namespace(flag, otherwise string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	c, err := s.current()
	if err != nil || c.Namespace == "" {
		return otherwise, err
	}
	return c.Namespace, nil
}

// absolute keeps a file the same whatever folder it is named from.
func absolute(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	return filepath.Abs(file)
}
