// Package clientconfig is meshctl's file of contexts: where servers, Consul
// and Kubernetes are, under a name. It holds names of files with secrets in
// them, never a secret itself.
package clientconfig

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// APIVersion and Kind of the file.
const (
	APIVersion = "config.meshlite.dev/v1alpha1"
	Kind       = "ClientConfig"
)

// Config is the whole file. The zero value is a file without contexts.
type Config struct {
	APIVersion     string    `json:"apiVersion"`
	Kind           string    `json:"kind"`
	CurrentContext string    `json:"currentContext,omitempty"`
	Contexts       []Context `json:"contexts,omitempty"` // by name
}

// Context is one mesh as one user reaches it. An empty field leaves the choice
// to the environment and to the built-in default.
type Context struct {
	Name       string     `json:"name"`
	Server     string     `json:"server,omitempty"`    // admin API of xds-server
	TokenFile  string     `json:"tokenFile,omitempty"` // bearer token, sent to Server alone
	CAFile     string     `json:"caFile,omitempty"`    // proves an https Server
	Carrier    string     `json:"carrier,omitempty"`   // dir, consul or kube; "" is what the server says
	Namespace  string     `json:"namespace,omitempty"` // of names without one
	Consul     Consul     `json:"consul,omitzero"`
	Kubernetes Kubernetes `json:"kubernetes,omitzero"`
}

// Consul is where policies are written with the carrier consul.
type Consul struct {
	Address   string `json:"address,omitempty"` // HOST:PORT or URL
	TokenFile string `json:"tokenFile,omitempty"`
	CAFile    string `json:"caFile,omitempty"`
}

// Kubernetes is where policies are written with the carrier kube.
type Kubernetes struct {
	Kubeconfig string `json:"kubeconfig,omitempty"`
	Context    string `json:"context,omitempty"` // of the kubeconfig; "" is its current one
}

// Load reads a file; one that is not there has no contexts.
func Load(path string) (Config, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return Config{}, nil
	}
	if err != nil {
		return Config{}, fmt.Errorf("read the contexts: %w", err)
	}
	var c Config
	if err := yaml.UnmarshalStrict(raw, &c); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := c.check(); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	c.locate(filepath.Dir(path))
	return c, nil
}

// check joins every fault.
func (c *Config) check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.APIVersion != APIVersion || c.Kind != Kind {
		fault("apiVersion and kind are %q and %q; use %s and %s", c.APIVersion, c.Kind, APIVersion, Kind)
	}
	seen := map[string]bool{}
	for i, x := range c.Contexts {
		if err := CheckName(x.Name); err != nil {
			fault("contexts[%d].name: %w", i, err)
		}
		if seen[x.Name] {
			fault("contexts[%d].name: %q is there twice", i, x.Name)
		}
		seen[x.Name] = true
		if err := x.Check(); err != nil {
			fault("contexts[%d] %s: %w", i, x.Name, err)
		}
	}
	if c.CurrentContext != "" && !seen[c.CurrentContext] {
		fault("currentContext: there is no context %q", c.CurrentContext)
	}
	return errors.Join(faults...)
}

// CheckName says what keeps text from naming a context.
func CheckName(text string) error {
	if text == "" || len(text) > 253 || strings.ContainsAny(text, " \t\r\n/") {
		return fmt.Errorf("%q: use 1 to 253 characters without blanks and slashes", text)
	}
	return nil
}

// carriers are the values of Context.Carrier.
var carriers = []string{"", "dir", "consul", "kube"}

// Check joins every fault of the fields.
func (x Context) Check() error {
	var faults []error
	if u, err := url.Parse(x.Server); err == nil && u.User != nil {
		faults = append(faults, errors.New("server: a URL with a password in it; put the token into a file and name it as tokenFile"))
	} else if x.Server != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		faults = append(faults, fmt.Errorf("server: %q: use a URL such as https://xds.example:18001", x.Server))
	}
	if !slices.Contains(carriers, x.Carrier) {
		faults = append(faults, fmt.Errorf("carrier: %q: use %s", x.Carrier, strings.Join(carriers[1:], ", ")))
	}
	if u, err := url.Parse(x.Consul.Address); err == nil && u.User != nil {
		faults = append(faults, errors.New("consul.address: a URL with a password in it; put the token into a file and name it as consul.tokenFile"))
	}
	return errors.Join(faults...)
}

// files are the fields that name files.
func (x *Context) files() []*string {
	return []*string{&x.TokenFile, &x.CAFile, &x.Consul.TokenFile, &x.Consul.CAFile, &x.Kubernetes.Kubeconfig}
}

// locate makes names of files, which count from the configuration's folder,
// absolute.
func (c *Config) locate(folder string) {
	for i := range c.Contexts {
		for _, f := range c.Contexts[i].files() {
			if *f != "" && !filepath.IsAbs(*f) {
				*f = filepath.Join(folder, *f)
			}
		}
	}
}

// Get returns a context by name.
func (c *Config) Get(name string) (Context, bool) {
	for _, x := range c.Contexts {
		if x.Name == name {
			return x, true
		}
	}
	return Context{}, false
}

// Set puts a context in the place of the one of its name.
func (c *Config) Set(x Context) {
	c.Contexts = slices.DeleteFunc(c.Contexts, func(o Context) bool { return o.Name == x.Name })
	c.Contexts = append(c.Contexts, x)
	slices.SortFunc(c.Contexts, func(a, b Context) int { return strings.Compare(a.Name, b.Name) })
}

// Save replaces the file by one that only its owner may read.
func Save(path string, c Config) (err error) {
	c.APIVersion, c.Kind = APIVersion, Kind
	raw, err := yaml.Marshal(c)
	if err != nil {
		return fmt.Errorf("write the contexts: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write the contexts: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return fmt.Errorf("write the contexts: %w", err)
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write the contexts: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
