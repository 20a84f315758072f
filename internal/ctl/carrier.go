package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/ctl/clientconfig"
	"meshlite.dev/internal/ctl/kube"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/kv"
)

// Carriers by the names that the server gives them.
const (
	carrierDir    = "dir"    // a folder: the server writes
	carrierConsul = "consul" // meshctl writes keys, with its user's Consul token
	carrierKube   = "kube"   // meshctl writes objects, with its user's kubeconfig
)

// carriers in the order of the documentation.
var carriers = []string{carrierDir, carrierConsul, carrierKube}

// carrier is where documents live, reached with its user's own credentials.
type carrier interface {
	// Held returns a document as it is there now.
	Held(ctx context.Context, key policy.Key) (h policy.Held, ok bool, err error)
	// Apply makes the changes, all or none as far as the carrier can; a dry run
	// says what would become of them.
	Apply(ctx context.Context, changes []policy.Change, dryRun bool) ([]adminapi.ApplyResult, error)
}

// carrier is the one of --carrier, else of the context, else of the server.
func (s *session) carrier(ctx context.Context) (carrier, error) {
	here, err := s.current()
	if err != nil {
		return nil, err
	}
	name, ok := s.chosen(s.carrierName, "MESHCTL_CARRIER")
	if !ok {
		name = here.Carrier
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
		cfg, err := s.consulConfig(here)
		if err != nil {
			return nil, err
		}
		w, err := kv.NewWriter(cfg)
		return direct{w, true}, err
	case carrierKube:
		w, err := kube.New(s.kubeConfig(here))
		return direct{w, false}, asUsage(err, kube.ErrNoCluster)
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

// kubeConfig is the user's cluster: that of flags and $KUBECONFIG, else the
// context's.
func (s *session) kubeConfig(c clientconfig.Context) kube.Config {
	cfg := kube.Config{Kubeconfig: s.kubeconfig, Context: s.kubeContext, Force: s.force, Warnings: s.Err}
	if cfg.Kubeconfig == "" && !s.anyEnv("KUBECONFIG") {
		cfg.Kubeconfig = c.Kubernetes.Kubeconfig
	}
	if cfg.Context == "" {
		cfg.Context = c.Kubernetes.Context
	}
	return cfg
}

// asUsage makes what the user has to set a usage error.
func asUsage(err, of error) error {
	if errors.Is(err, of) {
		return &exitError{ExitUsage, err}
	}
	return err
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
			text, err := c.Document.Text()
			if err != nil {
				return nil, err
			}
			req.Documents = append(req.Documents, text)
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
	return h, ok, coded(err)
}

func (d direct) Apply(ctx context.Context, changes []policy.Change, dryRun bool) ([]adminapi.ApplyResult, error) {
	held, err := d.Writer.Held(ctx, policy.KeysOf(changes))
	if err != nil {
		return nil, coded(err)
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
		return results, coded(d.Check(ctx, changes))
	}
	return results, coded(d.Write(ctx, changes))
}

// coded gives an error of Consul or Kubernetes its exit code, and says what to
// do about a document that moved.
func coded(err error) error {
	var u *url.Error
	switch {
	case errors.Is(err, policy.ErrChanged):
		return fmt.Errorf("%w\nhint: meshctl policy diff -f shows what is there now; then repeat the change", err)
	case errors.Is(err, kube.ErrUnreachable), errors.As(err, &u):
		return &exitError{ExitUnreachable, err}
	}
	return err
}
