package server_test

import (
	"fmt"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/internal/xds/server/xdstest"
)

// BenchmarkSurvey asks 1,000 streams that are subscribed to the clusters and
// routes of 1,000 services about 1,001 documents: one of the mesh and one a
// service. "settled" is what a survey costs where every proxy runs everything,
// "late" where a change of one service is on its way to all of them.
func BenchmarkSurvey(b *testing.B) {
	const streams, services = 1000, 1000
	var names []string
	var sets []resource.Set
	labels := []cache.Label{{Policy: "rp/default/mesh@1"}}
	tuned := func(name string, timeout time.Duration, generation int) resource.Set {
		label := fmt.Sprintf("rp/default/%s@%d rp/default/mesh@1", name, generation)
		return xdstest.Only(labelled(xdstest.Tuned(name, timeout, 8000), label, label), resource.ClusterType, resource.RouteType)
	}
	for i := range services {
		names = append(names, fmt.Sprintf("s%04d", i))
		sets = append(sets, tuned(names[i], time.Second, 1))
		labels = append(labels, cache.Label{Policy: "rp/default/" + names[i] + "@1"})
	}
	r := newRig(b, func(c *server.Config) { c.DrainPeriod = time.Millisecond }, sets...)
	defer r.stop()
	synced := make(chan struct{}, streams)
	silent := make(chan struct{}) // closed: acknowledge nothing more
	for i := range streams {
		go answer(r.delta(), fmt.Sprint("p", i), names, synced, silent)
	}
	for range streams {
		<-synced
	}
	b.Run("settled", func(b *testing.B) { survey(b, r, labels, streams, streams) })
	close(silent)
	r.store.Apply([]resource.Set{tuned(names[0], 2*time.Second, 2)})
	labels[1].Policy = "rp/default/s0000@2"
	b.Run("late", func(b *testing.B) { survey(b, r, labels, streams, 0) })
}

func survey(b *testing.B, r *rig, labels []cache.Label, proxies, running int) {
	q := server.NewInquiry(labels)
	for b.Loop() {
		got := r.srv.Survey(q)
		if u := got.Uptakes[1]; u.Proxies != proxies || u.Running != running || got.Uptakes[2].Running != proxies {
			b.Fatalf("%d settling, %+v", got.Settling, u)
		}
	}
}

// answer is a proxy that acknowledges whatever comes and keeps nothing of it.
func answer(p *xdstest.Delta, id string, routes []string, synced chan<- struct{}, silent <-chan struct{}) {
	first := subscribe(resource.ClusterType)
	first.Node = xdstest.Node(id, "client")
	first.Node.Metadata = nil // no listener, so that it has settled without scopes
	p.Say(first)
	p.Say(subscribe(resource.ListenerType))
	p.Say(subscribe(resource.RouteType, routes...))
	for left := 2 * len(routes); ; {
		m, err := p.Hear()
		if err != nil {
			return
		}
		select {
		case <-silent:
			continue
		default:
		}
		p.Say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: m.GetTypeUrl(), ResponseNonce: m.GetNonce()})
		if m.GetTypeUrl() == resource.ListenerType {
			continue
		}
		if left -= len(m.GetResources()); left == 0 {
			synced <- struct{}{}
		}
	}
}
