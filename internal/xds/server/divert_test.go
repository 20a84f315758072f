package server_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server/xdstest"
)

// Diverted proxies get what the fork has, and come back; the others notice
// nothing. Changes of either side reach those who follow it.
func TestDivertedProxiesFollowTheFork(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		canary, rest := envoy("c-1", "client"), envoy("c-2", "client")
		hang := r.connect(canary)
		r.connect(rest)
		rest.Log()
		live := canary.Has(resource.RouteType)["orders"]
		next := xdstest.Tuned("orders", 7*time.Second, 8001)
		next.Resources[5] = xdstest.Route("orders", 7*time.Second, "orders", "extra")
		extra := xdstest.Only(xdstest.Service("extra", 8101), resource.ClusterType, resource.EndpointType)
		fork := r.store.Fork()
		fork.Apply([]resource.Set{next, extra})
		r.srv.Divert(fork, "c-1", "c-9")
		synctest.Wait()
		want := next.Resources[5].Version
		if got := canary.Has(resource.RouteType)["orders"]; got != want {
			t.Errorf("the canary has routes %s, want %s", got, want)
		}
		if got := rest.Log(); got != "" {
			t.Errorf("the others were told\n%s", got)
		}
		hang()
		r.connect(canary) // stays one
		late := envoy("c-9", "client")
		r.connect(late)
		for _, e := range []*xdstest.Envoy{canary, late} {
			if got := e.Has(resource.RouteType)["orders"]; got != want {
				t.Errorf("one that connects has routes %s, want %s", got, want)
			}
		}
		pay := xdstest.Service("pay", 9001, 9002, 9003)
		r.store.Apply([]resource.Set{pay})
		fork.Apply([]resource.Set{pay})
		synctest.Wait()
		for _, e := range []*xdstest.Envoy{canary, late, rest} {
			if got := e.Has(resource.EndpointType)["pay"]; got != pay.Resources[1].Version {
				t.Errorf("endpoints are %s, want %s", got, pay.Resources[1].Version)
			}
		}
		if got := fmt.Sprint(r.srv.Diverted()); got != "[c-1 c-9]" {
			t.Errorf("diverted are %s", got)
		}
		r.srv.Divert(nil)
		synctest.Wait()
		for _, e := range []*xdstest.Envoy{canary, late, rest} {
			if got := e.Has(resource.RouteType)["orders"]; got != live || e.Has(resource.ClusterType)["extra"] != "" || e.Faults() != nil {
				t.Errorf("after the return: routes %s, want %s; faults %v", got, live, e.Faults())
			}
		}
	})
}

// Whatever is applied to either side and whoever is diverted when, everybody ends
// where his store is, and never has routes that lead nowhere.
func TestDiversionsRandom(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.IntRange(0, 5), 1, 30).Draw(rt, "steps")
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil, two()...)
			defer r.stop()
			fleet := []*xdstest.Envoy{envoy("c-0", "client"), envoy("c-1", "client")}
			hang := []func(){r.connect(fleet[0]), r.connect(fleet[1])}
			fork, diverted := r.store.Fork(), map[int]bool{}
			for i, step := range steps {
				set := xdstest.Tuned("orders", time.Duration(i+1)*time.Second, 8001)
				if i%3 == 0 {
					set.Resources[5] = xdstest.Route("orders", time.Duration(i)*time.Second, "orders", "pay")
				}
				switch step {
				case 0:
					r.store.Apply([]resource.Set{set})
				case 1:
					fork.Apply([]resource.Set{set})
				case 2:
					fork, diverted = r.store.Fork(), map[int]bool{i % 2: true}
					r.srv.Divert(fork, fmt.Sprint("c-", i%2))
				case 3:
					diverted = map[int]bool{}
					r.srv.Divert(nil)
				case 4:
					hang[i%2]()
					hang[i%2] = r.connect(fleet[i%2])
				default:
					synctest.Wait()
				}
			}
			synctest.Wait()
			for i, e := range fleet {
				from := r.store
				if diverted[i] {
					from = fork
				}
				for _, typ := range []string{resource.ClusterType, resource.EndpointType, resource.RouteType} {
					if want, got := from.Lookup(typ, "orders", "client").Version, e.Has(typ)["orders"]; got != want {
						t.Errorf("%v: proxy %d has %s %s, want %s", steps, i, typ, got, want)
					}
				}
				if e.Faults() != nil {
					t.Errorf("%v: %v", steps, e.Faults())
				}
			}
		})
	})
}
