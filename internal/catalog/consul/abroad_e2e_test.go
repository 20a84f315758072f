//go:build e2e

package consul_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/catalog/catalogtest"
	"meshlite.dev/internal/catalog/consul"
	"meshlite.dev/internal/catalog/consul/consultest"
	"meshlite.dev/internal/mesh"
)

// joined is what an agent may take to meet another datacenter, or to meet it
// again.
const joined = 20 * time.Second

// federation starts the servers of dc1 and dc2, joined over WAN, each with an
// instance of orders.
func federation(t *testing.T, second consultest.Options) (dc1, dc2 *consultest.Agent) {
	t.Helper()
	dc1 = consultest.Start(t, consultest.Options{Datacenter: "dc1"})
	second.Datacenter, second.Join = "dc2", dc1
	dc2 = consultest.Start(t, second)
	dc1.Apply([]consultest.Instance{{Service: "orders", ID: "o1", Address: "10.1.0.1", Port: 80}})
	dc2.Apply(ofDC2(1, 2))
	return dc1, dc2
}

func ofDC2(numbers ...int) (all []consultest.Instance) {
	for _, n := range numbers {
		all = append(all, consultest.Instance{Service: "orders", ID: fmt.Sprint("o", n), Address: fmt.Sprint("10.2.0.", n), Port: 80, Tags: []string{"v2"}})
	}
	return all
}

func placesOfDC2(numbers ...int) string {
	var all []string
	for _, n := range numbers {
		all = append(all, fmt.Sprintf("10.2.0.%d:80=HEALTHY", n))
	}
	return strings.Join(all, " ")
}

func TestP1InstancesOfAnotherDatacenterAppearChangeAndSurviveACut(t *testing.T) {
	dc1, dc2 := federation(t, consultest.Options{Data: true})
	s := newSource(t, consul.Config{Addr: dc1.Addr, Linger: time.Second})
	r := recordOf(t, s, dc1, dc2)
	r.UntilAddresses(within, "orders", "10.1.0.1:80=HEALTHY")
	if got := r.Addresses("orders@dc2"); got != "none" {
		t.Errorf("orders@dc2 is [%s], and nobody wants it", got)
	}
	s.Want([]string{"orders@dc2", "orders@dc1"})
	r.UntilAddresses(joined, "orders@dc2", placesOfDC2(1, 2))
	if got := r.Latest(); got.Datacenter != "dc1" || r.Addresses("orders@dc1") != "none" {
		t.Errorf("the own datacenter is %q, orders@dc1 [%s]", got.Datacenter, r.Addresses("orders@dc1"))
	}
	if e := r.Service("orders@dc2").Endpoints[0]; e.Datacenter != "dc2" || e.ID != "o1" {
		t.Errorf("endpoint %+v", e)
	}
	dc2.Apply(ofDC2(3), "o1")
	r.UntilAddresses(time.Second, "orders@dc2", placesOfDC2(2, 3))

	dc2.Kill()
	r.Until(joined, "the note", noted(r, "Consul of datacenter dc2 does not answer"))
	before := r.Count()
	dc1.Apply([]consultest.Instance{{Service: "orders", ID: "o2", Address: "10.1.0.2", Port: 80}})
	r.UntilAddresses(time.Second, "orders", "10.1.0.1:80=HEALTHY 10.1.0.2:80=HEALTHY")
	r.Always(3*time.Second, "nothing is lost", func() error {
		if got := r.Addresses("orders@dc2"); got != placesOfDC2(2, 3) {
			return fmt.Errorf("orders@dc2 is [%s]", got)
		}
		return nil
	})
	for _, snap := range r.All()[before:] {
		for _, name := range snap.Changed {
			if strings.HasSuffix(name, "@dc2") {
				t.Errorf("%s changed while dc2 was away", name)
			}
		}
	}
	if st := s.Status(); !st.Connected || st.LastError != "" {
		t.Errorf("dc1 itself: %+v", st)
	}

	dc2.Run()
	dc2.Apply(ofDC2(4), "o2")
	r.UntilAddresses(joined, "orders@dc2", placesOfDC2(3, 4))
	r.Until(within, "the note goes", func() error {
		if ns := s.Status().Notes; len(ns) > 0 {
			return fmt.Errorf("notes are %+v", ns)
		}
		return nil
	})
	s.Want(nil)
	r.UntilAddresses(joined, "orders@dc2", "none")
	if got := r.Addresses("orders"); got != "10.1.0.1:80=HEALTHY 10.1.0.2:80=HEALTHY" {
		t.Errorf("orders is [%s]", got)
	}
}

// A datacenter that was rebuilt empty has lost nothing until somebody says
// so, and the own one is not suspected with it.
func TestP3GuardHoldsADatacenterThatCameBackEmpty(t *testing.T) {
	dc1, dc2 := federation(t, consultest.Options{})
	s := newSource(t, consul.Config{Addr: dc1.Addr})
	s.Want([]string{"orders@dc2"})
	r := recordOf(t, s, dc1, dc2)
	r.UntilAddresses(joined, "orders@dc2", placesOfDC2(1, 2))
	dc2.Kill()
	dc2.Run()
	r.Until(joined, "the note", noted(r, "Consul of datacenter dc2 at"))
	dc1.Apply([]consultest.Instance{{Service: "orders", ID: "o2", Address: "10.1.0.2", Port: 80}}, "o1")
	r.UntilAddresses(time.Second, "orders", "10.1.0.2:80=HEALTHY")
	r.Until(joined, "the hold", func() error {
		if h := r.Held("orders@dc2"); h == nil || len(h.Lost) != 2 {
			return fmt.Errorf("hold is %+v", h)
		}
		return nil
	})
	if got := r.Addresses("orders@dc2"); got != placesOfDC2(1, 2) {
		t.Errorf("orders@dc2 is [%s]", got)
	}
	if h := r.Held("orders"); h != nil {
		t.Errorf("hold on the own datacenter's: %+v", h)
	}
	s.Accept([]string{"orders@dc2"}, false)
	r.UntilAddresses(within, "orders@dc2", "")
}

func TestADatacenterThatThereIsNotBlocksNothing(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{Datacenter: "dc1"})
	agent.Apply([]consultest.Instance{{Service: "orders", ID: "o1", Address: "10.1.0.1", Port: 80}})
	s := newSource(t, consul.Config{Addr: agent.Addr, Services: []string{"orders"}})
	s.Want([]string{"orders@mars"})
	r := recordOf(t, s, agent)
	r.UntilAddresses(within, "orders", "10.1.0.1:80=HEALTHY")
	if got := r.Addresses("orders@mars"); got != "not synced" {
		t.Errorf("orders@mars is [%s]", got)
	}
	r.Until(within, "the note", noted(r, "No path to datacenter"))
	r.Until(within, "its watch tells why", func() error {
		for _, w := range s.Status().Watches {
			if w.Service == "orders@mars" && strings.Contains(w.LastError, "No path to datacenter") {
				return nil
			}
		}
		return fmt.Errorf("watches are %+v", s.Status().Watches)
	})
}

// Another datacenter may hide all from a client without a token, and no header
// says so: that is noticed, and what is hidden is not taken for gone.
func TestP3GuardADatacenterThatHidesAllFromStrangers(t *testing.T) {
	dc1 := consultest.Start(t, consultest.Options{Datacenter: "dc1"})
	dc2 := consultest.Start(t, consultest.Options{Datacenter: "dc2", Join: dc1, ACL: true})
	dc1.Apply([]consultest.Instance{{Service: "orders", ID: "o1", Address: "10.1.0.1", Port: 80}})
	dc2.Apply(ofDC2(1, 2))
	good := catalog.LastGood{At: time.Now(), Services: []*catalog.Service{{
		Name: "orders@dc2", Protocol: mesh.HTTP1, Synced: true,
		Endpoints: []mesh.Endpoint{{ID: "o1", Address: "10.2.0.1", Port: 80, Weight: 1, Node: "shelf", Datacenter: "dc2"}},
	}}}
	s := newSource(t, consul.Config{Addr: dc1.Addr, LastGood: good, Linger: time.Second})
	s.Want([]string{"orders@dc2", "stock@dc2"})
	r := recordOf(t, s, dc1, dc2)
	r.UntilAddresses(within, "orders", "10.1.0.1:80=HEALTHY")
	r.Until(joined, "the note", noted(r, "hides services from the name list of Consul of datacenter dc2"))
	r.Always(2*time.Second, "nothing is lost", func() error {
		if got := r.Addresses("orders@dc2"); got != placesOfDC2(1) {
			return fmt.Errorf("orders@dc2 is [%s]", got)
		}
		if got := r.Addresses("stock@dc2"); got != "not synced" {
			return fmt.Errorf("stock@dc2 is [%s]", got)
		}
		return nil
	})
	dc2.SetAnonymous(consultest.ReadRules)
	r.UntilAddresses(joined, "orders@dc2", placesOfDC2(1, 2))
	r.UntilAddresses(joined, "stock@dc2", "none")
	dc2.SetAnonymous("")
	r.Until(joined, "the note", noted(r, "hides services from the name list of Consul of datacenter dc2"))
	r.Always(2*time.Second, "nothing is lost", func() error {
		if got := r.Addresses("orders@dc2"); got != placesOfDC2(1, 2) {
			return fmt.Errorf("orders@dc2 is [%s]", got)
		}
		return nil
	})
}

func TestATokenThatAnotherDatacenterDoesNotKnowIsToldOf(t *testing.T) {
	dc1 := consultest.Start(t, consultest.Options{Datacenter: "dc1", ACL: true})
	dc2 := consultest.Start(t, consultest.Options{Datacenter: "dc2", Join: dc1, ACL: true})
	dc1.Apply([]consultest.Instance{{Service: "orders", ID: "o1", Address: "10.1.0.1", Port: 80}})
	dc2.Apply(ofDC2(1, 2))
	s := newSource(t, consul.Config{Addr: dc1.Addr, Token: dc1.NewToken(consultest.ReadRules).Secret})
	s.Want([]string{"orders@dc2"})
	r := recordOf(t, s, dc1, dc2)
	r.UntilAddresses(within, "orders", "10.1.0.1:80=HEALTHY")
	r.Until(joined, "the note", noted(r, "datacenter dc2 does not answer: read the list of services: Unexpected response code: 403"))
	if got := r.Addresses("orders@dc2"); got != "not synced" {
		t.Errorf("orders@dc2 is [%s]", got)
	}
}

// recordOf runs a source until the agents end.
func recordOf(t *testing.T, s *consul.Source, agents ...*consultest.Agent) *catalogtest.Recorder {
	t.Helper()
	t.Cleanup(func() {
		for _, a := range agents {
			a.Kill()
		}
	})
	return catalogtest.Record(t, s)
}
