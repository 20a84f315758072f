package mesh_test

import (
	"testing"

	"meshlite.dev/internal/mesh"
)

// Every name of a cluster says whose instances are in it.
func TestServiceOfCluster(t *testing.T) {
	far := mesh.Pool{Service: "orders", Datacenter: "dc2", Subset: "v2"}
	for _, tc := range []struct{ cluster, want string }{
		{mesh.ClusterName("orders", ""), "orders"},
		{mesh.ClusterName("orders", "v2"), "orders"},
		{far.Cluster(), "orders@dc2"},
		{mesh.FailoverCluster("orders", []mesh.Pool{{Service: "orders"}, far}), ""},
		{mesh.NothingCluster("orders"), ""},
		{mesh.PassthroughCluster, mesh.PassthroughCluster},
		{"", ""},
	} {
		if got := mesh.ServiceOfCluster(tc.cluster); got != tc.want {
			t.Errorf("%s has instances of %q, want %q", tc.cluster, got, tc.want)
		}
	}
}
