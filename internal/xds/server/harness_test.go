package server_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/internal/xds/server/xdstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a server in a bubble, with what it told its observer.
type rig struct {
	t     testing.TB
	store *cache.Store
	srv   *server.Server
	cfg   server.Config
	seen  *watcher
	ends  []func()
}

type watcher struct {
	server.NopObserver
	mu       sync.Mutex
	rejected []server.Rejection
	held     []server.Held
	refused  []string
	gone     []string
	acked    int
	took     []time.Duration
}

func (w *watcher) Rejected(_ string, r server.Rejection) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rejected = append(w.rejected, r)
}

func (w *watcher) Held(_ string, h server.Held) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = append(w.held, h)
}

func (w *watcher) Refused(cause string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused = append(w.refused, cause)
}

func (w *watcher) Disconnected(_, cause string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = append(w.gone, cause)
}

func (w *watcher) Acked(_ string, n int, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked += n
	w.took = append(w.took, took)
}

// newRig makes a server whose store holds the given sets, if any.
func newRig(t testing.TB, edit func(*server.Config), sets ...resource.Set) *rig {
	r := &rig{t: t, store: cache.New(cache.Config{}), seen: &watcher{}}
	r.cfg = server.Config{
		Store: r.store, Observer: r.seen, Linger: -1,
		Listeners: func(p resource.Profile) []*resource.Resource {
			out := []*resource.Resource{xdstest.Listener(mesh.OutboundListener, p.OutboundPort)}
			for _, u := range p.Upstreams {
				out = append(out, xdstest.With(xdstest.Listener(mesh.UpstreamListener(u.Service, u.Port), u.Port), resource.IfAbsent))
			}
			return out
		},
		Synthesize: func(typeURL, name string) *resource.Resource {
			if _, local := mesh.ParseLocalAssignment(name); local && typeURL == resource.EndpointType {
				return xdstest.Assignment(name)
			}
			return nil
		},
	}
	if edit != nil {
		edit(&r.cfg)
	}
	r.srv = server.New(r.cfg)
	if sets != nil {
		r.store.Apply(sets)
	}
	return r
}

// delta opens a stream that the test drives by hand.
func (r *rig) delta() *xdstest.Delta {
	p := xdstest.Open(context.Background(), server.Codec(), 4096, func(p *xdstest.Delta) error { return r.srv.DeltaAggregatedResources(p) })
	r.ends = append(r.ends, p.Hang)
	return p
}

// sotw opens a state-of-the-world stream that the test drives by hand.
func (r *rig) sotw() *xdstest.SotW {
	p := xdstest.Open(context.Background(), server.Codec(), 4096, func(p *xdstest.SotW) error { return r.srv.StreamAggregatedResources(p) })
	r.ends = append(r.ends, p.Hang)
	return p
}

// connect runs a model Envoy and returns what breaks the connection.
func (r *rig) connect(e *xdstest.Envoy) (hang func()) {
	p := r.delta()
	go func() { _ = e.Run(xdstest.End{Delta: p}) }()
	synctest.Wait()
	return func() {
		p.Hang()
		synctest.Wait()
	}
}

// envoy is a model Envoy of a service.
func envoy(id, service string, upstreams ...string) *xdstest.Envoy {
	return &xdstest.Envoy{Node: xdstest.Node(id, service, upstreams...)}
}

// stop ends all streams and waits for the goroutines.
func (r *rig) stop() {
	for _, end := range r.ends {
		end()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.srv.Drain(ctx); err != nil {
		r.t.Error(err)
	}
}

// bubble runs f with a rig in a synctest bubble.
func bubble(t *testing.T, edit func(*server.Config), sets []resource.Set, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, edit, sets...)
		defer r.stop()
		f(t, r)
	})
}

// subscribe is a delta request.
func subscribe(typeURL string, names ...string) *discoveryv3.DeltaDiscoveryRequest {
	return &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: names}
}
