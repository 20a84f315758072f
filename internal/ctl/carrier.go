package ctl

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/ctl/clientconfig"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/kv"
)

// Carriers by the names that the server gives them.
const (
	carrierDir    = "dir"    // a folder: the server writes
	carrierConsul = "consul" // meshctl writes keys, with its user's Consul token
)

// carriers in the order of the documentation.
var carriers = []string{carrierDir, carrierConsul}

// carrier is where documents live, reached with its user's own credentials.
type carrier interface {
	// Held returns a document as it is there now.
	Held(ctx context.Context, key policy.Key) (h policy.Held, ok bool, err error)
	// Apply makes the changes, all or none as far as the carrier can; a dry run
	// says what would become of them.
	Apply(ctx context.Context, changes []policy.Change, dryRun bool) ([]adminapi.ApplyResult, error)
}

// carrier is the one of --carrier, else of the server.
func (s *session) carrier(ctx context.Context) (carrier, error) {
	context, err := s.current()
	if err != nil {
		return nil, err
	}
	name, ok := s.chosen(s.carrierName, "MESHCTL_CARRIER")
	if !ok {
		name = context.Carrier
	}
	if name == "" {
		var p adminapi.Policies
		if err := s.get(ctx, "/v1/policies", &p); err != nil {
			return nil, err
		}
		name = p.Carrier
	}
	switch name {
	case carrierConsul:
		cfg, err := s.consulConfig(context)
		if err != nil {
			return nil, err
		}
		w, err := kv.NewWriter(cfg)
		return direct{w, true}, err
	case carrierDir, "": // a server without a carrier says so itself
		return remote{s}, nil
	}
	return nil, usagef("--carrier is %q; use %s", name, strings.Join(carriers, ", "))
}

// consulConfig is Consul's address and the user's own token: those of flags and
// Consul's own variables, which the client reads itself, else the context's. The
// token of a context is for the context's Consul alone.
func (s *session) consulConfig(c clientconfig.Context) (kv.Config, error) {
	cfg := kv.Config{Addr: s.consulAddr}
	switch {
	case cfg.Addr == "" && s.anyEnv("CONSUL_HTTP_ADDR"), cfg.Addr != "" && cfg.Addr != c.Consul.Address:
		return cfg, nil // another Consul
	}
	cfg.Addr = c.Consul.Address
	if !s.anyEnv("CONSUL_CACERT", "CONSUL_CAPATH") {
		cfg.CAFile = c.Consul.CAFile
	}
	if s.anyEnv("CONSUL_HTTP_TOKEN", "CONSUL_HTTP_TOKEN_FILE") {
		return cfg, nil
	}
	token, err := secret(c.Consul.TokenFile, "the Consul token of context "+c.Name)
	cfg.Token = token
	return cfg, err
}

func (s *session) anyEnv(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		_, ok := s.chosen("", n)
		return ok
	})
}

// remote has the server write.
type remote struct{ *session }

func (r remote) Held(ctx context.Context, key policy.Key) (policy.Held, bool, error) {
	var h adminapi.HeldDocument
	err := r.get(ctx, "/v1/policies/"+key.String()+"/held", &h)
	if isNotFound(err) {
		return policy.Held{}, false, nil
	}
	return policy.Held{Text: []byte(h.Text), Version: h.Version, Owner: h.Owner}, err == nil, err
}

func (r remote) Apply(ctx context.Context, changes []policy.Change, dryRun bool) ([]adminapi.ApplyResult, error) {
	req := adminapi.ApplyRequest{DryRun: dryRun}
	for _, c := range changes {
		if c.Document != nil {
			req.Documents = append(req.Documents, c.Document.Canonical)
		} else {
			req.Delete = append(req.Delete, c.Key.String())
		}
		if c.Version != "" {
			if req.Expect == nil {
				req.Expect = map[string]string{}
			}
			req.Expect[c.Key.String()] = c.Version
		}
	}
	var out adminapi.ApplyResponse
	err := r.call(ctx, http.MethodPost, "/v1/policies", req, &out)
	return out.Results, err
}

// direct writes where the documents live. With pin, what changes between the
// reading and the writing is not overwritten, said or not.
type direct struct {
	policy.Writer
	pin bool
}

func (d direct) Held(ctx context.Context, key policy.Key) (policy.Held, bool, error) {
	all, err := d.Writer.Held(ctx, []policy.Key{key})
	h, ok := all[key]
	return h, ok, err
}

func (d direct) Apply(ctx context.Context, changes []policy.Change, dryRun bool) ([]adminapi.ApplyResult, error) {
	held, err := d.Writer.Held(ctx, policy.KeysOf(changes))
	if err != nil {
		return nil, err
	}
	results := []adminapi.ApplyResult{}
	changes = slices.Clone(changes)
	for i, c := range changes {
		results = append(results, adminapi.ApplyResult{Document: c.Key.String(), Result: string(c.Result(held))})
		if h, ok := held[c.Key]; d.pin && c.Version == "" {
			changes[i].Version = policy.Absent
			if ok {
				changes[i].Version = h.Version
			}
		}
	}
	if dryRun {
		return results, d.Check(ctx, changes)
	}
	return results, d.Write(ctx, changes)
}
