package ctl

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/admin/adminapi"
)

// completeLimit is how long a shell may wait for names.
const completeLimit = time.Second

func (s *session) completeServices(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var services []adminapi.Service
	return s.complete(cmd, args, "/v1/services", &services, func() (names []string) {
		for _, v := range services {
			names = append(names, v.Name)
		}
		return names
	})
}

func (s *session) completeProxies(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var proxies []adminapi.Proxy
	return s.complete(cmd, args, "/v1/proxies", &proxies, func() (names []string) {
		for _, p := range proxies {
			names = append(names, p.ID)
		}
		return names
	})
}

func (s *session) completePolicies(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var all adminapi.Policies
	return s.complete(cmd, args, "/v1/policies", &all, func() (names []string) {
		for _, p := range all.Items {
			names = append(names, p.Name)
		}
		return names
	})
}

// complete asks the server for names; without an answer there are none, and
// no error either: a shell has no place for one.
func (s *session) complete(cmd *cobra.Command, args []string, path string, into any, names func() []string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
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
