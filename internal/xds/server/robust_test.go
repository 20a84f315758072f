package server_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/internal/xds/server/xdstest"
)

// P9: a proxy that does not read stops nobody, costs no more than one flush,
// and is closed after the deadline.
func TestP9FanOutNeverBlocks(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		stuck := xdstest.Open(context.Background(), server.Codec(), 0, func(p *xdstest.Delta) error { return r.srv.DeltaAggregatedResources(p) })
		first := subscribe(resource.ClusterType)
		first.Node = xdstest.Node("stuck", "client")
		stuck.Say(first)
		e := envoy("c-1", "client")
		r.connect(e)
		for i := range 5000 { // more than the log holds
			r.store.Apply([]resource.Set{xdstest.Service("orders", uint32(i+1))})
		}
		synctest.Wait()
		if got, want := e.Has(resource.EndpointType)["orders"], r.store.Lookup(resource.EndpointType, "orders", "client").Version; got != want {
			t.Errorf("beside a stuck proxy another has %s, want %s", got, want)
		}
		<-time.After(21 * time.Second)
		synctest.Wait()
		if err := stuck.Wait(); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("the stuck stream ended with %v", err)
		}
		if p, _ := r.srv.Proxy("stuck"); p.Connected {
			t.Error("the ledger shows it as connected")
		}
		if p, _ := r.srv.Proxy("c-1"); !p.Connected {
			t.Error("the other one was closed too")
		}
	})
}

// A stream that was behind for longer than the log reaches finds what changed
// by comparing.
func TestStreamThatFellBehindCatchesUp(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		p := xdstest.Open(context.Background(), server.Codec(), 0, func(p *xdstest.Delta) error { return r.srv.DeltaAggregatedResources(p) })
		defer p.Hang()
		e := envoy("c-1", "client")
		gate := newGated(p)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = e.Run(gate)
		}()
		synctest.Wait()
		gate.shut() // the proxy stops reading
		for i := range 6000 {
			r.store.Apply([]resource.Set{xdstest.Service("orders", uint32(i+1))})
		}
		r.store.Apply([]resource.Set{{Service: "pay"}, xdstest.Service("users", 1)})
		gate.open()
		synctest.Wait()
		for _, typ := range []string{resource.ClusterType, resource.EndpointType, resource.RouteType} {
			has := e.Has(typ)
			if len(has) != 2 || has["orders"] == "" || has["users"] == "" {
				t.Errorf("%s: %v, want orders and users", typ, has)
			}
		}
		p.Hang()
		<-done
	})
}

// gated is a transport that reads while its gate is open. Who waits before a
// channel, unlike a mutex, counts as idle in a bubble.
type gated struct {
	xdstest.End
	gate chan struct{} // full while it is shut
}

func newGated(p *xdstest.Delta) *gated {
	return &gated{End: xdstest.End{Delta: p}, gate: make(chan struct{}, 1)}
}

func (g *gated) shut() { g.gate <- struct{}{} }
func (g *gated) open() { <-g.gate }

func (g *gated) Recv() (*discoveryv3.DeltaDiscoveryResponse, error) {
	r, err := g.End.Recv()
	g.shut()
	g.open()
	return r, err
}

func TestOverloadShedsNewStreamsOnly(t *testing.T) {
	bubble(t, func(c *server.Config) { c.Burst, c.StreamRate = 2, 1 }, two(), func(t *testing.T, r *rig) {
		a, b := envoy("a", "client"), envoy("b", "client")
		r.connect(a)
		r.connect(b)
		if err := r.delta().Wait(); status.Code(err) != codes.Unavailable {
			t.Errorf("third stream: %v", err)
		}
		<-time.After(time.Second)
		c := envoy("c", "client")
		r.connect(c)
		if len(c.Has(resource.ClusterType)) != 2 {
			t.Error("a stream after the rush was not served")
		}
		if len(r.srv.Proxies()) != 3 || len(r.seen.refused) != 1 || r.seen.refused[0] != "overload" {
			t.Errorf("refused %v", r.seen.refused)
		}
	})
}

func TestUnauthorizedNodesAreTurnedAway(t *testing.T) {
	auth := func(_ context.Context, service string) error {
		if service != "client" {
			return errors.New("the certificate is for client")
		}
		return nil
	}
	bubble(t, func(c *server.Config) { c.Authorize = auth }, two(), func(t *testing.T, r *rig) {
		p := r.delta()
		first := subscribe(resource.ClusterType)
		first.Node = xdstest.Node("x", "orders")
		p.Say(first)
		if err := p.Wait(); status.Code(err) != codes.PermissionDenied {
			t.Errorf("err = %v", err)
		}
		nameless := r.delta()
		nameless.Say(subscribe(resource.ClusterType))
		if err := nameless.Wait(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("without a node: %v", err)
		}
		if len(r.srv.Proxies()) != 0 {
			t.Error("the ledger took them in")
		}
	})
}

func TestSilentStreamIsClosed(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		p := r.delta()
		if err := p.Wait(); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("err = %v", err)
		}
	})
}

func TestNamesAreBounded(t *testing.T) {
	bubble(t, func(c *server.Config) { c.MaxNames = 10 }, two(), func(t *testing.T, r *rig) {
		var names []string
		for i := range 11 {
			names = append(names, fmt.Sprint("n-", i))
		}
		p := r.delta()
		first := subscribe(resource.EndpointType, names...)
		first.Node = xdstest.Node("x", "client")
		p.Say(first)
		if err := p.Wait(); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("err = %v", err)
		}
	})
}

func TestDrainClosesStreamsAndRefusesNewOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, two()...)
		var pipes []*xdstest.Delta
		for i := range 20 {
			p := r.delta()
			first := subscribe(resource.ClusterType)
			first.Node = xdstest.Node(fmt.Sprint("c-", i), "client")
			p.Say(first)
			pipes = append(pipes, p)
		}
		synctest.Wait()
		began := time.Now()
		if err := r.srv.Drain(context.Background()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took <= 0 || took > 10*time.Second {
			t.Errorf("drained in %v", took)
		}
		for _, p := range pipes {
			if err := p.Wait(); status.Code(err) != codes.Unavailable {
				t.Errorf("stream ended with %v", err)
			}
		}
		if err := r.delta().Wait(); status.Code(err) != codes.Unavailable {
			t.Errorf("a new stream: %v", err)
		}
	})
}

func TestDrainGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *server.Config) { c.DrainPeriod = time.Hour }, two()...)
		e := envoy("c", "client")
		r.connect(e)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = r.srv.Drain(ctx)
		synctest.Wait()
		if p, _ := r.srv.Proxy("c"); p.Connected {
			t.Error("the stream outlived the drain")
		}
	})
}

// P13: the ledger says how old what a proxy has is, and remembers for a while
// who is gone.
func TestP13LedgerShowsAgeAndRemembers(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		e := envoy("c-1", "client")
		hang := r.connect(e)
		<-time.After(time.Minute)
		p, _ := r.srv.Proxy("c-1")
		for _, typ := range p.Types {
			if age := time.Since(typ.LastAcked); age != time.Minute {
				t.Errorf("%s acknowledged %v ago, want a minute", typ.Type, age)
			}
		}
		hang()
		<-time.After(59 * time.Minute)
		if ps := r.srv.Proxies(); len(ps) != 1 || ps[0].Connected || time.Since(ps[0].GoneAt) != 59*time.Minute {
			t.Errorf("after 59 minutes: %+v", ps)
		}
		<-time.After(2 * time.Minute)
		if ps := r.srv.Proxies(); len(ps) != 0 {
			t.Errorf("after 61 minutes: %+v", ps)
		}
	})
}

// P10: what one change costs does not grow with what else there is.
func TestP10BoundedWork(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, r *rig) {
		var sets []resource.Set
		for i := range 300 {
			sets = append(sets, xdstest.Service(fmt.Sprintf("s-%03d", i), 8000))
		}
		r.store.Apply(sets)
		everything := envoy("all", "client")
		r.connect(everything)
		one := say(t, r, subscribe(resource.EndpointType, "s-007"))
		one.settle()
		everything.Log()
		received := everything.Received
		r.store.Apply([]resource.Set{xdstest.Service("s-008", 8000, 8001)})
		synctest.Wait()
		if got := everything.Received - received; got != 1 {
			t.Errorf("one change of 300 services sent %d resources", got)
		}
		if got := one.settle(); got != nil {
			t.Errorf("a stream that does not want it received %v", got)
		}
	})
}

// P5: two servers with the same input say the same, byte by byte.
func TestP5ReplicasSayTheSame(t *testing.T) {
	logs := [2]string{}
	for i := range logs {
		bubble(t, nil, nil, func(t *testing.T, r *rig) {
			sets := two()
			if i == 1 {
				sets[0], sets[1] = sets[1], sets[0]
			}
			r.store.Apply(sets)
			h := say(t, r, subscribe(resource.ClusterType))
			synctest.Wait()
			for _, x := range h.p.Heard() {
				logs[i] += x.String()
			}
		})
	}
	if logs[0] != logs[1] || logs[0] == "" {
		t.Errorf("one says\n%s\nthe other\n%s", logs[0], logs[1])
	}
}

func TestConvergenceIsMeasuredFromThePublish(t *testing.T) {
	bubble(t, nil, two(), func(t *testing.T, r *rig) {
		h := newHand(t, r, "orders", "pay")
		r.seen.took = nil
		h.keep = func(x *discoveryv3.DeltaDiscoveryResponse) bool { return true }
		r.store.Apply([]resource.Set{xdstest.Service("orders", 8001)})
		h.settle()
		<-time.After(3 * time.Second)
		h.ack(h.kept[0])
		synctest.Wait()
		if len(r.seen.took) != 1 || r.seen.took[0] != 3*time.Second {
			t.Errorf("took %v, want 3s", r.seen.took)
		}
	})
}
