package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/consul/api"

	"meshlite.dev/internal/mesh"
)

// read says how one request is made.
type read struct {
	index      uint64 // 0: answered at once, with the header that tells of filtering
	wait       time.Duration
	consistent bool   // checked with the other servers; only without index
	datacenter string // "" is the agent's own
}

// answer is what comes with every result.
type answer struct {
	index    uint64 // 1 or more
	filtered bool   // the token hides results; only ever true without index, or for lists
	deny     bool   // ACLs are on, and what is not allowed is denied
	dark     bool   // of a list: another datacenter shows a client without a token not even its servers
}

func (r read) options(ctx context.Context) (*api.QueryOptions, context.CancelFunc) {
	limit := answerIn
	if r.index > 0 {
		limit = r.wait + slack
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	q := &api.QueryOptions{WaitIndex: r.index, RequireConsistent: r.consistent && r.index == 0, AllowStale: r.index > 0, Datacenter: r.datacenter}
	if r.index > 0 {
		q.WaitTime = r.wait
	}
	return q.WithContext(ctx), cancel
}

func answerOf(m *api.QueryMeta) answer {
	return answer{index: max(m.LastIndex, 1), filtered: m.ResultsFilteredByACLs, deny: m.DefaultACLPolicy == "deny"}
}

func (c client) health(ctx context.Context, service string, r read) (described, answer, error) {
	q, cancel := r.options(ctx)
	defer cancel()
	entries, m, err := c.api.Health().Service(service, "", false, q)
	key := mesh.ServiceKey(service, r.datacenter)
	if err != nil {
		return described{}, answer{}, fmt.Errorf("read the instances of %s: %w", key, err)
	}
	return describe(key, entries), answerOf(m), nil
}

// plain leaves sidecars and gateways out of the name list; Consul's own
// service remains and is dropped by name.
const plain = `ServiceKind == ""`

func (c client) names(ctx context.Context, r read) ([]string, answer, error) {
	q, cancel := r.options(ctx)
	defer cancel()
	q.Filter = plain
	services, m, err := c.api.Catalog().Services(q)
	if err != nil {
		return nil, answer{}, fmt.Errorf("read the list of services: %w", err)
	}
	names := make([]string, 0, len(services))
	for name := range services {
		if name != "consul" {
			names = append(names, name)
		}
	}
	a := answerOf(m)
	if _, shown := services["consul"]; !shown && c.stranger(r.datacenter) {
		a.dark, a.filtered = true, true
	}
	return names, a, nil
}

// defaults reads the protocols that service-defaults state.
func (c client) defaults(ctx context.Context, r read) (map[string]mesh.Protocol, answer, error) {
	q, cancel := r.options(ctx)
	defer cancel()
	entries, m, err := c.api.ConfigEntries().List(api.ServiceDefaults, q)
	if err != nil {
		return nil, answer{}, fmt.Errorf("read service-defaults: %w", err)
	}
	return protocolsOf(entries), answerOf(m), nil
}

// stranger reports whether a datacenter tells nothing of what it hides: no
// header does without a token, and that of the default policy is the agent's
// own. What it shows of its servers tells.
func (c client) stranger(datacenter string) bool { return datacenter != "" && !c.token }

// whereabouts returns what a datacenter is called, as its servers registered
// themselves; "" where it does not show them.
func (c client) whereabouts(ctx context.Context, datacenter string) (string, error) {
	q, cancel := read{datacenter: datacenter}.options(ctx)
	defer cancel()
	servers, _, err := c.api.Catalog().Service("consul", "", q)
	switch {
	case refused(err):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("read the name of the datacenter: %w", err)
	case len(servers) == 0:
		return "", nil
	}
	return servers[0].Datacenter, nil
}

// identity returns a name of a Consul that a rebuilt one does not have: its
// trust domain. "" where the server does not tell.
func (c client) identity(ctx context.Context, datacenter string) (string, error) {
	q, cancel := read{datacenter: datacenter}.options(ctx)
	defer cancel()
	roots, _, err := c.api.Connect().CARoots(q)
	var status api.StatusError
	if errors.As(err, &status) {
		return "", nil // service mesh switched off, or not for this token
	}
	if err != nil {
		return "", fmt.Errorf("read the trust domain: %w", err)
	}
	return roots.TrustDomain, nil
}

// testify asks a datacenter who it is, and whether it hides itself: after a
// read, for what that is worth.
func (c client) testify(ctx context.Context, datacenter string) (identity string, hides bool, err error) {
	if identity, err = c.identity(ctx, datacenter); err != nil || !c.stranger(datacenter) {
		return identity, false, err
	}
	called, err := c.whereabouts(ctx, datacenter)
	return identity, called == "", err
}

// tokenStands asks whether the token still stands.
func (c client) tokenStands(ctx context.Context) error {
	q, cancel := read{}.options(ctx)
	defer cancel()
	_, _, err := c.api.ACL().TokenReadSelf(q)
	if refused(err) {
		return err
	}
	return nil // ACLs switched off, or Consul away: not the token's fault
}

// refused reports that Consul answered, and that it was about rights.
func refused(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == http.StatusForbidden
}

// crowded reports that the agent grants this client no more connections.
func crowded(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == http.StatusTooManyRequests
}
