package server

import (
	"cmp"
	"context"
	"slices"
	"time"

	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
)

// Voter is a connected proxy that some of a list of ballots are for.
type Voter struct {
	ID      string
	Service string // node.cluster
	Build   string // Node.Build: proxies of one build judge alike
}

// Answer is what a proxy says to ballots.
type Answer uint8

// The answers; the zero value is Abstain.
const (
	Abstain Answer = iota // nothing was said in time, or could be
	Yes                   // it accepts every ballot that is for it
	No                    // it refuses one or more
)

// Vote is the answer of one proxy.
type Vote struct {
	Answer   Answer
	Refusals []BallotRefusal // with No; in the order of the ballots
	Text     string          // with Abstain: why
	Took     time.Duration   // from the question to the answer
}

// BallotRefusal is a ballot that an Envoy refuses.
type BallotRefusal struct {
	Ballot  resource.Ballot
	Message string // Envoy's words, with the names of what the ballot stands for
}

// Voters returns the connected proxies that some of ballots are for, by id: those
// that are subscribed to the name and get this variant of it.
func (s *Server) Voters(ballots []resource.Ballot) []Voter {
	var out []Voter
	for _, st := range s.live() {
		st.mu.Lock()
		if !st.gone && slices.ContainsFunc(ballots, st.concerns) {
			out = append(out, Voter{ID: st.node.ID, Service: st.node.Service, Build: st.node.Build})
		}
		st.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b Voter) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// concerns reports whether the proxy would get what the ballot stands for.
func (st *stream) concerns(b resource.Ballot) bool {
	k, ok := cache.KindOf(b.Of.Type)
	mine := b.Of.Caller == st.node.Service || b.Of.Caller == "" && !slices.Contains(b.Others, st.node.Service)
	return ok && mine && st.covers(k, b.Of.Name)
}

// Poll puts those of ballots that are for a proxy to its Envoy and waits until it
// has answered all of them, ctx ends, or it is gone. Nothing of it serves, and
// nothing of it stays: what was staged is taken back, also when ctx ends. Polls of
// one proxy wait for each other. What is published meanwhile goes its way. A proxy
// that speaks state of the world has no vote: its responses hold all there is, so
// that a ballot that it refuses would hold up its own changes.
func (s *Server) Poll(ctx context.Context, proxy string, ballots []resource.Ballot) Vote {
	start := time.Now()
	vote := s.poll(ctx, proxy, ballots)
	vote.Took = time.Since(start)
	return vote
}

func (s *Server) poll(ctx context.Context, proxy string, ballots []resource.Ballot) Vote {
	st := s.newest(proxy)
	switch {
	case st == nil:
		return Vote{Text: "is not connected"}
	case st.sotw:
		return Vote{Text: "speaks the state-of-the-world protocol, which has no votes"}
	}
	v := newPoll(ballots)
	if !st.enter(v) {
		return Vote{Text: "is not connected"}
	}
	select {
	case vote := <-v.done:
		return vote
	case <-st.done:
		return Vote{Text: "lost its connection"}
	case <-ctx.Done():
		return st.withdraw(v)
	}
}

// newest returns the stream of a connected proxy; nil when there is none.
func (s *Server) newest(id string) *stream {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	if p := s.ledger.proxies[id]; p != nil {
		return p.stream
	}
	return nil
}

// enter queues a poll.
func (st *stream) enter(v *poll) bool {
	st.mu.Lock()
	defer st.unlock()
	if st.gone {
		return false
	}
	v.ballots = slices.DeleteFunc(v.ballots, func(b resource.Ballot) bool { return !st.concerns(b) })
	v.arrange()
	st.polls = append(st.polls, v)
	st.watch.Wake()
	return true
}

// withdraw ends a poll before its time; what it staged goes with the next flush.
func (st *stream) withdraw(v *poll) Vote {
	st.mu.Lock()
	defer st.unlock()
	select {
	case vote := <-v.done: // just now
		return vote
	default:
	}
	v.withdrawn = true
	if !st.gone {
		st.watch.Wake()
	}
	switch {
	case !v.begun:
		return Vote{Text: "has not asked for the ballot listener's routes"}
	case len(v.refusals) > 0:
		return v.result()
	default:
		return Vote{Text: "did not answer in time"}
	}
}
