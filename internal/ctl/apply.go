package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/kv"
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
	wait   bool
	limit  time.Duration
}

func (w *writing) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.dryRun, "dry-run", dryNone, "client: check offline; server: let the server say what would happen; none: do it")
	cmd.Flags().Lookup("dry-run").NoOptDefVal = dryClient
	cmd.Flags().BoolVar(&w.wait, "wait", false, "wait until it is in force and every sidecar has it")
	cmd.Flags().DurationVar(&w.limit, "wait-timeout", 30*time.Second, "how long --wait waits")
}

func (w *writing) check() error {
	switch w.dryRun {
	case dryNone, dryClient, dryServer:
		return nil
	}
	return usagef("--dry-run is %q; use none, client or server", w.dryRun)
}

func (s *session) policyApply() *cobra.Command {
	var files []string
	var w writing
	cmd := &cobra.Command{
		Use: "apply -f FILE…", Args: cobra.NoArgs,
		Short: "Create or change policies: all documents of all files as one change set",
		Long: `Create or change policies: all documents of all files as one change set, all of them or,
where one has a fault, none. Where the server reads a folder it writes one file a document;
a document that stands in a file of your own is refused with that file's name. Where
policies live in Consul, meshctl writes the keys itself, with CONSUL_HTTP_ADDR,
CONSUL_HTTP_TOKEN and their like.`,
		Example: `  meshctl policy apply -f policies/ --dry-run=server
  meshctl policy apply -f orders.yaml --wait`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return usagef("name a file or a folder with -f, or -f - for stdin")
			}
			if err := w.check(); err != nil {
				return err
			}
			docs, err := s.valid(files)
			if err != nil {
				return err
			}
			return s.change(cmd.Context(), w, docs, nil)
		},
	}
	cmd.Flags().StringSliceVarP(&files, "filename", "f", nil, "file, folder, or - for stdin; repeatable")
	w.flags(cmd)
	return cmd
}

func (s *session) policyDelete() *cobra.Command {
	var files []string
	var namespace string
	var w writing
	cmd := &cobra.Command{
		Use: "delete NAME… | -f FILE…", ValidArgsFunction: s.completePolicies,
		Short: "Remove policies",
		Example: `  meshctl policy delete orders
  meshctl policy delete -f orders.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) > 0) == (len(files) > 0) {
				return usagef("name the policies to remove, or files with -f")
			}
			if err := w.check(); err != nil {
				return err
			}
			var keys []policy.Key
			for _, name := range args {
				if strings.Count(name, "/") == 0 {
					name = policy.KindResiliencePolicy + "/" + namespace + "/" + name
				}
				parts := strings.Split(name, "/")
				if len(parts) != 3 {
					return usagef("%q is no policy; use NAME or KIND/NAMESPACE/NAME", name)
				}
				if parts[0] == "rp" {
					parts[0] = policy.KindResiliencePolicy
				}
				keys = append(keys, policy.Key{Kind: parts[0], Namespace: parts[1], Name: parts[2]})
			}
			docs, err := s.valid(files)
			if err != nil {
				return err
			}
			for _, d := range docs {
				keys = append(keys, d.Key)
			}
			return s.change(cmd.Context(), w, nil, keys)
		},
	}
	cmd.Flags().StringSliceVarP(&files, "filename", "f", nil, "remove the documents of a file, folder, or - for stdin; repeatable")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "of a bare NAME")
	w.flags(cmd)
	return cmd
}

// change sends a change set to where the server's policies live.
func (s *session) change(ctx context.Context, w writing, put []*policy.Document, remove []policy.Key) error {
	if w.dryRun == dryClient {
		for _, d := range put {
			fmt.Fprintf(s.Out, "%s valid (client dry run)\n", d.Key)
		}
		for _, k := range remove {
			fmt.Fprintf(s.Out, "%s would be deleted (client dry run)\n", k)
		}
		return nil
	}
	var before adminapi.Policies
	if err := s.get(ctx, "/v1/policies", &before); err != nil {
		return err
	}
	var out adminapi.ApplyResponse
	var err error
	if before.Carrier == "consul" {
		out, err = s.toConsul(ctx, w, before, put, remove)
	} else {
		req := adminapi.ApplyRequest{DryRun: w.dryRun == dryServer}
		for _, d := range put {
			req.Documents = append(req.Documents, d.Canonical)
		}
		for _, k := range remove {
			req.Delete = append(req.Delete, k.String())
		}
		err = s.call(ctx, http.MethodPost, "/v1/policies", req, &out)
	}
	if err != nil {
		return err
	}
	t := table{head: []string{"DOCUMENT", "RESULT"}, empty: "no document in it"}
	for _, r := range out.Results {
		t.add(r.Document, r.Document, r.Result)
	}
	if err := s.show(out, t); err != nil || !w.wait || w.dryRun != dryNone {
		return err
	}
	return s.await(ctx, w.limit, put, remove)
}

// toConsul writes keys with the user's own token.
func (s *session) toConsul(ctx context.Context, w writing, before adminapi.Policies, put []*policy.Document, remove []policy.Key) (adminapi.ApplyResponse, error) {
	out := adminapi.ApplyResponse{Results: outcome(before, put, remove)}
	if w.dryRun == dryServer {
		return out, nil
	}
	writer, err := kv.NewWriter(kv.Config{})
	if err != nil {
		return out, err
	}
	return out, writer.Write(ctx, put, remove)
}

// outcome says what a change set does to the documents in force.
func outcome(before adminapi.Policies, put []*policy.Document, remove []policy.Key) []adminapi.ApplyResult {
	old := map[string]string{}
	for _, p := range before.Items {
		old[p.Kind+"/"+p.Namespace+"/"+p.Name] = compacted(p.Document)
	}
	results := []adminapi.ApplyResult{}
	for _, d := range put {
		result := "configured"
		switch old[d.Key.String()] {
		case "":
			result = "created"
		case string(d.Canonical):
			result = "unchanged"
		}
		results = append(results, adminapi.ApplyResult{Document: d.Key.String(), Result: result})
	}
	for _, k := range remove {
		result := "deleted"
		if old[k.String()] == "" {
			result = "absent"
		}
		results = append(results, adminapi.ApplyResult{Document: k.String(), Result: result})
	}
	return results
}

// compacted is a document as its canonical JSON was, before the answer was
// indented.
func compacted(raw json.RawMessage) string {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return ""
	}
	out, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(out)
}

// await returns once the documents are in force and every sidecar has what it
// should.
func (s *session) await(ctx context.Context, limit time.Duration, put []*policy.Document, remove []policy.Key) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		why, err := s.pending(ctx, put, remove)
		switch {
		case err == nil && why == "":
			s.hint("in force on every sidecar")
			return nil
		case err != nil && ctx.Err() == nil:
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not in force after %s: %s", limit, why)
		case <-tick.C:
		}
	}
}

// pending says what is still awaited; "" is nothing. An error is an end.
func (s *session) pending(ctx context.Context, put []*policy.Document, remove []policy.Key) (string, error) {
	var now adminapi.Policies
	if err := s.get(ctx, "/v1/policies", &now); err != nil {
		return "the server does not answer", err
	}
	there := map[string]adminapi.Policy{}
	for _, p := range now.Items {
		there[p.Kind+"/"+p.Namespace+"/"+p.Name] = p
	}
	for _, d := range put {
		p, ok := there[d.Key.String()]
		switch {
		case !ok || compacted(p.Document) != string(d.Canonical):
			return d.Key.String() + " is not taken over yet", nil
		case p.Accepted != "Accepted":
			return "", fmt.Errorf("%s is %s: %s", d.Key, p.Accepted, p.Message)
		}
	}
	for _, k := range remove {
		if _, ok := there[k.String()]; ok {
			return k.String() + " is still there", nil
		}
	}
	var proxies []adminapi.Proxy
	if err := s.get(ctx, "/v1/proxies", &proxies); err != nil {
		return "the server does not answer", err
	}
	for _, p := range proxies {
		switch {
		case !p.Connected:
		case p.Status == adminapi.Error:
			return "", fmt.Errorf("%s refused %s: %s", p.ID, p.Errors[0].Resource, oneLine(p.Errors[0].Message))
		case p.Status == adminapi.Stale:
			return p.ID + " has not acknowledged it yet", nil
		}
	}
	return "", nil
}
