package bench

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/test/lab"
)

const carrierStreams = 100

// BenchmarkCarriers writes a policy on each carrier and waits until a hundred
// streams have acknowledged what it makes. The time runs from the return of the
// write (kubectl apply, a put to Consul, a rename in the folder); the quiet
// window, two seconds for users, is one millisecond here. The write itself is
// shown beside it.
func BenchmarkCarriers(b *testing.B) {
	if err := lab.Build(b.Context(), b.TempDir(), false); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		start func(*lab.Lab) (flags []string, put func(requests int))
	}{{"folder", inFolder}, {"consul", inConsul}, {"kubernetes", inCluster}} {
		b.Run(c.name, func(b *testing.B) {
			l := lab.New(b)
			flags, put := c.start(l)
			l.Registry.Register(lab.Instance{ID: "orders-1", Name: "orders", Address: "127.0.0.1", Port: 9})
			s := l.StartServer(append([]string{"--policy-quiet", "1ms", "--wave-rate", "0"}, flags...)...)
			acks := acknowledge(b, s.XDS, carrierStreams)
			requests := 10_000
			put(requests)
			acks.await(b, requests)
			var wrote, acked time.Duration
			n := 0
			for b.Loop() {
				requests++
				begin := time.Now()
				put(requests)
				wrote += time.Since(begin)
				begin = time.Now()
				acks.await(b, requests)
				acked += time.Since(begin)
				n++
			}
			b.ReportMetric(float64(wrote.Microseconds())/1000/float64(n), "write-ms")
			b.ReportMetric(float64(acked.Microseconds())/1000/float64(n), "to-last-ack-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func requestsPolicy(n int) string {
	return fmt.Sprintf("apiVersion: meshlite.dev/v1alpha1\nkind: ResiliencePolicy\nmetadata: {name: orders}\nspec:\n"+
		"  targetRefs: [{kind: Service, name: orders}]\n  limits: {requests: %d}\n", n)
}

func inFolder(l *lab.Lab) ([]string, func(int)) {
	return nil, func(n int) { l.Policies.Write("orders.yaml", requestsPolicy(n)) }
}

func inConsul(l *lab.Lab) ([]string, func(int)) {
	consul := l.UseConsul()
	return []string{"--policy-source", "consul", "--policy-dir", ""}, func(n int) {
		consul.Must(http.MethodPut, "/v1/kv/mesh/policies/ResiliencePolicy/default/orders", map[string]any{
			"apiVersion": "meshlite.dev/v1alpha1", "kind": "ResiliencePolicy", "metadata": map[string]any{"name": "orders"},
			"spec": map[string]any{"targetRefs": []any{map[string]any{"kind": "Service", "name": "orders"}}, "limits": map[string]any{"requests": n}},
		})
	}
}

func inCluster(l *lab.Lab) ([]string, func(int)) {
	cluster := l.StartCluster()
	cluster.InstallCRDs()
	return []string{"--policy-source", "kube", "--kubeconfig", cluster.Kubeconfig(), "--policy-dir", ""}, func(n int) { cluster.Apply(requestsPolicy(n)) }
}

// acks counts the streams that acknowledged each number of requests.
type acks struct {
	streams int
	got     chan int // one entry per stream and number
	failed  chan error
}

// acknowledge opens delta streams that take every cluster, until b ends.
func acknowledge(b *testing.B, addr string, streams int) *acks {
	b.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	a := &acks{streams: streams, got: make(chan int, 16*streams), failed: make(chan error, streams)}
	ctx, stop := context.WithCancel(context.Background())
	var crew sync.WaitGroup
	for i := range streams {
		crew.Go(func() {
			if err := a.stream(ctx, conn, i); err != nil && ctx.Err() == nil {
				a.failed <- err
			}
		})
	}
	b.Cleanup(func() {
		stop()
		crew.Wait()
		_ = conn.Close()
	})
	return a
}

func (a *acks) stream(ctx context.Context, conn *grpc.ClientConn, i int) error {
	s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	first := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.ClusterType, Node: &corev3.Node{Id: fmt.Sprint("p", i), Cluster: "client"}}
	if err := s.Send(first); err != nil {
		return err
	}
	for {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		if err := s.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}); err != nil {
			return err
		}
		for _, x := range r.GetResources() {
			c := &clusterv3.Cluster{}
			if err := x.GetResource().UnmarshalTo(c); err != nil {
				return err
			}
			for _, t := range c.GetCircuitBreakers().GetThresholds() {
				a.got <- int(t.GetMaxRequests().GetValue())
			}
		}
	}
}

// await returns when every stream has acknowledged requests.
func (a *acks) await(b *testing.B, requests int) {
	b.Helper()
	limit := time.After(30 * time.Second)
	for have := 0; have < a.streams; {
		select {
		case n := <-a.got:
			if n == requests {
				have++
			}
		case err := <-a.failed:
			b.Fatal(err)
		case <-limit:
			b.Fatalf("%d of %d streams acknowledged", have, a.streams)
		}
	}
}
