package server_test

import (
	"context"
	"net"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	sotwv3 "github.com/envoyproxy/go-control-plane/pkg/client/sotw/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/internal/xds/server/xdstest"
)

// overTCP serves a rig on a real connection.
func overTCP(t *testing.T) (*rig, *grpc.ClientConn) {
	t.Helper()
	r := newRig(t, func(c *server.Config) { c.DrainPeriod = time.Millisecond }, two()...) // real time
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(server.Options()...)
	r.srv.Register(g)
	served := make(chan error, 1)
	go func() { served <- g.Serve(lis) }()
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		r.stop()
		g.Stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return r, conn
}

func clusterNames(t *testing.T, r *sotwv3.Response) (names []string) {
	t.Helper()
	for _, packed := range r.Resources {
		c := &clusterv3.Cluster{}
		if err := packed.UnmarshalTo(c); err != nil {
			t.Fatal(err)
		}
		names = append(names, c.GetName()+" "+c.GetConnectTimeout().AsDuration().String())
	}
	return names
}

// TestLibraryClientOfStateOfTheWorld: go-control-plane's own client takes the
// set, follows a change, and after a refusal gets the set without what it
// refused, once.
func TestLibraryClientOfStateOfTheWorld(t *testing.T) {
	r, conn := overTCP(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := sotwv3.NewADSClient(ctx, xdstest.Node("lib-1", "client"), resource.ClusterType)
	if err := c.InitConnect(conn); err != nil {
		t.Fatal(err)
	}
	fetch := func() []string {
		t.Helper()
		resp, err := c.Fetch()
		if err != nil {
			t.Fatal(err)
		}
		return clusterNames(t, resp)
	}
	first := fetch()
	if len(first) != 2 {
		t.Fatalf("first set: %v", first)
	}
	if err := c.Ack(); err != nil {
		t.Fatal(err)
	}
	next := xdstest.Service("orders", 8001)
	next.Resources[0] = xdstest.Cluster("orders", 9*time.Second)
	r.store.Apply([]resource.Set{next})
	if got := fetch(); len(got) != 2 || got[0] != "orders 9s" {
		t.Fatalf("after the change: %v", got)
	}
	if err := c.Nack("Error adding/updating cluster(s) orders: bad"); err != nil {
		t.Fatal(err)
	}
	if got := fetch(); len(got) != 2 || got[0] != first[0] {
		t.Fatalf("after the refusal: %v, want the last good %v", got, first)
	}
	if err := c.Ack(); err != nil {
		t.Fatal(err)
	}
	p, _ := r.srv.Proxy("lib-1")
	if len(p.Errors) != 1 || p.Errors[0].Resource != "orders" || p.Protocol != "sotw" {
		t.Errorf("the ledger has %+v", p.Errors)
	}
}

// TestDeltaClientOverGRPC speaks the generated stubs over a real connection.
func TestDeltaClientOverGRPC(t *testing.T) {
	r, conn := overTCP(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	say := func(req *discoveryv3.DeltaDiscoveryRequest) {
		t.Helper()
		if err := s.Send(req); err != nil {
			t.Fatal(err)
		}
	}
	hear := func() *discoveryv3.DeltaDiscoveryResponse {
		t.Helper()
		resp, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce()})
		return resp
	}
	first := subscribe(resource.EndpointType, "orders")
	first.Node = xdstest.Node("stub-1", "client")
	say(first)
	if got := hear(); len(got.GetResources()) != 1 || got.GetResources()[0].GetName() != "orders" {
		t.Fatalf("first: %v", got)
	}
	r.store.Apply([]resource.Set{xdstest.Service("orders", 8003)})
	if got := hear(); len(got.GetResources()) != 1 || got.GetResources()[0].GetVersion() == "" {
		t.Fatalf("after the change: %v", got)
	}
	r.store.Apply([]resource.Set{{Service: "orders"}})
	if got := hear(); len(got.GetRemovedResources()) != 1 {
		t.Fatalf("after the removal: %v", got)
	}
}
