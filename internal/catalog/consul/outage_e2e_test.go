//go:build e2e

package consul_test

import (
	"fmt"
	"testing"
	"time"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/catalog/catalogtest"
	"meshlite.dev/internal/catalog/consul"
	"meshlite.dev/internal/catalog/consul/consultest"
)

func TestP3GuardKeepsAllInAnOutage(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{Data: true})
	_, want := twenty(agent)
	r := record(t, agent, consul.Config{})
	whole(r, within, want)
	agent.Kill()
	r.Until(within, "the fault shows", func() error {
		if s := r.Source.Status(); s.Connected || s.LastError == "" {
			return fmt.Errorf("status is %+v", s)
		}
		return nil
	})
	r.Always(10*time.Second, "nothing is lost", intact(r, want))
	agent.Run()
	agent.Apply([]consultest.Instance{{Service: "s01", ID: "s01-4", Address: "10.1.1.4", Port: 80}})
	r.UntilAddresses(20*time.Second, "s01", want["s01"]+" 10.1.1.4:80=HEALTHY")
	neverLess(t, r, want)
	if h := r.Source.Status().Holds; len(h) > 0 {
		t.Errorf("holds are %+v", h)
	}
}

func TestP4LastKnownGoodStandsInForConsul(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{Data: true})
	_, want := twenty(agent)
	first := catalogtest.Record(t, newSource(t, consul.Config{Addr: agent.Addr}))
	whole(first, within, want)
	raw, err := catalog.Encode(catalog.Keep(first.Latest(), time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	good, err := catalog.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	agent.Kill()
	r := record(t, agent, consul.Config{LastGood: good, FirstAnswer: time.Second})
	whole(r, within, want)
	if s := r.Source.Status(); !s.Stale || s.Connected {
		t.Errorf("status is %+v, want stale", s)
	}
	agent.Run()
	r.Until(20*time.Second, "Consul answers", func() error {
		if s := r.Source.Status(); s.Stale || !s.Connected {
			return fmt.Errorf("status is %+v", s)
		}
		return nil
	})
	agent.Apply(nil, "s01-1")
	r.UntilAddresses(within, "s01", "10.1.1.2:80=HEALTHY 10.1.1.3:80=HEALTHY")
	delete(want, "s01")
	neverLess(t, r, want)
}
