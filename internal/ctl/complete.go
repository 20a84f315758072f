package ctl

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
)

// completeLimit is how long a shell may wait for names.
const completeLimit = time.Second

func (s *session) completeServices(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.serviceNames(cmd, nil, "")
}

// serviceNames complete a flag, at whatever argument.
func (s *session) serviceNames(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var services []adminapi.Service
	return s.complete(cmd, "/v1/services", &services, func() (names []string) {
		for _, v := range services {
			names = append(names, v.Name)
		}
		return names
	})
}

func (s *session) completeProxies(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var proxies []adminapi.Proxy
	return s.complete(cmd, "/v1/proxies", &proxies, func() (names []string) {
		for _, p := range proxies {
			names = append(names, p.ID)
		}
		return names
	})
}

// completePolicies offers kinds and names, KIND/NAME once a kind and a slash
// are there, and the names of one kind behind it.
func (s *session) completePolicies(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	var all adminapi.Policies
	return s.complete(cmd, "/v1/policies", &all, func() (names []string) {
		namespace, _ := cmd.Flags().GetString("namespace") // a command without it takes any
		for _, p := range all.Items {
			if namespace == "" || p.Namespace == namespace {
				names = append(names, offered(p, args, prefix)...)
			}
		}
		if len(args) == 0 && !strings.Contains(prefix, "/") {
			for _, k := range policy.Kinds() {
				names = append(names, mesh.ShortKind(k), policy.Plural(k))
			}
		}
		return names
	})
}

// offered are the ways to write p that suit what stands there already.
func offered(p adminapi.Policy, args []string, prefix string) []string {
	if word, _, ok := strings.Cut(prefix, "/"); ok {
		if kind, ok := kindNamed(word); !ok || kind != p.Kind {
			return nil
		}
		return []string{word + "/" + p.Name}
	}
	if len(args) > 0 {
		if kinds, ok := kindList(args[0]); ok && !slices.Contains(kinds, p.Kind) {
			return nil
		}
	}
	if slices.Contains(args, p.Name) {
		return nil
	}
	return []string{p.Name}
}

func (s *session) completeNamespaces(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var all adminapi.Policies
	return s.complete(cmd, "/v1/policies", &all, func() (names []string) {
		for _, p := range all.Items {
			if p.Namespace != "" && !slices.Contains(names, p.Namespace) {
				names = append(names, p.Namespace)
			}
		}
		return names
	})
}

// complete asks the server for names; without an answer there are none, and
// no error either: a shell has no place for one.
func (s *session) complete(cmd *cobra.Command, path string, into any, names func() []string) ([]string, cobra.ShellCompDirective) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeLimit)
	defer cancel()
	quiet := *s
	quiet.Err = io.Discard
	quiet.timeout = completeLimit
	if quiet.get(ctx, path, into) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names(), cobra.ShellCompDirectiveNoFileComp
}
