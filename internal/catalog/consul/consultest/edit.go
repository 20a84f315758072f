package consultest

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/consul/api"
)

// Instance is one instance to register.
type Instance struct {
	Service, ID string
	Address     string // default 127.0.0.1
	Port        int
	Tags        []string
	Meta        map[string]string
	// Node, when set, registers straight into the catalog, under a node of
	// that name: the agent then neither keeps nor removes it.
	Node string
	// Check is the state of its one check: "", "passing", "warning",
	// "critical". "" has none.
	Check string
	Kind  api.ServiceKind
	// Proxied is the service behind a connect proxy.
	Proxied string
	Weights *api.AgentWeights
	// Locality of the instance.
	Region, Zone string
}

// Register adds or replaces instances.
func (a *Agent) Register(instances ...Instance) {
	a.tb.Helper()
	for _, i := range instances {
		if i.ID == "" {
			i.ID = fmt.Sprintf("%s-%d", i.Service, i.Port)
		}
		if i.Address == "" {
			i.Address = "127.0.0.1"
		}
		err := a.agentRegister(i)
		if i.Node != "" {
			err = a.catalogRegister(i)
		}
		if err != nil {
			a.tb.Fatalf("register %s: %v", i.ID, err)
		}
	}
}

func (a *Agent) agentRegister(i Instance) error {
	if i.Node != "" {
		return nil
	}
	reg := &api.AgentServiceRegistration{
		Kind: i.Kind, Name: i.Service, ID: i.ID, Address: i.Address, Port: i.Port, Tags: i.Tags, Meta: i.Meta, Weights: i.Weights,
	}
	if i.Proxied != "" {
		reg.Proxy = &api.AgentServiceConnectProxyConfig{DestinationServiceName: i.Proxied}
	}
	if i.Check != "" {
		reg.Check = &api.AgentServiceCheck{CheckID: "check:" + i.ID, TTL: "1h", Status: i.Check}
	}
	if i.Region != "" || i.Zone != "" {
		reg.Locality = &api.Locality{Region: i.Region, Zone: i.Zone}
	}
	return a.api.Agent().ServiceRegister(reg)
}

func (a *Agent) catalogRegister(i Instance) error {
	reg := &api.CatalogRegistration{
		Node: i.Node, Address: "127.0.0.1", SkipNodeUpdate: false,
		Service: &api.AgentService{Kind: i.Kind, Service: i.Service, ID: i.ID, Address: i.Address, Port: i.Port, Tags: i.Tags, Meta: i.Meta},
	}
	if i.Weights != nil {
		reg.Service.Weights = *i.Weights
	}
	if i.Check != "" {
		reg.Check = &api.AgentCheck{Node: i.Node, CheckID: "check:" + i.ID, Name: "check", Status: i.Check, ServiceID: i.ID}
	}
	_, err := a.api.Catalog().Register(reg, nil)
	return err
}

// Apply adds and removes instances in one write, under a node that no agent
// looks after.
func (a *Agent) Apply(add []Instance, remove ...string) {
	a.tb.Helper()
	const node = "shelf"
	ops := api.TxnOps{{Node: &api.NodeTxnOp{Verb: api.NodeSet, Node: api.Node{Node: node, Address: "127.0.0.1"}}}}
	for _, i := range add {
		ops = append(ops, &api.TxnOp{Service: &api.ServiceTxnOp{Verb: api.ServiceSet, Node: node, Service: api.AgentService{
			Kind: i.Kind, Service: i.Service, ID: i.ID, Address: i.Address, Port: i.Port, Tags: i.Tags, Meta: i.Meta,
		}}})
	}
	for _, id := range remove {
		ops = append(ops, &api.TxnOp{Service: &api.ServiceTxnOp{Verb: api.ServiceDelete, Node: node, Service: api.AgentService{Service: id, ID: id}}})
	}
	ok, answer, _, err := a.api.Txn().Txn(ops, nil)
	if err == nil && !ok {
		for _, e := range answer.Errors {
			err = errors.Join(err, errors.New(e.What))
		}
	}
	if err != nil {
		a.tb.Fatalf("write %d instances: %v", len(ops)-1, err)
	}
}

// Deregister removes instances of this agent.
func (a *Agent) Deregister(ids ...string) {
	a.tb.Helper()
	for _, id := range ids {
		if err := a.api.Agent().ServiceDeregister(id); err != nil {
			a.tb.Fatalf("deregister %s: %v", id, err)
		}
	}
}

// DeregisterNode removes a node and all that it carries, in one write.
func (a *Agent) DeregisterNode(node string) {
	a.tb.Helper()
	if _, err := a.api.Catalog().Deregister(&api.CatalogDeregistration{Node: node}, nil); err != nil {
		a.tb.Fatalf("deregister node %s: %v", node, err)
	}
}

// SetCheck moves the check of an instance of this agent.
func (a *Agent) SetCheck(id, status string) {
	a.tb.Helper()
	if err := a.api.Agent().UpdateTTL("check:"+id, "", status); err != nil {
		a.tb.Fatalf("set the check of %s: %v", id, err)
	}
}

// Maintenance puts an instance of this agent into maintenance, or takes it
// out.
func (a *Agent) Maintenance(id string, on bool) {
	a.tb.Helper()
	err := a.api.Agent().DisableServiceMaintenance(id)
	if on {
		err = a.api.Agent().EnableServiceMaintenance(id, "test")
	}
	if err != nil {
		a.tb.Fatalf("maintenance of %s: %v", id, err)
	}
}

// Protocol states a service's protocol in its service-defaults.
func (a *Agent) Protocol(service, protocol string) {
	a.tb.Helper()
	entry := &api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: service, Protocol: protocol}
	if _, _, err := a.api.ConfigEntries().Set(entry, nil); err != nil {
		a.tb.Fatalf("service-defaults of %s: %v", service, err)
	}
}

// Snapshot returns Consul's state, for Restore.
func (a *Agent) Snapshot() []byte {
	a.tb.Helper()
	r, _, err := a.api.Snapshot().Save(nil)
	if err != nil {
		a.tb.Fatalf("save a snapshot: %v", err)
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	if err != nil {
		a.tb.Fatalf("save a snapshot: %v", err)
	}
	return raw
}

// Restore brings Consul back to a state that Snapshot returned.
func (a *Agent) Restore(snapshot []byte) {
	a.tb.Helper()
	if err := a.api.Snapshot().Restore(nil, bytes.NewReader(snapshot)); err != nil {
		a.tb.Fatalf("restore a snapshot: %v", err)
	}
}

// ReadRules let a token read all services.
const ReadRules = `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`

// Token is an ACL token and the policy that it has to itself.
type Token struct{ Secret, accessor, policy string }

// NewToken makes a token with its rules; "" are no rights at all.
func (a *Agent) NewToken(rules string) Token {
	a.tb.Helper()
	if rules == "" {
		rules = "# none"
	}
	name := fmt.Sprintf("p%d", len(a.policies()))
	p, _, err := a.api.ACL().PolicyCreate(&api.ACLPolicy{Name: name, Rules: rules}, nil)
	if err != nil {
		a.tb.Fatalf("make an ACL policy: %v", err)
	}
	t, _, err := a.api.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{ID: p.ID}}}, nil)
	if err != nil {
		a.tb.Fatalf("make a token: %v", err)
	}
	return Token{Secret: t.SecretID, accessor: t.AccessorID, policy: p.ID}
}

func (a *Agent) policies() []*api.ACLPolicyListEntry {
	list, _, err := a.api.ACL().PolicyList(nil)
	if err != nil {
		a.tb.Fatalf("list ACL policies: %v", err)
	}
	return list
}

// SetRules replaces what a token may do.
func (a *Agent) SetRules(t Token, rules string) {
	a.tb.Helper()
	p, _, err := a.api.ACL().PolicyRead(t.policy, nil)
	if err == nil {
		p.Rules = rules
		_, _, err = a.api.ACL().PolicyUpdate(p, nil)
	}
	if err != nil {
		a.tb.Fatalf("change an ACL policy: %v", err)
	}
}

// SetAnonymous replaces what clients without a token may do; "" are no rights
// at all.
func (a *Agent) SetAnonymous(rules string) {
	a.tb.Helper()
	const anonymous = "00000000-0000-0000-0000-000000000002" // Consul's own, on every agent
	t, _, err := a.api.ACL().TokenRead(anonymous, nil)
	if err == nil {
		t.Policies = nil
		if rules != "" {
			policy := a.NewToken(rules).policy
			t.Policies = []*api.ACLLink{{ID: policy}}
		}
		_, _, err = a.api.ACL().TokenUpdate(t, nil)
	}
	if err != nil {
		a.tb.Fatalf("set the rights of anonymous clients: %v", err)
	}
}

// Revoke deletes a token.
func (a *Agent) Revoke(t Token) {
	a.tb.Helper()
	if _, err := a.api.ACL().TokenDelete(t.accessor, nil); err != nil {
		a.tb.Fatalf("revoke a token: %v", err)
	}
}
