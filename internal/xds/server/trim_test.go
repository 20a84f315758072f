package server_test

import (
	"testing"
	"testing/synctest"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/internal/xds/server/xdstest"
)

// In a mixed fleet the old Envoy gets a cluster without the field that is
// younger than it, under the same version, in either protocol; the new one gets
// all of it.
func TestAFieldIsKeptFromAnOldEnvoy(t *testing.T) {
	young := []mesh.Capability{{Since: "1.38", Message: "envoy.config.cluster.v3.Cluster", Field: "connect_timeout"}}
	bubble(t, func(c *server.Config) { c.Capabilities = young }, []resource.Set{xdstest.Tuned("orders", 7*time.Second, 8001)}, func(t *testing.T, r *rig) {
		timeout := func(packed *anypb.Any) time.Duration {
			c := &clusterv3.Cluster{}
			if err := packed.UnmarshalTo(c); err != nil || c.GetName() != "orders" || c.GetEdsClusterConfig() == nil {
				t.Fatalf("no cluster orders: %v, %v", c, err)
			}
			return c.GetConnectTimeout().AsDuration()
		}
		versions := map[string]bool{}
		for minor, want := range map[uint32]time.Duration{37: 0, 38: 7 * time.Second, 40: 7 * time.Second} {
			node := xdstest.Node("c-1", "client")
			node.GetUserAgentBuildVersion().GetVersion().MinorNumber = minor
			delta := r.delta()
			delta.Say(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: resource.ClusterType, ResourceNamesSubscribe: []string{"*"}})
			whole := r.sotw()
			whole.Say(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: resource.ClusterType})
			synctest.Wait()
			d, s := delta.Heard(), whole.Heard()
			if len(d) != 1 || len(d[0].GetResources()) != 1 || len(s) != 1 || len(s[0].GetResources()) != 1 {
				t.Fatalf("1.%d: %v %v", minor, d, s)
			}
			if got := timeout(d[0].GetResources()[0].GetResource()); got != want {
				t.Errorf("1.%d, delta: %s, want %s", minor, got, want)
			}
			if got := timeout(s[0].GetResources()[0]); got != want {
				t.Errorf("1.%d, state of the world: %s, want %s", minor, got, want)
			}
			versions[d[0].GetResources()[0].GetVersion()] = true
		}
		if len(versions) != 1 {
			t.Errorf("versions %v, want one", versions)
		}
	})
}
