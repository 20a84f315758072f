package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/policy/consulimport"
	"meshlite.dev/internal/policy/kv"
)

func (s *session) policyImport() *cobra.Command {
	cmd := group("import", "Make policies of what another mesh has")
	cmd.AddCommand(s.importConsul())
	return cmd
}

func (s *session) importConsul() *cobra.Command {
	var from files
	cmd := &cobra.Command{
		Use: "consul", Args: cobra.NoArgs,
		Short: "Make policies of Consul's service-defaults, routers, splitters, resolvers and proxy-defaults",
		Long: `Make policies of Consul's config entries: service-defaults, service-router,
service-splitter, service-resolver and proxy-defaults of a live Consul, read with its
own variables (CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN, CONSUL_CACERT and their like), or of
JSON files as "consul config read" writes them. Nothing is written to either mesh: the
documents go to stdout, in one order whatever the order of the entries.

What has no counterpart is told on stderr, and in comments beside the documents: entry,
field, value, and what to do instead. Lines that begin with "differs" are those without
which calls go elsewhere than in Consul: the exit code is then 79, and routes that cannot
be completed are written with effect: shadow.`,
		Example: `  meshctl policy import consul > policies.yaml
  meshctl policy import consul --consul-addr https://consul.example:8501 | meshctl policy diff -f -
  consul config read -kind service-router -name orders | meshctl policy import consul -f -`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			entries, services, err := s.consulEntries(cmd.Context(), from)
			if err != nil {
				return err
			}
			return s.showImport(consulimport.Import(entries, services))
		},
	}
	from.flags(cmd, "JSON of config entries instead of a live Consul: file, folder, or - for stdin; repeatable")
	return cmd
}

// consulEntries reads the entries, of files where there are any; services are
// nil where only a live Consul could name them.
func (s *session) consulEntries(ctx context.Context, from files) (entries []json.RawMessage, services []string, err error) {
	if len(from.names) == 0 {
		return s.liveEntries(ctx)
	}
	manifests, err := from.read(s.In)
	if err != nil {
		return nil, nil, err
	}
	var faults []error
	for _, m := range manifests {
		some, err := consulimport.Parse(m.data)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s %w", m.name, err))
		}
		entries = append(entries, some...)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, nil, &exitError{ExitBadInput, err}
	}
	return entries, nil, nil
}

func (s *session) liveEntries(ctx context.Context) ([]json.RawMessage, []string, error) {
	here, err := s.current()
	if err != nil {
		return nil, nil, err
	}
	cfg, err := s.consulConfig(here)
	if err != nil {
		return nil, nil, err
	}
	e, err := kv.ReadEntries(ctx, cfg, consulimport.Kinds())
	var away *url.Error
	switch {
	case errors.Is(err, kv.ErrToken):
		return nil, nil, fmt.Errorf("%w\nhint: set CONSUL_HTTP_TOKEN to a token that may read all services", err)
	case errors.As(err, &away):
		return nil, nil, &exitError{ExitUnreachable, fmt.Errorf("%w\nis Consul running there? --consul-addr or CONSUL_HTTP_ADDR says where", err)}
	case err != nil:
		return nil, nil, err
	}
	if e.Hidden {
		s.hint("the token hides entries or services; give it service_prefix \"\" read, and import again")
	}
	return e.Raw, e.Services, nil
}

// imported is what import prints for programs.
type imported struct {
	Documents []json.RawMessage `json:"documents"`
	Leftovers []leftover        `json:"leftovers"`
}

type leftover struct {
	Entry   string `json:"entry"` // "service-router/orders"
	Field   string `json:"field,omitempty"`
	Value   string `json:"value,omitempty"`
	Instead string `json:"instead"`
	Moves   bool   `json:"moves,omitempty"` // calls would go elsewhere than in Consul
}

func (s *session) showImport(r consulimport.Result) error {
	if err := s.writeImport(r); err != nil {
		return err
	}
	for _, l := range r.Leftovers {
		s.hint("%v", l)
	}
	s.hint("%s of Consul's entries, %s to look at", count(len(r.Documents), "document"), count(len(r.Leftovers), "thing"))
	if r.Incomplete() {
		return &exitError{ExitFindings, errors.New("calls would go elsewhere than in Consul where it differs: see above")}
	}
	return nil
}

func (s *session) writeImport(r consulimport.Result) error {
	switch s.output {
	case "name":
		for _, d := range r.Documents {
			fmt.Fprintf(s.Out, "%s/%s\n", d.Kind, d.Name)
		}
		return nil
	case "json":
		out := imported{Documents: []json.RawMessage{}, Leftovers: []leftover{}}
		for _, d := range r.Documents {
			raw, err := d.JSON()
			if err != nil {
				return fmt.Errorf("write %s %s: %w", d.Kind, d.Name, err)
			}
			out.Documents = append(out.Documents, raw)
		}
		for _, l := range r.Leftovers {
			out.Leftovers = append(out.Leftovers, leftover{l.Entry(), l.Field, l.Value, l.Instead, l.Moves})
		}
		return s.showJSON(out)
	}
	raw, err := r.YAML()
	if err != nil {
		return err
	}
	_, err = s.Out.Write(raw)
	return err
}
