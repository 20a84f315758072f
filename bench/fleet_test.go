package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"meshlite.dev/internal/xds/resource"
)

// fleetOrder, in the environment, makes this program a fleet of delta clients:
// a process of its own, so that the server's CPU can be told from theirs.
const fleetOrder = "MESHLITE_BENCH_FLEET"

// order is what a fleet is told.
type order struct {
	Addr    string
	Streams int
	Names   []string // of the assignments that each stream subscribes to
}

const (
	streamsPerConnection = 100
	markBase             = 10_000 // a change is told by the port of the instance it adds
)

// report is a line of a fleet's output.
type report struct {
	Ready time.Duration // all streams have everything; since the first dialled
	Mark  uint32        // of a change that every stream has
	At    []int64       // when each got it, in nanoseconds since 1970
}

func TestMain(m *testing.M) {
	text, ok := os.LookupEnv(fleetOrder)
	if !ok {
		os.Exit(m.Run())
	}
	var o order
	err := json.Unmarshal([]byte(text), &o)
	if err == nil {
		err = runFleet(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

// fleet is a running fleet as the benchmark sees it.
type fleet struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func startFleet(b *testing.B, o order) *fleet {
	b.Helper()
	raw, err := json.Marshal(o)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), fleetOrder+"="+string(raw))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	f := &fleet{cmd, bufio.NewScanner(out)}
	f.lines.Buffer(nil, 16<<20)
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return f
}

func (f *fleet) next(b *testing.B) report {
	b.Helper()
	var r report
	if !f.lines.Scan() {
		b.Fatal("the fleet ended")
	}
	if err := json.Unmarshal(f.lines.Bytes(), &r); err != nil {
		b.Fatal(err)
	}
	return r
}

// tally collects what the streams of a fleet receive.
type tally struct {
	mu    sync.Mutex
	out   *json.Encoder
	o     order
	begin time.Time
	ready int
	marks map[uint32][]int64
	err   chan error
}

// runFleet opens the streams and reports until the server or the benchmark ends.
func runFleet(o order) error {
	t := &tally{out: json.NewEncoder(os.Stdout), o: o, begin: time.Now(), marks: map[uint32][]int64{}, err: make(chan error, o.Streams)}
	var conn *grpc.ClientConn
	for i := range o.Streams {
		if i%streamsPerConnection == 0 {
			var err error
			if conn, err = grpc.NewClient(o.Addr, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
				return err
			}
		}
		go func(c *grpc.ClientConn) { t.err <- t.stream(c, i) }(conn)
	}
	return <-t.err
}

func (t *tally) stream(conn *grpc.ClientConn, i int) error {
	s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(context.Background())
	if err != nil {
		return err
	}
	node := &corev3.Node{Id: fmt.Sprint("p", i), Cluster: "client"}
	if err := s.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: resource.ClusterType}); err != nil {
		return err
	}
	if err := s.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.EndpointType, ResourceNamesSubscribe: t.o.Names}); err != nil {
		return err
	}
	has, told := map[string]bool{}, false
	for {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		now := time.Now().UnixNano()
		if err := s.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}); err != nil {
			return err
		}
		for _, x := range r.GetResources() {
			has[r.GetTypeUrl()+x.GetName()] = true
			if r.GetTypeUrl() == resource.EndpointType && told {
				t.note(mark(x), now)
			}
		}
		if !told && len(has) >= 2*len(t.o.Names) {
			told = true
			t.noteReady()
		}
	}
}

// mark reads the number of a change; 0 is none.
func mark(x *discoveryv3.Resource) uint32 {
	cla := &endpointv3.ClusterLoadAssignment{}
	if proto.Unmarshal(x.GetResource().GetValue(), cla) != nil {
		return 0
	}
	for _, l := range cla.GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			if p := e.GetEndpoint().GetAddress().GetSocketAddress().GetPortValue(); p > markBase {
				return p
			}
		}
	}
	return 0
}

func (t *tally) noteReady() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ready++; t.ready == t.o.Streams {
		t.say(report{Ready: time.Since(t.begin)})
	}
}

func (t *tally) note(mark uint32, at int64) {
	if mark == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.marks[mark] = append(t.marks[mark], at)
	if len(t.marks[mark]) == t.o.Streams {
		t.say(report{Mark: mark, At: slices.Clone(t.marks[mark])})
		delete(t.marks, mark)
	}
}

func (t *tally) say(r report) {
	if err := t.out.Encode(r); err != nil {
		t.err <- err
	}
}
