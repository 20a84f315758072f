package bench

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/test/lab"
)

const (
	voteServices = 20
	votePatience = time.Minute
)

// electorate is a server whose proxies vote, and counts what they acknowledge.
type electorate struct {
	server.NopObserver
	store   *cache.Store
	streams *server.Server
	addr    string
	sets    []resource.Set
	acked   chan int // resources of a route response
}

// Acked implements server.Observer.
func (e *electorate) Acked(typ string, n int, _ time.Duration) {
	if typ == cache.RDS.String() {
		e.acked <- n
	}
}

// newElectorate serves the mesh over gRPC with more options; a window of 0 is the
// server's own.
func newElectorate(b *testing.B, window int, opts ...grpc.ServerOption) *electorate {
	e := &electorate{store: cache.New(cache.Default()), acked: make(chan int, 1<<20)}
	for _, s := range meshServices(voteServices) {
		e.sets = append(e.sets, resource.Build(resource.Config{}, s))
	}
	e.store.Apply(append(e.sets, resource.Global(resource.Config{})))
	e.streams = server.New(server.Config{
		Store: e.store, Observer: e, WaveRate: -1, Window: window,
		Listeners: func(p resource.Profile) []*resource.Resource {
			rs, _ := resource.Listeners(resource.Config{}, p)
			return rs
		},
		Synthesize: func(typeURL, name string) *resource.Resource {
			if _, local := mesh.ParseLocalAssignment(name); local && typeURL == resource.EndpointType {
				return resource.EmptyAssignment(name)
			}
			return nil
		},
	})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	g := grpc.NewServer(append(server.Options(), opts...)...)
	e.streams.Register(g)
	go func() { _ = g.Serve(lis) }() // ends with Stop
	b.Cleanup(g.Stop)
	e.addr = lis.Addr().String()
	return e
}

// BenchmarkVote puts one changed cluster and its changed routes to every proxy and
// waits for the last vote; beside it the same routes are pushed and acknowledged.
// Envoys are real ones; streams accept everything and do nothing with it.
func BenchmarkVote(b *testing.B) {
	if err := lab.Build(b.Context(), b.TempDir(), false); err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 10, 30} {
		b.Run(fmt.Sprint("envoys=", n), func(b *testing.B) {
			e, l := newElectorate(b, 0), lab.New(b)
			l.Server = &lab.Server{XDS: e.addr}
			l.Sidecars("client", n)
			e.measure(b, n)
		})
	}
	b.Run("streams=1000", func(b *testing.B) {
		e := newElectorate(b, 0)
		e.crowd(b, 1_000)
		e.measure(b, 1_000)
	})
}

// measure votes on and pushes service 0 under ever new policies.
func (e *electorate) measure(b *testing.B, n int) {
	round := 0
	candidate := func() resource.Set {
		round++
		s := meshServices(voteServices)[0]
		d := *s.Default
		effective := *d.Effective
		effective.Timeouts.Request = time.Duration(round) * time.Second
		effective.Limits.Connections = uint32(round)
		d.Effective = &effective
		next := *s
		next.Default = &d
		return resource.Build(resource.Config{}, &next)
	}
	b.Run("vote", func(b *testing.B) {
		var took time.Duration
		rounds := 0
		for b.Loop() {
			ballots := resource.Stage(fmt.Sprint("t", round), e.store.Lookup, []resource.Set{candidate()})
			begin := time.Now()
			e.vote(b, n, ballots)
			took += time.Since(begin)
			rounds++
		}
		b.ReportMetric(float64(took.Microseconds())/1000/float64(rounds), "to-last-vote-ms")
		b.ReportMetric(0, "ns/op")
	})
	b.Run("push", func(b *testing.B) {
		var took time.Duration
		rounds := 0
		for b.Loop() {
			for len(e.acked) > 0 {
				<-e.acked
			}
			set := candidate()
			begin := time.Now()
			e.store.Apply([]resource.Set{set})
			for acks := 0; acks < n; {
				select {
				case k := <-e.acked:
					acks += k
				case <-time.After(votePatience):
					b.Fatalf("%d of %d proxies acknowledged", acks, n)
				}
			}
			took += time.Since(begin)
			rounds++
		}
		b.ReportMetric(float64(took.Microseconds())/1000/float64(rounds), "to-last-ack-ms")
		b.ReportMetric(0, "ns/op")
	})
}

func (e *electorate) vote(b *testing.B, n int, ballots []resource.Ballot) {
	voters := e.streams.Voters(ballots)
	if len(voters) != n || len(ballots) != 2 {
		b.Fatalf("%d voters of %d, %d ballots", len(voters), n, len(ballots))
	}
	ctx, cancel := context.WithTimeout(b.Context(), votePatience)
	defer cancel()
	var crew sync.WaitGroup
	for _, v := range voters {
		crew.Go(func() {
			if vote := e.streams.Poll(ctx, v.ID, ballots); vote.Answer != server.Yes {
				b.Errorf("%s votes %+v", v.ID, vote)
			}
		})
	}
	crew.Wait()
}

// crowd opens delta streams that take everything, as a sidecar with an outbound
// listener does, and waits until all of them can vote.
func (e *electorate) crowd(b *testing.B, n int) {
	ctx, stop := context.WithCancel(context.Background())
	var crew sync.WaitGroup
	b.Cleanup(func() { stop(); crew.Wait() })
	names := []string{mesh.BallotRoute}
	for _, s := range e.sets {
		names = append(names, s.Service)
	}
	var conn *grpc.ClientConn
	for i := range n {
		if i%streamsPerConnection == 0 {
			var err error
			if conn, err = grpc.NewClient(e.addr, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = conn.Close() })
		}
		c := conn
		crew.Go(func() {
			if err := member(ctx, c, i, names); err != nil && ctx.Err() == nil {
				b.Error(err)
			}
		})
	}
	for acks := 0; acks < n*len(names); {
		select {
		case k := <-e.acked:
			acks += k
		case <-time.After(votePatience):
			b.Fatalf("%d of %d routes acknowledged", acks, n*len(names))
		}
	}
}

func member(ctx context.Context, conn *grpc.ClientConn, i int, names []string) error {
	s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	for _, req := range []*discoveryv3.DeltaDiscoveryRequest{
		{Node: &corev3.Node{Id: fmt.Sprint("p", i), Cluster: "client"}, TypeUrl: resource.ClusterType},
		{TypeUrl: resource.EndpointType, ResourceNamesSubscribe: names[1:]},
		{TypeUrl: resource.ScopedRouteType},
		{TypeUrl: resource.RouteType, ResourceNamesSubscribe: names},
	} {
		if err := s.Send(req); err != nil {
			return err
		}
	}
	for {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		if err := s.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}); err != nil {
			return err
		}
	}
}
