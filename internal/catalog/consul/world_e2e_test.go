//go:build e2e

package consul_test

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"meshlite.dev/internal/catalog/catalogtest"
	"meshlite.dev/internal/catalog/consul"
	"meshlite.dev/internal/catalog/consul/consultest"
	"meshlite.dev/internal/mesh"
)

const within = 5 * time.Second // what an alarm may take

// twenty registers 20 services of three instances.
func twenty(agent *consultest.Agent) (names []string, want map[string]string) {
	var all []consultest.Instance
	want = map[string]string{}
	for s := range 20 {
		name := fmt.Sprintf("s%02d", s+1)
		var addresses []string
		for i := range 3 {
			all = append(all, consultest.Instance{Service: name, ID: fmt.Sprint(name, "-", i+1), Address: fmt.Sprintf("10.1.%d.%d", s+1, i+1), Port: 80})
			addresses = append(addresses, fmt.Sprintf("10.1.%d.%d:80=HEALTHY", s+1, i+1))
		}
		names = append(names, name)
		want[name] = strings.Join(addresses, " ")
	}
	agent.Apply(all)
	return names, want
}

func record(t *testing.T, agent *consultest.Agent, cfg consul.Config) *catalogtest.Recorder {
	t.Helper()
	leaks := goleak.IgnoreCurrent() // the agent's own
	t.Cleanup(func() {
		agent.Kill()
		goleak.VerifyNone(t, leaks)
	})
	cfg.Addr, cfg.Log = cmp.Or(cfg.Addr, agent.Addr), slog.New(slog.NewTextHandler(t.Output(), nil))
	r := catalogtest.Record(t, newSource(t, cfg))
	return r
}

// whole waits until the services have their endpoints.
func whole(r *catalogtest.Recorder, limit time.Duration, want map[string]string) {
	r.Until(limit, "the whole catalog", intact(r, want))
}

func intact(r *catalogtest.Recorder, want map[string]string) func() error {
	return func() error {
		for name, addresses := range want {
			if got := r.Addresses(name); got != addresses {
				return fmt.Errorf("%s is [%s], want [%s]", name, got, addresses)
			}
		}
		return nil
	}
}

// neverLess fails when any snapshot lacked what the services had.
func neverLess(t *testing.T, r *catalogtest.Recorder, want map[string]string) {
	t.Helper()
	for i, snap := range r.All() {
		for name, addresses := range want {
			s, _ := snap.Services.Get(name)
			for a := range strings.FieldsSeq(addresses) {
				if !slices.Contains(strings.Fields(catalogtest.Addresses(s)), a) {
					t.Errorf("snapshot %d has %s as [%s], without %s", i, name, catalogtest.Addresses(s), a)
					return
				}
			}
		}
	}
}

func held(r *catalogtest.Recorder, names []string, reason string) func() error {
	return func() error {
		for _, name := range names {
			if h := r.Held(name); h == nil || !strings.Contains(h.Reason, reason) || len(h.Lost) != 3 {
				return fmt.Errorf("hold on %s is %+v", name, h)
			}
		}
		return nil
	}
}

func noted(r *catalogtest.Recorder, words string) func() error {
	return func() error {
		if !slices.ContainsFunc(r.Source.Status().Notes, func(f mesh.Finding) bool { return strings.Contains(f.Message, words) && f.Hint != "" }) {
			return fmt.Errorf("notes are %+v", r.Source.Status().Notes)
		}
		return nil
	}
}
