package bench

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/test/lab"
)

// mostStaged is how many clusters a vote has on a proxy at a time.
const mostStaged = 64

// BenchmarkStagingMemory is what a vote takes of an Envoy while it lasts, and what the
// same clusters take once they are in force. Answers are held back as soon as all
// clusters of a round are there; a vote that leaves something behind fails it.
// staged-KiB and in-force-KiB are per cluster, of what Envoy says it uses; rss-KiB is
// what it took from the system for each, kept-KiB what it uses more after all votes.
func BenchmarkStagingMemory(b *testing.B) {
	if err := lab.Build(b.Context(), b.TempDir(), false); err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{16, mostStaged, 4 * mostStaged} {
		b.Run(fmt.Sprint("clusters=", n), func(b *testing.B) {
			h := &holder{}
			e, l := newElectorate(b, 2*mostStaged, grpc.StreamInterceptor(h.stream)), lab.New(b)
			l.Server = &lab.Server{XDS: e.addr}
			stage(b, n, h, e, l.Sidecar("client"))
		})
	}
}

// stage votes on n clusters that are not in force, and then has them in force.
func stage(b *testing.B, n int, h *holder, e *electorate, envoy *lab.Sidecar) {
	candidate := fresh(n)
	clusters := func() int {
		return envoy.Stat("cluster_manager.active_clusters") + envoy.Stat("cluster_manager.warming_clusters")
	}
	have := func(want int) {
		b.Helper()
		lab.Until(b, votePatience, fmt.Sprint("there are ", want, " clusters"), func() error {
			if got := clusters(); got != want || envoy.Stat("cluster_manager.warming_clusters") > 0 {
				return fmt.Errorf("%d", got)
			}
			return nil
		})
	}
	begin, first := clusters(), 0
	before, _ := envoy.Memory()
	at := min(n, mostStaged)
	var staged, resident, rounds int
	for b.Loop() {
		idle, rss := envoy.Memory()
		ballots := resource.Stage(fmt.Sprint("t", rounds), e.store.Lookup, candidate)
		if len(ballots) != n {
			b.Fatalf("%d ballots of %d clusters", len(ballots), n)
		}
		h.hold()
		vote := make(chan server.Vote, 1)
		go func() { vote <- e.streams.Poll(b.Context(), envoy.ID, ballots) }()
		have(begin + at) // and no more: the others wait for their round
		during, rssDuring := envoy.Memory()
		h.release()
		if v := <-vote; v.Answer != server.Yes {
			b.Fatalf("%+v", v)
		}
		have(begin)
		staged += during - idle
		if rounds == 0 {
			first, resident = during-idle, rssDuring-rss
		}
		rounds++
	}
	var after int
	lab.Until(b, votePatience, "the memory is given back", func() error {
		if after, _ = envoy.Memory(); after-before > first/4 {
			return fmt.Errorf("%d KiB more than before, of %d in the vote", (after-before)>>10, first>>10)
		}
		return nil
	})
	e.store.Apply(candidate)
	have(begin + n)
	live, _ := envoy.Memory()
	perCluster := func(bytes, clusters int) float64 { return float64(bytes) / 1024 / float64(clusters) }
	b.ReportMetric(perCluster(staged, at*rounds), "staged-KiB")
	b.ReportMetric(perCluster(live-after, n), "in-force-KiB")
	b.ReportMetric(perCluster(resident, at), "rss-KiB")
	b.ReportMetric(float64(after-before)/1024, "kept-KiB")
	b.ReportMetric(0, "ns/op")
}

// fresh are the clusters and endpoints of n services that newElectorate has not.
func fresh(n int) (sets []resource.Set) {
	for _, s := range meshServices(voteServices + n)[voteServices:] {
		set := resource.Build(resource.Config{}, s)
		own := resource.Set{Service: set.Service}
		for _, r := range set.Resources {
			if r.Type == resource.ClusterType || r.Type == resource.EndpointType && r.Name == s.Name {
				own.Resources = append(own.Resources, r)
			}
		}
		sets = append(sets, own)
	}
	return sets
}

// holder keeps back what proxies say, between hold and release.
type holder struct {
	mu   sync.Mutex
	free chan struct{} // closed by release; nil lets all pass
}

func (h *holder) hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.free = make(chan struct{})
}

func (h *holder) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.free)
	h.free = nil
}

func (h *holder) stream(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return next(srv, heldStream{s, h})
}

type heldStream struct {
	grpc.ServerStream
	holder *holder
}

// RecvMsg implements grpc.ServerStream.
func (s heldStream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	s.holder.mu.Lock()
	free := s.holder.free
	s.holder.mu.Unlock()
	if free == nil || err != nil {
		return err
	}
	select {
	case <-free:
	case <-s.Context().Done():
	case <-time.After(votePatience): // a benchmark that failed meanwhile
	}
	return nil
}
