package ctl

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"meshlite.dev/internal/ctl/clientconfig"
)

func (s *session) configCmd() *cobra.Command {
	cmd := group("config", "Name the meshes that you work with")
	cmd.Long = `Name the meshes that you work with: a context holds where its server is, which files prove
and identify, where its policies are written, and the namespace of names without one. What
a flag or the environment says counts before it. The file is $MESHCTL_CONFIG, else
$XDG_CONFIG_HOME/meshctl/config.yaml, else ~/.config/meshctl/config.yaml.`
	cmd.AddCommand(s.getContexts(), s.useContext(), s.setContext(), s.currentContext(), s.viewConfig())
	return cmd
}

func (s *session) getContexts() *cobra.Command {
	return &cobra.Command{
		Use: "get-contexts [NAME…]", ValidArgsFunction: s.completeContexts,
		Short: "List contexts; the current one is marked",
		Example: `  meshctl config get-contexts
  meshctl config get-contexts -o name`,
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := s.contexts()
			if err != nil {
				return err
			}
			shown := []clientconfig.Context{}
			for _, name := range args {
				c, ok := all.Get(name)
				if !ok {
					return s.noContext(name)
				}
				shown = append(shown, c)
			}
			if len(args) == 0 {
				shown = append(shown, all.Contexts...)
			}
			t := table{
				head:  []string{"CURRENT", "NAME", "SERVER", "CARRIER", "NAMESPACE", "+CONSUL", "+KUBECONFIG", "+KUBE-CONTEXT"},
				empty: "no contexts in " + s.configFile() + "; meshctl config set-context makes one",
			}
			for _, c := range shown {
				mark := blank
				if c.Name == all.CurrentContext {
					mark = "*"
				}
				t.add(c.Name, mark, c.Name, c.Server, c.Carrier, c.Namespace, c.Consul.Address, c.Kubernetes.Kubeconfig, c.Kubernetes.Context)
			}
			return s.show(shown, t)
		},
	}
}

func (s *session) noContext(name string) error {
	return fmt.Errorf("no context %q in %s\nhint: meshctl config get-contexts lists them", name, s.configFile())
}

func (s *session) useContext() *cobra.Command {
	return &cobra.Command{
		Use: "use-context NAME", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeContexts,
		Short:   "Make a context the current one",
		Example: `  meshctl config use-context prod`,
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := s.contexts()
			if err != nil {
				return err
			}
			if _, ok := all.Get(args[0]); !ok {
				return s.noContext(args[0])
			}
			all.CurrentContext = args[0]
			if err := s.save(all); err != nil {
				return err
			}
			s.hint("the current context is %s", args[0])
			return nil
		},
	}
}

func (s *session) save(all clientconfig.Config) error {
	file := s.configFile()
	if file == "" {
		return errors.New("there is no folder for the contexts\nhint: set MESHCTL_CONFIG to a file")
	}
	return clientconfig.Save(file, all)
}

func (s *session) currentContext() *cobra.Command {
	return &cobra.Command{
		Use: "current-context", Args: cobra.NoArgs,
		Short:   "Print the name of the context that counts now",
		Example: `  meshctl config current-context`,
		RunE: func(*cobra.Command, []string) error {
			c, err := s.current()
			if err != nil {
				return err
			}
			if c.Name == "" {
				return errors.New("no context is set\nhint: meshctl config use-context NAME sets one")
			}
			_, err = fmt.Fprintln(s.Out, c.Name)
			return err
		},
	}
}

// field is one flag of set-context.
type field struct {
	flag string
	of   func(*clientconfig.Context) *string
	file bool
}

var fields = []field{
	{"server", func(c *clientconfig.Context) *string { return &c.Server }, false},
	{"token-file", func(c *clientconfig.Context) *string { return &c.TokenFile }, true},
	{"ca-file", func(c *clientconfig.Context) *string { return &c.CAFile }, true},
	{"carrier", func(c *clientconfig.Context) *string { return &c.Carrier }, false},
	{"namespace", func(c *clientconfig.Context) *string { return &c.Namespace }, false},
	{"consul-addr", func(c *clientconfig.Context) *string { return &c.Consul.Address }, false},
	{"consul-token-file", func(c *clientconfig.Context) *string { return &c.Consul.TokenFile }, true},
	{"consul-ca-file", func(c *clientconfig.Context) *string { return &c.Consul.CAFile }, true},
	{"kubeconfig", func(c *clientconfig.Context) *string { return &c.Kubernetes.Kubeconfig }, true},
	{"kube-context", func(c *clientconfig.Context) *string { return &c.Kubernetes.Context }, false},
}

func (s *session) setContext() *cobra.Command {
	var current bool
	cmd := &cobra.Command{
		Use: "set-context (NAME | --current) [--server URL] …", Args: cobra.MaximumNArgs(1), ValidArgsFunction: s.completeContexts,
		Short: "Make a context, or change the fields that are named",
		Long: `Make a context, or change the fields that are named; an empty value takes one away. Tokens
stand in files of their own, which the context names. The token and the CA of a context
are for its own server alone.`,
		Example: `  meshctl config set-context prod --server https://xds.example:18001 --token-file ~/.mesh-token
  meshctl config set-context prod --carrier consul --consul-addr https://consul.example:8501
  meshctl config set-context --current --namespace shop`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if current == (len(args) == 1) {
				return usagef("name a context, or say --current")
			}
			all, err := s.contexts()
			if err != nil {
				return err
			}
			name := all.CurrentContext
			if !current {
				name = args[0]
			} else if name == "" {
				return usagef("no context is the current one; name one")
			}
			return s.setFields(cmd.Flags(), all, name)
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&current, "current", false, "change the current context")
	fs.StringP("namespace", "n", "", "of names without one")
	fs.String("carrier", "", "where policies are written: dir, consul or kube; empty: what the server says")
	fs.String("consul-addr", "", "Consul's HTTP API, HOST:PORT or URL")
	fs.String("consul-token-file", "", "file with your Consul token")
	fs.String("consul-ca-file", "", "CA that proves Consul")
	fs.String("kubeconfig", "", "kubeconfig file")
	fs.String("kube-context", "", "context of the kubeconfig")
	return cmd
}

// setFields changes what the flags of a set-context name.
func (s *session) setFields(fs *pflag.FlagSet, all clientconfig.Config, name string) error {
	if err := clientconfig.CheckName(name); err != nil {
		return usagef("%w", err)
	}
	c, ok := all.Get(name)
	c.Name = name
	for _, f := range fields {
		if !fs.Changed(f.flag) {
			continue
		}
		value, err := fs.GetString(f.flag)
		if err == nil && f.file {
			value, err = absolute(value)
		}
		if err != nil {
			return err
		}
		*f.of(&c) = value
	}
	if err := c.Check(); err != nil {
		return usagef("context %s: %w", name, err)
	}
	all.Set(c)
	if err := s.save(all); err != nil {
		return err
	}
	verb := "made"
	if ok {
		verb = "changed"
	}
	s.hint("context %s %s", name, verb)
	if all.CurrentContext == "" {
		s.hint("meshctl config use-context %s makes it the current one", name)
	}
	return nil
}

func (s *session) viewConfig() *cobra.Command {
	return &cobra.Command{
		Use: "view", Args: cobra.NoArgs,
		Short: "Print the file of contexts; it names files with secrets, and no secret is printed",
		Example: `  meshctl config view
  meshctl config view -o json`,
		RunE: func(*cobra.Command, []string) error {
			all, err := s.contexts()
			if err != nil {
				return err
			}
			all.APIVersion, all.Kind = clientconfig.APIVersion, clientconfig.Kind
			if !s.structured() {
				s.output = "yaml"
			}
			return s.show(all, table{})
		},
	}
}

func (s *session) completeContexts(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.contextNames(cmd, nil, prefix)
}

// contextNames complete a flag, at whatever argument.
func (s *session) contextNames(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	all, err := s.contexts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, c := range all.Contexts {
		names = append(names, c.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
