package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy"
)

func (s *session) policyDiff() *cobra.Command {
	var from files
	var xds bool
	cmd := &cobra.Command{
		Use: "diff -f FILE…", Args: cobra.NoArgs,
		Short: "Compare documents with those in force, and what sidecars would get with what they have",
		Long: `Compare documents with those in force, as unified diffs. Exit code 0: the same; 1: they
differ; above: an error.

With --xds the server compiles the documents beside those in force, and every Envoy message
that would be another one is compared too, as JSON: on which sidecars, and what it does
there. A changed route or endpoint closes nothing. A changed cluster closes its idle
connections, those in use after their last request, and forgets its ejections; a TCP
connection lives on. A listener of a local port is read when the proxy starts: it needs a
restart. Nothing is written.`,
		Example: `  meshctl policy diff -f orders.yaml
  meshctl policy diff -f policies/ -R --xds`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := from.given(); err != nil {
				return aboveOne(err)
			}
			docs, err := from.valid(s.In)
			if err != nil {
				return aboveOne(err)
			}
			differ, err := s.diff(cmd.Context(), docs, xds)
			if err != nil {
				return aboveOne(err)
			}
			if differ {
				return &exitError{Code: 1}
			}
			return nil
		},
	}
	from.flags(cmd, "file, folder, or - for stdin; repeatable")
	cmd.Flags().BoolVar(&xds, "xds", false, "compare the Envoy messages of every sidecar, too")
	return cmd
}

func (s *session) diff(ctx context.Context, docs []*policy.Document, xds bool) (differ bool, err error) {
	if xds && s.structured() {
		p, err := s.preview(ctx, docs)
		if err != nil {
			return false, err
		}
		return p.differs(), s.show(p.Preview, table{})
	}
	var now adminapi.Policies
	if err := s.get(ctx, "/v1/policies", &now); err != nil {
		return false, err
	}
	old := map[policy.Key]json.RawMessage{}
	for _, p := range now.Items {
		old[keyOf(p)] = p.Document
	}
	for _, d := range docs {
		text, err := difference(d.Key.String(), inForceAndGiven, old[d.Key], d.Canonical)
		if err != nil {
			return false, err
		}
		differ = differ || text != ""
		fmt.Fprint(s.Out, text)
	}
	if !xds {
		return differ, nil
	}
	p, err := s.preview(ctx, docs)
	if err != nil {
		return false, err
	}
	return differ || p.differs(), s.showPreview(p)
}

// sides name what is compared.
type sides struct{ before, after string }

var inForceAndGiven = sides{"in force", "given"}

// difference is a unified diff of two documents as YAML; "" when they are the
// same.
func difference(name string, of sides, before, after json.RawMessage) (string, error) {
	var texts [2][]byte
	for i, raw := range []json.RawMessage{before, after} {
		if raw == nil {
			continue
		}
		text, err := yaml.JSONToYAML(raw)
		if err != nil {
			return "", fmt.Errorf("write %s as YAML: %w", name, err)
		}
		texts[i] = text
	}
	return unified(name, of, texts[0], texts[1]), nil
}

// unified is a unified diff, "" for no difference.
func unified(name string, of sides, before, after []byte) string {
	return string(diff.Diff(of.before+": "+name, before, of.after+": "+name, after))
}

// preview is what the server says a change set would do.
type preview struct{ adminapi.Preview }

func (s *session) preview(ctx context.Context, docs []*policy.Document) (preview, error) {
	var p preview
	var req adminapi.ApplyRequest
	for _, d := range docs {
		req.Documents = append(req.Documents, d.Canonical)
	}
	err := s.call(ctx, http.MethodPost, "/v1/policies/preview", req, &p.Preview)
	return p, err
}

func (p preview) differs() bool { return len(p.Changes) > 0 }

// reached is how many sidecars a change reaches.
func (p preview) reached(change int) (n int) {
	for _, g := range p.Groups {
		if slices.Contains(g.Changes, change) {
			n += len(g.Proxies)
		}
	}
	return n
}

// effects says in words what a change does to a sidecar.
var effects = map[string]string{
	"resets":  "closes idle connections to it, those in use at their end, and forgets its ejections",
	"closes":  "closes idle connections to it, those in use at their end",
	"restart": "counts from the next start of the proxy on",
}

// titleOf names a message as in "CDS orders for calls from web".
func titleOf(c adminapi.PreviewChange) string {
	if c.Caller == "" || c.Type == "LDS" {
		return c.Type + " " + c.Name
	}
	return c.Type + " " + c.Name + " for calls from " + c.Caller
}

func (s *session) showPreview(p preview) error {
	for i, c := range p.Changes {
		line := fmt.Sprintf("# %s: %s, on %s", titleOf(c), c.Change, count(p.reached(i), "sidecar"))
		if words := effects[c.Effect]; words != "" {
			line += "; " + words
		}
		var texts [2][]byte
		for j, raw := range []json.RawMessage{c.Before, c.After} {
			if raw != nil {
				var b bytes.Buffer
				if err := json.Indent(&b, raw, "", "  "); err != nil {
					return fmt.Errorf("read %s: %w", titleOf(c), err)
				}
				texts[j] = append(b.Bytes(), '\n')
			}
		}
		if _, err := fmt.Fprintf(s.Out, "%s\n%s", line, unified(titleOf(c), inForceAndGiven, texts[0], texts[1])); err != nil {
			return err
		}
	}
	if err := s.showGroups(p); err != nil {
		return err
	}
	for _, f := range p.Findings {
		s.hint("%s %s: %s: %s", f.Code, f.Severity, strings.TrimSuffix(f.Document+": "+f.Path, ": "), f.Message)
	}
	for _, f := range p.Faults {
		s.hint("would not be sent: %s", f)
	}
	s.hint("%s", p.summary())
	return nil
}

// showGroups lists the sidecars to which the same happens in one row.
func (s *session) showGroups(p preview) error {
	if len(p.Groups) == 0 {
		return nil
	}
	t := table{head: []string{"SIDECARS", "COUNT", "CHANGED", "CONNECTIONS CLOSED TO", "NEEDS A RESTART FOR"}}
	for _, g := range p.Groups {
		var changed []string
		for _, i := range g.Changes {
			if p.Changes[i].Effect != "restart" {
				changed = append(changed, p.Changes[i].Type+" "+p.Changes[i].Name)
			}
		}
		t.rows = append(t.rows, []string{
			several(g.Proxies), fmt.Sprint(len(g.Proxies)), several(changed),
			several(p.of(g.Changes, "resets", "closes")), several(p.of(g.Changes, "restart")),
		})
	}
	fmt.Fprintln(s.Out)
	return s.showTable(t)
}

// of names the changes with one of these effects, each once.
func (p preview) of(changes []int, effects ...string) (names []string) {
	for _, i := range changes {
		if c := p.Changes[i]; slices.Contains(effects, c.Effect) && !slices.Contains(names, c.Name) {
			names = append(names, c.Name)
		}
	}
	return names
}

// several names a few of many.
func several(names []string) string {
	const most = 4
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

func (p preview) summary() string {
	changed, closing, restarting := 0, 0, 0
	for _, g := range p.Groups {
		changed += len(g.Proxies)
		if len(p.of(g.Changes, "resets", "closes")) > 0 {
			closing += len(g.Proxies)
		}
		if len(p.of(g.Changes, "restart")) > 0 {
			restarting += len(g.Proxies)
		}
	}
	out := fmt.Sprintf("%d of %s would change, beside revision %s", changed, count(p.Proxies, "connected sidecar"), p.Revision)
	if closing > 0 {
		out += fmt.Sprintf("; connections are closed on %d", closing)
	} else {
		out += "; no connection is closed"
	}
	if restarting > 0 {
		out += fmt.Sprintf("; %d need a restart", restarting)
	}
	return out
}
