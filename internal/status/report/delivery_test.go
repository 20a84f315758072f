package report_test

import (
	"testing"
	"testing/synctest"
	"time"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/store/mem"
)

var subscription = policy.Key{Kind: policy.KindEventSubscription, Namespace: "default", Name: "s"}

// serveSubscription puts a subscription in force.
func (r *replica) serveSubscription() {
	r.mu.Lock()
	r.rev = revision.Decide(r.rev, policy.Decode("test.yaml", []byte("apiVersion: meshlite.dev/v1alpha1\nkind: EventSubscription\nmetadata: {name: s}\nspec: {bindings: [order.placed], handler: {service: mail}}\n")))
	services := map[string]*catalog.Service{"mail": {Name: "mail", Protocol: mesh.HTTP1, Synced: true}}
	r.result = compile.Full(compile.Default(), catalog.Snapshot{Services: pmap.From(services), Changed: []string{"mail"}}, r.rev)
	r.ready = true
	r.mu.Unlock()
	r.Documents()
}

func (r *replica) expectDelivery(want string) {
	r.t.Helper()
	s, ok := r.Statuses().Of(subscription)
	if got := enforcedOf(s); !ok || got != want {
		r.t.Errorf("told %q, want %q", got, want)
	}
}

// How a subscription is delivered is followed without a word from anybody, on all
// replicas.
func TestDeliveriesAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := mem.New()
		a, b := start(t, shared, nil), start(t, shared, nil)
		defer a.end()
		defer b.end()
		a.serveSubscription()
		b.serveSubscription()
		pass(3 * time.Second)
		a.expectDelivery("False/RoleDisabled@1: no xds-server delivers it: start one with --roles xds,admin,events")
		b.deliver("Interrupted", "the disk is full")
		b.Proxies() // the role comes with the start
		pass(3 * time.Second)
		a.expectDelivery("False/Interrupted@1: on another server: the disk is full")
		b.expectDelivery("False/Interrupted@1: the disk is full")
		b.deliver("", "")
		pass(4 * time.Second)
		a.expectDelivery("True/Enforced@1: its events are delivered to mail")
		b.expectDelivery("True/Enforced@1: its events are delivered to mail")
		b.deliver("Paused", "the mailer moves")
		pass(4 * time.Second)
		a.expectDelivery("False/Paused@1: the mailer moves")
		s, _ := a.Statuses().Of(subscription)
		if s.InForceGeneration != 1 {
			t.Errorf("generation %d in force, want 1", s.InForceGeneration)
		}
	})
}
