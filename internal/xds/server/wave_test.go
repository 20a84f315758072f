package server_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/internal/xds/server/xdstest"
)

// A large fleet takes a change of a cluster bit by bit, and everything else at
// once; one that comes back in the middle keeps its place.
func TestClustersChangeInAWave(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		fleet := make([]*xdstest.Envoy, 60)
		hang := make([]func(), len(fleet))
		for i := range fleet {
			fleet[i] = envoy(fmt.Sprint("c-", i), "client")
			hang[i] = r.connect(fleet[i])
		}
		next := xdstest.Tuned("orders", 5*time.Second, 8001, 8002, 8003)
		canary := xdstest.Service("canary", 8101)
		have := func(typ, name, version string) (n int) {
			for _, e := range fleet {
				if e.Has(typ)[name] == version {
					n++
				}
			}
			return n
		}
		r.store.Apply([]resource.Set{next, canary})
		synctest.Wait()
		for _, x := range append(next.Resources[1:], canary.Resources...) {
			if n := have(x.Type, x.Name, x.Version); n != len(fleet) {
				t.Errorf("%s %s is on %d of %d proxies at once", x.Type, x.Name, n, len(fleet))
			}
		}
		cluster := next.Resources[0]
		if n := have(cluster.Type, cluster.Name, cluster.Version); n > 5 {
			t.Errorf("the changed cluster is on %d proxies at once", n)
		}
		<-time.After(5 * time.Second)
		synctest.Wait()
		half := have(cluster.Type, cluster.Name, cluster.Version)
		if half < 15 || half > 45 {
			t.Errorf("after half the wave the changed cluster is on %d proxies", half)
		}
		for i := range fleet {
			hang[i]()
			r.connect(fleet[i])
		}
		if n := have(cluster.Type, cluster.Name, cluster.Version); n > half+3 {
			t.Errorf("a reconnect brought it to %d proxies, from %d", n, half)
		}
		<-time.After(5 * time.Second)
		synctest.Wait()
		for _, e := range fleet {
			if e.Faults() != nil {
				t.Errorf("faults %v", e.Faults())
			}
		}
		if n := have(cluster.Type, cluster.Name, cluster.Version); n != len(fleet) || len(r.seen.held) > 0 {
			t.Errorf("after the wave it is on %d of %d proxies, held %v", n, len(fleet), r.seen.held)
		}
		if p, _ := r.srv.Proxy("c-1"); p.Status != server.Synced {
			t.Errorf("status %s", p.Status)
		}
	})
}

// A small fleet takes it at once.
func TestSmallFleetHasNoWave(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		e := envoy("c-1", "client")
		r.connect(e)
		next := xdstest.Tuned("orders", 5*time.Second, 8001)
		r.store.Apply([]resource.Set{next})
		synctest.Wait()
		if got := e.Has(resource.ClusterType)["orders"]; got != next.Resources[0].Version {
			t.Errorf("the proxy has %s", got)
		}
	})
}
