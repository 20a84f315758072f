package ctl

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy"
)

// dryRuns of apply and delete.
const (
	dryNone   = "none"
	dryClient = "client"
	dryServer = "server"
)

// writing are the flags that apply and delete share.
type writing struct {
	dryRun string
	wait   string
	limit  time.Duration
}

func (w *writing) flags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&w.dryRun, "dry-run", dryNone, "client: check offline; server: let the carrier say what would happen; none: do it")
	fs.Lookup("dry-run").NoOptDefVal = dryClient
	_ = cmd.RegisterFlagCompletionFunc("dry-run", cobra.FixedCompletions([]string{dryNone, dryClient, dryServer}, cobra.ShellCompDirectiveNoFileComp))
	w.waitFlags(cmd)
}

func (w *writing) waitFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&w.wait, "wait", "", "wait until it is Accepted, Programmed or Enforced (without a value); a deleted one until it is gone everywhere")
	fs.Lookup("wait").NoOptDefVal = policy.ConditionEnforced
	fs.DurationVar(&w.limit, "timeout", 30*time.Second, "how long --wait waits")
	fs.DurationVar(&w.limit, "wait-timeout", 30*time.Second, "the same as --timeout")
	_ = fs.MarkHidden("wait-timeout") // the flag is there: see above
	_ = cmd.RegisterFlagCompletionFunc("wait", cobra.FixedCompletions(waits, cobra.ShellCompDirectiveNoFileComp))
}

func (w *writing) check() error {
	switch w.dryRun {
	case "", dryNone, dryClient, dryServer:
	default:
		return usagef("--dry-run is %q; use none, client or server", w.dryRun)
	}
	condition, err := waitFor(w.wait)
	w.wait = condition
	return err
}

func (s *session) policyApply() *cobra.Command {
	var from files
	var w writing
	cmd := &cobra.Command{
		Use: "apply -f FILE…", Args: cobra.NoArgs,
		Short: "Create or change policies: all documents of all files as one change set",
		Long: `Create or change policies: all documents of all files as one change set, all of them or,
where one has a fault, none. A document without metadata.namespace is of the namespace
default, whatever a context says.

Where the server reads a folder it writes one file a document; a document that stands in
a file of your own is refused with that file's name. Where policies live in Consul,
meshctl writes the keys itself, with your CONSUL_HTTP_TOKEN; where they live in
Kubernetes, the objects, with your kubeconfig, by server-side apply as the field manager
meshctl. --carrier says where without asking the server. A document that somebody else
changes in the same moment is refused.

With --wait, exit code 80 for what a rollout refused.`,
		Example: `  meshctl policy apply -f policies/ -R --dry-run=server
  meshctl policy apply -f orders.yaml --wait
  meshctl policy apply -f orders.yaml --carrier kube --kube-context prod
  generate-policies | meshctl policy apply -f - --wait=Programmed --timeout 1m`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := from.given(); err != nil {
				return err
			}
			if err := w.check(); err != nil {
				return err
			}
			docs, err := from.valid(s.In)
			if err != nil {
				return err
			}
			return s.change(cmd.Context(), w, puts(docs))
		},
	}
	from.flags(cmd, "file, folder, or - for stdin; repeatable")
	w.flags(cmd)
	cmd.Flags().BoolVar(&s.force, "force-conflicts", false, "in Kubernetes: take over fields that another field manager owns")
	return cmd
}

func puts(docs []*policy.Document) []policy.Change {
	changes := make([]policy.Change, len(docs))
	for i, d := range docs {
		changes[i] = policy.Change{Key: d.Key, Document: d}
	}
	return changes
}

// change sends a change set to where the policies live.
func (s *session) change(ctx context.Context, w writing, changes []policy.Change) error {
	waits := w.wait != "" && w.dryRun != dryClient && w.dryRun != dryServer
	var before invalid
	if waits {
		before = s.invalidNow(ctx)
	}
	results, err := s.send(ctx, w, changes)
	if err != nil {
		return err
	}
	t := table{head: []string{"DOCUMENT", "RESULT"}, empty: "no document in it"}
	for _, r := range results {
		t.add(r.Document, r.Document, r.Result+map[string]string{dryClient: " (client dry run)", dryServer: " (server dry run)"}[w.dryRun])
	}
	if err := s.show(adminapi.ApplyResponse{Results: results}, t); err != nil || !waits {
		return err
	}
	return s.await(ctx, w, changes, before)
}

func (s *session) send(ctx context.Context, w writing, changes []policy.Change) ([]adminapi.ApplyResult, error) {
	if w.dryRun == dryClient { // nobody is asked what is there
		results := []adminapi.ApplyResult{}
		for _, c := range changes {
			result := "valid"
			if c.Document == nil {
				result = string(policy.Deleted)
			}
			results = append(results, adminapi.ApplyResult{Document: c.Key.String(), Result: result})
		}
		return results, nil
	}
	to, err := s.carrier(ctx)
	if err != nil {
		return nil, err
	}
	return to.Apply(ctx, changes, w.dryRun == dryServer)
}
