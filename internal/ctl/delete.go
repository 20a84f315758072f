package ctl

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/policy"
)

// defaultNamespace is that of a document which names none, on every carrier.
const defaultNamespace = "default"

const namespaceUsage = "of names without one (default the context's, else " + defaultNamespace + ")"

func (s *session) policyDelete() *cobra.Command {
	var from files
	var namespace string
	var ignore bool
	var w writing
	cmd := &cobra.Command{
		Use: "delete (NAME… | KIND NAME… | KIND/NAME… | -f FILE…)", ValidArgsFunction: s.completePolicies,
		Short: "Remove policies",
		Long: `Remove policies. A bare NAME is a ResiliencePolicy; KIND is a full name, a plural or a
short name (rp, tr, es). One that is not there is an error, after the others are removed.`,
		Example: `  meshctl policy delete orders
  meshctl policy delete tr orders payments -n shop --wait
  meshctl policy delete -f orders.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) > 0) == (len(from.names) > 0) {
				return usagef("name the policies to remove, or files with -f")
			}
			if err := w.check(); err != nil {
				return err
			}
			gone, err := s.named(from, args, namespace)
			if err != nil {
				return err
			}
			return s.remove(cmd.Context(), w, gone, ignore)
		},
	}
	from.flags(cmd, "remove the documents of a file, folder, or - for stdin; repeatable")
	s.namespaceFlag(cmd, &namespace, namespaceUsage)
	cmd.Flags().BoolVar(&ignore, "ignore-not-found", false, "one that is not there is no error")
	w.flags(cmd)
	return cmd
}

// named are the documents that names, or the documents of files, stand for.
func (s *session) named(from files, args []string, namespace string) ([]policy.Key, error) {
	namespace, err := s.namespace(namespace, defaultNamespace)
	if err != nil {
		return nil, err
	}
	rs, err := refs(args, namespace)
	if err != nil {
		return nil, err
	}
	out, err := keys(rs)
	if err != nil {
		return nil, err
	}
	docs, err := from.valid(s.In)
	for _, d := range docs {
		out = append(out, d.Key)
	}
	return out, err
}

func (s *session) remove(ctx context.Context, w writing, gone []policy.Key, ignore bool) error {
	var changes []policy.Change
	for _, k := range gone {
		changes = append(changes, policy.Change{Key: k})
	}
	var missing []string
	if w.dryRun != dryClient && !ignore {
		to, err := s.carrier(ctx)
		if err != nil {
			return err
		}
		results, err := to.Apply(ctx, changes, true)
		if err != nil {
			return err
		}
		for _, r := range results {
			if r.Result == string(policy.NotThere) {
				missing = append(missing, r.Document)
			}
		}
	}
	changes = slices.DeleteFunc(changes, func(c policy.Change) bool { return slices.Contains(missing, c.Key.String()) })
	if len(changes) > 0 {
		if err := s.change(ctx, w, changes); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("no policy %s\nhint: meshctl policy get lists them; --ignore-not-found makes it no error", strings.Join(missing, ", "))
	}
	return nil
}
