package bench

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/xds/resource"
)

const fanoutServices = 100

// plane is a control plane under measurement.
type plane interface {
	options() []grpc.ServerOption
	register(g *grpc.Server)
	publish(old, next *mesh.Service) // next has one instance more or less
}

// planes are ours, those of go-control-plane, and the floor: one ready-made
// response written to every stream.
var planes = []struct {
	name string
	make func(b *testing.B, services []*mesh.Service, streams int) plane
}{
	{"meshlite", newOwn},
	{"floor", newFloor},
	{"linear-cache", newLinear},
	{"snapshot-cache-shared", newSharedSnapshot},
	{"snapshot-cache-per-node", newSnapshotPerNode},
}

// meshServices is a compiled mesh of n services.
func meshServices(n int) []*mesh.Service {
	snap := catalog.Snapshot{}
	for i := range n {
		s := compileService(i, 3)
		snap.Services = snap.Services.Set(s.Name, s)
	}
	var out []*mesh.Service
	for _, s := range compile.Full(compile.Default(), snap, policy.Revision{}).Model.Services.All() {
		out = append(out, s)
	}
	return out
}

// BenchmarkFanOut changes one endpoint of a service that every stream wants
// and waits until all have it. p50 and p99 are over all streams and changes,
// cpu is the server's, connection handling and acknowledgements included.
func BenchmarkFanOut(b *testing.B) {
	for _, streams := range []int{100, 1_000} {
		for _, p := range planes {
			b.Run(fmt.Sprintf("streams=%d/%s", streams, p.name), func(b *testing.B) {
				fanOut(b, streams, p.make)
			})
		}
	}
}

func fanOut(b *testing.B, streams int, make func(*testing.B, []*mesh.Service, int) plane) {
	services := meshServices(fanoutServices)
	before := memory()
	p := make(b, services, streams)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	g := grpc.NewServer(p.options()...)
	p.register(g)
	go func() { _ = g.Serve(lis) }() // ends with Stop
	b.Cleanup(g.Stop)
	o := order{Addr: lis.Addr().String(), Streams: streams}
	for _, s := range services {
		o.Names = append(o.Names, s.Name)
	}
	f := startFleet(b, o)
	cold := f.next(b).Ready
	idle := memory() - before

	var all []time.Duration
	changes := 0
	cpu := usedCPU(b)
	for b.Loop() {
		at := changes % len(services)
		old := services[at]
		next := *old
		next.Endpoints = append(slices.Clone(old.Endpoints[:3]), mesh.Endpoint{ID: "new", Address: "10.255.0.1", Port: uint32(markBase + 1 + changes%50_000), Weight: 1})
		begin := time.Now().UnixNano()
		p.publish(old, &next)
		services[at] = &next
		for _, t := range f.next(b).At {
			all = append(all, time.Duration(t-begin))
		}
		changes++
	}
	used := usedCPU(b) - cpu
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(used.Microseconds())/1000/float64(changes), "cpu-ms/change")
	b.ReportMetric(float64(idle)/1024/float64(streams), "KiB/stream")
	b.ReportMetric(float64(cold.Milliseconds()), "cold-ms")
	b.ReportMetric(0, "ns/op") // p50 and p99 say it better
}

// memory is what the heap and the stacks take once garbage is gone.
func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func usedCPU(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkMemory is what 1,000 services of 10 instances take: the model and
// every message.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		before := memory()
		snap, rev := compileInputs(b, 1_000)
		m := compile.Full(compile.Default(), snap, rev).Model
		model := memory() - before
		var sets []resource.Set
		for _, s := range m.Services.All() {
			sets = append(sets, resource.Build(resource.Config{}, s))
		}
		b.ReportMetric(float64(model)/(1<<20), "model-MiB")
		b.ReportMetric(float64(memory()-before-model)/(1<<20), "messages-MiB")
		runtime.KeepAlive(sets)
		runtime.KeepAlive(m)
	}
}

// BenchmarkBuild makes every message of 1,000 services, and those of one whose
// endpoints changed.
func BenchmarkBuild(b *testing.B) {
	services := meshServices(1_000)
	b.Run("full", func(b *testing.B) {
		for b.Loop() {
			for _, s := range services {
				resource.Build(resource.Config{}, s)
			}
		}
	})
	b.Run("one-endpoint", func(b *testing.B) {
		set := resource.Build(resource.Config{}, services[0])
		next := *services[0]
		next.Endpoints = next.Endpoints[1:]
		for b.Loop() {
			resource.Rebuild(resource.Config{}, set, services[0], &next)
		}
	})
}
