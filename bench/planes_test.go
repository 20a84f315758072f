package bench

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	cachetypes "github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
)

// own is this project's store and stream server; a publish includes making the
// messages.
type own struct {
	store  *cache.Store
	server *server.Server
	sets   map[string]resource.Set
}

func newOwn(_ *testing.B, services []*mesh.Service, _ int) plane {
	o := &own{store: cache.New(cache.Default()), sets: map[string]resource.Set{}}
	var sets []resource.Set
	for _, s := range services {
		o.sets[s.Name] = resource.Build(resource.Config{}, s)
		sets = append(sets, o.sets[s.Name])
	}
	o.store.Apply(sets)
	o.server = server.New(server.Config{Store: o.store})
	return o
}

func (o *own) options() []grpc.ServerOption { return server.Options() }

func (o *own) register(g *grpc.Server) { o.server.Register(g) }

func (o *own) publish(old, next *mesh.Service) {
	set := resource.Rebuild(resource.Config{}, o.sets[next.Name], old, next)
	o.sets[next.Name] = set
	o.store.Apply([]resource.Set{set})
}

// typed returns the cluster and the assignment of a service as messages, for
// the caches of go-control-plane.
func typed(s *mesh.Service) (cluster, assignment cachetypes.Resource) {
	for _, r := range resource.Build(resource.Config{}, s).Resources {
		if r.Name != s.Name || r.Type != resource.ClusterType && r.Type != resource.EndpointType {
			continue
		}
		m, err := (&anypb.Any{TypeUrl: r.Type, Value: r.Body}).UnmarshalNew()
		if err != nil {
			panic(err) // what was just marshalled
		}
		if r.Type == resource.ClusterType {
			cluster = m
		} else {
			assignment = m
		}
	}
	return cluster, assignment
}

// library is go-control-plane's server over one of its caches.
type library struct {
	cache cachev3.Cache
	push  func(s *mesh.Service)
}

func (l *library) options() []grpc.ServerOption { return nil }

func (l *library) register(g *grpc.Server) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, serverv3.NewServer(context.Background(), l.cache, nil))
}

func (l *library) publish(_, next *mesh.Service) { l.push(next) }

// newLinear is one LinearCache per type, the cheapest that the library has.
func newLinear(b *testing.B, services []*mesh.Service, _ int) plane {
	clusters, endpoints := map[string]cachetypes.Resource{}, map[string]cachetypes.Resource{}
	for _, s := range services {
		clusters[s.Name], endpoints[s.Name] = typed(s)
	}
	cds := cachev3.NewLinearCache(resource.ClusterType, cachev3.WithInitialResources(clusters))
	eds := cachev3.NewLinearCache(resource.EndpointType, cachev3.WithInitialResources(endpoints))
	mux := &cachev3.MuxCache{
		Classify:      func(r *cachev3.Request) string { return r.GetTypeUrl() },
		ClassifyDelta: func(r *cachev3.DeltaRequest) string { return r.GetTypeUrl() },
		Caches:        map[string]cachev3.Cache{resource.ClusterType: cds, resource.EndpointType: eds},
	}
	return &library{cache: mux, push: func(s *mesh.Service) {
		_, a := typed(s)
		if err := eds.UpdateResource(s.Name, a); err != nil {
			b.Error(err)
		}
	}}
}

// oneNode puts every proxy on the same snapshot.
type oneNode struct{}

func (oneNode) ID(*corev3.Node) string { return "all" }

func newSharedSnapshot(b *testing.B, services []*mesh.Service, _ int) plane {
	return newSnapshots(b, services, oneNode{}, []string{"all"})
}

func newSnapshotPerNode(b *testing.B, services []*mesh.Service, streams int) plane {
	var nodes []string
	for i := range streams {
		nodes = append(nodes, fmt.Sprint("p", i))
	}
	return newSnapshots(b, services, cachev3.IDHash{}, nodes)
}

func newSnapshots(b *testing.B, services []*mesh.Service, hash cachev3.NodeHash, nodes []string) plane {
	snapshots := cachev3.NewSnapshotCache(true, hash, nil)
	resources := map[string][]cachetypes.Resource{}
	at := map[string]int{}
	for i, s := range services {
		c, a := typed(s)
		at[s.Name] = i
		resources[resource.ClusterType] = append(resources[resource.ClusterType], c)
		resources[resource.EndpointType] = append(resources[resource.EndpointType], a)
	}
	version := 0
	set := func() {
		version++
		for _, n := range nodes {
			snap, err := cachev3.NewSnapshot(fmt.Sprint(version), resources)
			if err == nil {
				err = snapshots.SetSnapshot(context.Background(), n, snap)
			}
			if err != nil {
				b.Error(err)
			}
		}
	}
	set()
	return &library{cache: snapshots, push: func(s *mesh.Service) {
		_, a := typed(s)
		resources[resource.EndpointType][at[s.Name]] = a
		set()
	}}
}

// floor writes one ready-made response to every stream and does nothing else.
type floor struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	first map[string]*discoveryv3.DeltaDiscoveryResponse

	mu      sync.Mutex
	streams map[chan *discoveryv3.DeltaDiscoveryResponse]bool
}

func newFloor(_ *testing.B, services []*mesh.Service, _ int) plane {
	f := &floor{first: map[string]*discoveryv3.DeltaDiscoveryResponse{}, streams: map[chan *discoveryv3.DeltaDiscoveryResponse]bool{}}
	for _, typ := range []string{resource.ClusterType, resource.EndpointType} {
		f.first[typ] = &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typ, Nonce: "1"}
	}
	for _, s := range services {
		for _, r := range resource.Build(resource.Config{}, s).Resources {
			if to := f.first[r.Type]; to != nil && r.Name == s.Name {
				to.Resources = append(to.Resources, wire(r))
			}
		}
	}
	return f
}

func wire(r *resource.Resource) *discoveryv3.Resource {
	return &discoveryv3.Resource{Name: r.Name, Version: r.Version, Resource: &anypb.Any{TypeUrl: r.Type, Value: r.Body}}
}

func (f *floor) options() []grpc.ServerOption { return nil }

func (f *floor) register(g *grpc.Server) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, f)
}

func (f *floor) publish(_, next *mesh.Service) {
	r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: resource.EndpointType, Nonce: "2"}
	for _, x := range resource.Build(resource.Config{}, next).Resources {
		if x.Type == resource.EndpointType && x.Name == next.Name {
			r.Resources = append(r.Resources, wire(x))
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for ch := range f.streams {
		ch <- r
	}
}

// DeltaAggregatedResources answers the first request of each type and then
// sends what is published.
func (f *floor) DeltaAggregatedResources(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	ch := make(chan *discoveryv3.DeltaDiscoveryResponse, 16)
	go func() {
		defer close(ch)
		for {
			req, err := s.Recv()
			if err != nil {
				f.mu.Lock()
				delete(f.streams, ch)
				f.mu.Unlock()
				return
			}
			if req.GetResponseNonce() == "" {
				ch <- f.first[req.GetTypeUrl()]
			}
		}
	}()
	f.mu.Lock()
	f.streams[ch] = true
	f.mu.Unlock()
	for r := range ch {
		if err := s.Send(r); err != nil {
			return err
		}
	}
	return io.EOF
}
