package server_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
	"meshlite.dev/internal/xds/server/xdstest"
)

// withBox is the mesh of two, on proxies with a ballot listener.
func withBox(c *server.Config) {
	plain := c.Listeners
	c.Listeners = func(p resource.Profile) []*resource.Resource {
		return append(plain(p), xdstest.Listener(mesh.BallotListener, 20999))
	}
}

func box() []resource.Set {
	return append(two(), resource.Set{Resources: []*resource.Resource{xdstest.Route(mesh.BallotRoute, 0)}})
}

// candidate is orders with other content, led to canary too, which is new.
func candidate(r *rig) []resource.Ballot {
	orders := xdstest.Tuned("orders", 7*time.Second, 8001)
	orders.Resources[5] = xdstest.Route("orders", 7*time.Second, "orders", "canary")
	canary := xdstest.Only(xdstest.Service("canary", 8101), resource.ClusterType, resource.EndpointType)
	return resource.Stage("t1", r.store.Lookup, []resource.Set{canary, orders})
}

// traces are what a model Envoy has of votes.
func traces(e *xdstest.Envoy) (out []string) {
	for _, typ := range []string{resource.ClusterType, resource.EndpointType, resource.RouteType} {
		for name, version := range e.Has(typ) {
			if strings.Contains(name, "!") || name == mesh.BallotRoute && version != box()[2].Resources[0].Version {
				out = append(out, name)
			}
		}
	}
	return out
}

// A vote asks for everything that changes, serves nothing of it, and leaves
// nothing behind.
func TestVoteOfAProxy(t *testing.T) {
	bubble(t, withBox, box(), func(t *testing.T, r *rig) {
		e := envoy("c-1", "client")
		r.connect(e)
		e.Log()
		before := fmt.Sprint(e.Has(resource.ClusterType), e.Has(resource.EndpointType), e.Has(resource.RouteType), e.Has(resource.ScopedRouteType))
		ballots := candidate(r)
		if diff := cmp.Diff([]server.Voter{{ID: "c-1", Service: "client", Build: "1.40.0"}}, r.srv.Voters(ballots)); diff != "" {
			t.Errorf("voters (-want +got):\n%s", diff)
		}
		vote := r.srv.Poll(t.Context(), "c-1", ballots)
		synctest.Wait()
		if vote.Answer != server.Yes || vote.Refusals != nil || vote.Text != "" {
			t.Errorf("the vote is %+v", vote)
		}
		want := "CDS +canary!t1\nEDS +canary!t1\nCDS +orders!t1\nEDS +orders!t1\nRDS +prepare/out\nCDS -canary!t1 -orders!t1\nRDS +prepare/out"
		if diff := cmp.Diff(want, e.Log()); diff != "" {
			t.Errorf("responses (-want +got):\n%s", diff)
		}
		after := fmt.Sprint(e.Has(resource.ClusterType), e.Has(resource.EndpointType), e.Has(resource.RouteType), e.Has(resource.ScopedRouteType))
		if after != before || traces(e) != nil || e.Faults() != nil || e.Nacks != 0 {
			t.Errorf("after the vote the proxy has %s\nbefore %s\ntraces %v, faults %v", after, before, traces(e), e.Faults())
		}
		if p, _ := r.srv.Proxy("c-1"); p.Status != server.Synced {
			t.Errorf("the proxy is %s", p.Status)
		}
	})
}

// What an Envoy refuses is told with the names of what was voted on; it is no
// quarantine, and routes behind a refused cluster are not at fault.
func TestRefusedBallot(t *testing.T) {
	for _, tt := range []struct{ refuse, want string }{
		{"orders!t1", "orders: orders is bad"},
		{"canary!t1", "canary: canary is bad"},
		{mesh.BallotRoute, "orders: prepare/out is bad"},
	} {
		t.Run(tt.refuse, func(t *testing.T) {
			bubble(t, withBox, box(), func(t *testing.T, r *rig) {
				e := envoy("c-1", "client")
				refusing := ""
				e.Refuse = func(_ string, x *discoveryv3.Resource) string {
					bad := x.GetName() == refusing || refusing == "canary!t1" && x.GetName() == mesh.BallotRoute && x.GetVersion() != box()[2].Resources[0].Version
					if bad {
						return x.GetName() + " is bad"
					}
					return ""
				}
				r.connect(e)
				if refusing = tt.refuse; refusing == mesh.BallotRoute {
					e.Refuse = func(_ string, x *discoveryv3.Resource) string {
						if x.GetName() == refusing && x.GetVersion() != box()[2].Resources[0].Version {
							return x.GetName() + " is bad"
						}
						return ""
					}
				}
				vote := r.srv.Poll(t.Context(), "c-1", candidate(r))
				synctest.Wait()
				if vote.Answer != server.No || len(vote.Refusals) != 1 {
					t.Fatalf("the vote is %+v", vote)
				}
				if got := vote.Refusals[0].Ballot.Of.Name + ": " + vote.Refusals[0].Message; got != tt.want {
					t.Errorf("refused is %q, want %q", got, tt.want)
				}
				p, _ := r.srv.Proxy("c-1")
				if p.Status != server.Synced || len(p.Errors) > 0 || len(r.seen.rejected) > 0 || traces(e) != nil {
					t.Errorf("status %s, errors %v, rejections %v, traces %v", p.Status, p.Errors, r.seen.rejected, traces(e))
				}
			})
		})
	}
}

// Who does not answer, speaks another protocol or is not there abstains, and says
// why; a proxy that comes back has no trace of what it was asked.
func TestAbstentions(t *testing.T) {
	bubble(t, withBox, box(), func(t *testing.T, r *rig) {
		ballots := candidate(r)
		ask := func(ctx context.Context, id string) string {
			vote := r.srv.Poll(ctx, id, ballots)
			if vote.Answer != server.Abstain {
				t.Errorf("%s votes %+v", id, vote)
			}
			return vote.Text
		}
		if got := ask(t.Context(), "nobody"); got != "is not connected" {
			t.Errorf("who is not there %s", got)
		}
		h := newHand(t, r, "orders", "pay", mesh.BallotRoute) // answers when the test wants
		h.keep = func(*discoveryv3.DeltaDiscoveryResponse) bool { return true }
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if got := ask(ctx, "h-1"); got != "did not answer in time" {
			t.Errorf("who is silent %s", got)
		}
		e := envoy("c-1", "client")
		hang := r.connect(e)
		silent := make(chan string)
		stall := make(chan struct{})
		e.Refuse = func(string, *discoveryv3.Resource) string { <-stall; return "" }
		go func() { silent <- ask(t.Context(), "c-1") }()
		synctest.Wait()
		hang()
		if got := <-silent; got != "lost its connection" {
			t.Errorf("who goes %s", got)
		}
		close(stall)
		synctest.Wait()
		e.Refuse = nil
		r.connect(e)
		<-time.After(time.Minute) // the bubble's clock: clusters outlive their routes
		synctest.Wait()
		if got := traces(e); got != nil || e.Faults() != nil {
			t.Errorf("after it came back it has %v, faults %v", got, e.Faults())
		}
	})
}

// Instances come and go while a proxy votes, and several polls wait for each other.
func TestVotesHoldUpNothing(t *testing.T) {
	bubble(t, withBox, box(), func(t *testing.T, r *rig) {
		h := newHand(t, r, "orders", "pay", mesh.BallotRoute)
		var kept []*discoveryv3.DeltaDiscoveryResponse
		h.keep = func(x *discoveryv3.DeltaDiscoveryResponse) bool {
			ballot := false
			for _, y := range x.GetResources() {
				ballot = ballot || strings.Contains(y.GetName(), "!") || y.GetName() == mesh.BallotRoute
			}
			return ballot
		}
		ballots := candidate(r)
		votes := make(chan server.Vote, 2)
		for range 2 {
			go func() { votes <- r.srv.Poll(t.Context(), "h-1", ballots) }()
		}
		h.settle()
		r.store.Apply([]resource.Set{xdstest.Service("pay", 9001, 9002)})
		if diff := cmp.Diff([]string{"EDS +pay"}, h.settle()); diff != "" {
			t.Errorf("endpoints during a vote (-want +got):\n%s", diff)
		}
		for range 40 {
			kept, h.kept = h.kept, nil
			for _, x := range kept {
				h.ack(x)
			}
			h.settle()
		}
		for range 2 {
			if vote := <-votes; vote.Answer != server.Yes {
				t.Errorf("the vote is %+v", vote)
			}
		}
	})
}

// Only those who would get a resource vote on it.
func TestVotersAreThoseConcerned(t *testing.T) {
	bubble(t, withBox, box(), func(t *testing.T, r *rig) {
		for _, c := range []string{"client", "shop"} {
			r.connect(envoy(c+"-1", c))
		}
		next := xdstest.Service("orders", 8001, 8002)
		next.Resources = append(next.Resources, xdstest.For(xdstest.Cluster("orders", 9*time.Second), "shop"))
		ballots := resource.Stage("t1", r.store.Lookup, []resource.Set{next})
		if got := r.srv.Voters(ballots); len(got) != 1 || got[0].ID != "shop-1" {
			t.Errorf("a variant of shop's own is voted on by %v", got)
		}
		next.Resources[0] = xdstest.Cluster("orders", 3*time.Second)
		next.Resources[len(next.Resources)-1] = xdstest.For(xdstest.Cluster("orders", time.Second), "shop")
		ballots = resource.Stage("t1", r.store.Lookup, []resource.Set{next})
		if got := r.srv.Voters(ballots); len(got) != 1 || got[0].ID != "client-1" {
			t.Errorf("what all others get is voted on by %v", got)
		}
		if got := resource.Stage("t1", r.store.Lookup, two()); got != nil {
			t.Errorf("nothing new makes %d ballots", len(got))
		}
	})
}
