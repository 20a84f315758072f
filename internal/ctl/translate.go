package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	catalogfile "meshlite.dev/internal/catalog/file"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/xds/dump"
	"meshlite.dev/internal/xds/resource"
)

// translating is what translate is asked for.
type translating struct {
	files
	catalog string // folder of service definitions; "": services are made up
	service string // "" is all
	caller  string // "" is every variant
	root    string
	egress  string
}

func (s *session) policyTranslate() *cobra.Command {
	t := translating{root: compile.Default().RootNamespace}
	cmd := &cobra.Command{
		Use: "translate -f FILE…", Args: cobra.NoArgs,
		Short: "Print the Envoy messages that documents become, without a server",
		Long: `Print the Envoy messages that documents become, without a server: by the very code of
xds-server, as the YAML or (-o json) the JSON of their protobufs. Services, their instances
and protocols come from the definitions in --catalog-dir; without it every service that
the documents name is made up: HTTP/1.1, without instances. What xds-server would remark
is told on stderr.`,
		Example: `  meshctl policy translate -f orders.yaml
  meshctl policy translate -f policies/ -R --catalog-dir catalog/ --service orders --caller checkout -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := t.given(); err != nil {
				return err
			}
			if t.egress != string(resource.Deny) && t.egress != string(resource.Passthrough) {
				return usagef("--egress is %q; use %s or %s", t.egress, resource.Deny, resource.Passthrough)
			}
			return s.translate(cmd.Context(), t)
		},
	}
	t.flags(cmd, "file, folder, or - for stdin; repeatable")
	fs := cmd.Flags()
	fs.StringVar(&t.catalog, "catalog-dir", "", "folder of Consul service definitions, JSON or HCL; without it services are made up")
	fs.StringVar(&t.service, "service", "", "only this service's messages")
	fs.StringVar(&t.caller, "caller", "", "as this caller's sidecars get them; without it, for every caller with messages of its own too")
	fs.StringVar(&t.root, "root-namespace", t.root, "the namespace that may target everything")
	fs.StringVar(&t.egress, "egress", string(resource.Deny), "deny or passthrough, as xds-server is told")
	_ = cmd.MarkFlagDirname("catalog-dir") // the flags are there: see above
	for _, name := range []string{"service", "caller"} {
		_ = cmd.RegisterFlagCompletionFunc(name, s.serviceNames)
	}
	return cmd
}

// translation is one message.
type translation struct {
	Type     string          `json:"type"` // CDS, EDS, LDS, SRDS, RDS
	Name     string          `json:"name"`
	Caller   string          `json:"caller,omitempty"`   // whose sidecars get it; absent: all without one of their own
	Policies []string        `json:"policies,omitempty"` // that it is made of
	Config   json.RawMessage `json:"config"`
}

func (s *session) translate(ctx context.Context, t translating) error {
	docs, err := t.valid(s.In)
	if err != nil {
		return err
	}
	for _, d := range docs {
		d.Generation = 1 // as after their first apply
	}
	result, findings, err := t.compile(ctx, docs)
	if err != nil {
		return err
	}
	for _, f := range findings {
		if f.Severity != mesh.Info {
			s.hint("%s %s: %s", f.Code, strings.TrimPrefix(f.Document+": "+f.Path, ": "), f.Message)
		}
	}
	services := slices.Sorted(maps.Keys(maps.Collect(result.Model.Services.All())))
	if t.service != "" {
		if !slices.Contains(services, t.service) {
			return fmt.Errorf("no service %q; there are %s", t.service, policies(services))
		}
		services = []string{t.service}
	}
	out := []translation{}
	var faults []error
	for _, name := range services {
		svc, _ := result.Model.Services.Get(name)
		set := resource.Build(resource.Config{Egress: resource.Egress(t.egress)}, svc)
		for _, f := range set.Faults {
			faults = append(faults, fmt.Errorf("%s %s: %w", typeOf(f.Type), f.Name, f.Err))
		}
		for _, r := range ofCaller(set.Resources, t.caller) {
			if r.State == resource.Withheld {
				continue
			}
			one, err := translationOf(r)
			if err != nil {
				return err
			}
			out = append(out, one)
		}
	}
	if err := s.showTranslations(out); err != nil {
		return err
	}
	return errors.Join(faults...)
}

func (t translating) compile(ctx context.Context, docs []*policy.Document) (compile.Result, []mesh.Finding, error) {
	cfg := compile.Config{RootNamespace: t.root}
	if t.catalog == "" {
		return compile.Offline(cfg, docs), compile.Analyze(cfg, docs), nil
	}
	snap, err := catalogfile.Read(ctx, t.catalog)
	if err != nil {
		return compile.Result{}, nil, &exitError{ExitBadInput, fmt.Errorf("read --catalog-dir: %w", err)}
	}
	r := compile.Full(cfg, snap, policy.Revision{Documents: docs})
	findings := r.Findings()
	return r, findings, nil
}

// ofCaller keeps the messages that a caller's sidecars get; all for "".
func ofCaller(rs []*resource.Resource, caller string) []*resource.Resource {
	if caller == "" {
		return rs
	}
	own := map[resource.Ref]bool{}
	for _, r := range rs {
		if r.Caller == caller {
			own[resource.Ref{Type: r.Type, Name: r.Name}] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(rs), func(r *resource.Resource) bool {
		return r.Caller != caller && (r.Caller != "" || own[resource.Ref{Type: r.Type, Name: r.Name}])
	})
}

func translationOf(r *resource.Resource) (translation, error) {
	config, err := dump.JSON(r.Type, r.Body)
	return translation{Type: typeOf(r.Type), Name: r.Name, Caller: r.Caller, Policies: r.Policies, Config: config}, err
}

// typeOf is the short name of a type URL.
func typeOf(url string) string {
	for i, u := range []string{resource.ClusterType, resource.EndpointType, resource.ListenerType, resource.ScopedRouteType, resource.RouteType} {
		if u == url {
			return types[i]
		}
	}
	return url
}

// showTranslations prints a YAML document a message, or one list in JSON.
func (s *session) showTranslations(all []translation) error {
	switch s.output {
	case "json":
		return s.showJSON(all)
	case "name":
		t := table{}
		for _, m := range all {
			t.names = append(t.names, m.Type+"/"+m.Name)
		}
		return s.show(all, t)
	}
	for i, m := range all {
		raw, err := yaml.Marshal(m)
		if err != nil {
			return fmt.Errorf("write YAML: %w", err)
		}
		head := "# " + m.Type + " " + m.Name
		if m.Caller != "" {
			head += " for calls from " + m.Caller
		}
		if i > 0 {
			head = "---\n" + head
		}
		if _, err := fmt.Fprintf(s.Out, "%s\n%s", head, raw); err != nil {
			return err
		}
	}
	return nil
}
