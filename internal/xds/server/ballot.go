package server

import (
	"strings"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
)

// Ballots are responses beside the notes: what a proxy has under a name, waits for
// or refuses knows nothing of them. Each goes in a response of its own, because
// Envoy drops a whole response for one resource that breaks a rule of its protobuf.
// Staged clusters come in rounds, each with the routes that lead to them, and go
// before the next.

// maxStaged clusters are on a proxy at a time: each takes about 40 KiB of it, given
// back with it (bench, StagingMemory).
const maxStaged = 64

// poll is one Poll on one stream, under its lock.
type poll struct {
	ballots []resource.Ballot // for this proxy
	rounds  [][]int           // their indices
	done    chan Vote         // has room for one

	next      int            // in rounds[0]
	cast      map[string]int // ballots under way, by nonce
	staged    []string       // clusters to be taken back
	owed      []int          // ballots whose endpoints wait for the proxy's first request of the type
	begun     bool
	withdrawn bool
	refusals  []BallotRefusal
	lacks     string // a cluster that the proxy should have and has not
}

func newPoll(ballots []resource.Ballot) *poll {
	return &poll{ballots: append([]resource.Ballot(nil), ballots...), done: make(chan Vote, 1), cast: map[string]int{}}
}

// arrange makes the rounds: routes with the clusters that they need, then what is
// left of the clusters. A cluster that several rounds need is staged in each.
func (v *poll) arrange() {
	at, need := map[string]int{}, map[int]bool{}
	for i, b := range v.ballots {
		if b.Of.Type == resource.ClusterType {
			at[b.Message.Name] = i
		}
	}
	var clusters, routes []int
	in := map[int]bool{}
	end := func() {
		if len(clusters)+len(routes) > 0 {
			v.rounds = append(v.rounds, append(clusters, routes...))
		}
		clusters, routes, in = nil, nil, map[int]bool{}
	}
	for i, b := range v.ballots {
		if b.Of.Type != resource.RouteType {
			continue
		}
		if len(clusters)+len(b.Needs) > maxStaged {
			end()
		}
		for _, name := range b.Needs {
			if c, ok := at[name]; ok && !in[c] {
				clusters, in[c], need[c] = append(clusters, c), true, true
			}
		}
		routes = append(routes, i)
	}
	for i, b := range v.ballots {
		if b.Of.Type != resource.ClusterType || need[i] {
			continue
		}
		if len(clusters) == maxStaged {
			end()
		}
		clusters = append(clusters, i)
	}
	end()
}

// vote goes on with the oldest poll. It is the last part of a flush, so that what
// the proxy is to have comes before it.
func (p *plan) vote() {
	st := p.st
	for len(st.polls) > 0 {
		v := st.polls[0]
		if !v.withdrawn && (!st.takesBallots() || !p.round(v)) {
			return
		}
		p.takeBack(v)
		if v.begun && st.covers(cache.RDS, mesh.BallotRoute) {
			st.mark(cache.RDS, mesh.BallotRoute, true) // empty again, with the next flush
			st.watch.Wake()
		}
		if !v.withdrawn {
			v.done <- v.result()
		}
		st.polls = st.polls[1:]
	}
	st.polls = nil
}

// takesBallots reports whether the proxy has a ballot box, and has got past its
// start.
func (st *stream) takesBallots() bool {
	return st.kinds[cache.CDS].asked && !st.kinds[cache.CDS].first &&
		st.covers(cache.RDS, mesh.BallotRoute) && st.has(cache.RDS, mesh.BallotRoute).item != nil
}

// round casts as many ballots as may be under way and reports whether all rounds
// are over.
func (p *plan) round(v *poll) (over bool) {
	v.begun = true
	p.endpointsOwed(v)
	for len(v.rounds) > 0 {
		for v.next < len(v.rounds[0]) {
			if len(v.cast) >= p.st.srv.cfg.Window {
				return false
			}
			p.castBallot(v, v.rounds[0][v.next])
			v.next++
		}
		if len(v.cast) > 0 {
			return false
		}
		p.takeBack(v)
		v.rounds, v.next = v.rounds[1:], 0
	}
	return true
}

// castBallot sends one ballot.
func (p *plan) castBallot(v *poll, at int) {
	st, b := p.st, v.ballots[at]
	if b.Of.Type == resource.RouteType {
		for _, name := range b.On {
			if st.covers(cache.CDS, name) && st.has(cache.CDS, name).id == "" {
				v.lacks = name // its refusal would say nothing of the candidate
				return
			}
		}
		v.cast[p.ballot(b.Message)] = at
		return
	}
	v.staged = append(v.staged, b.Message.Name)
	v.cast[p.ballot(b.Message)] = at
	switch {
	case b.Endpoints == nil:
	case st.kinds[cache.EDS].asked:
		p.ballot(b.Endpoints) // right behind: the cluster warms until it has them
	default:
		v.owed = append(v.owed, at)
	}
}

// endpointsOwed answers a proxy that had asked for no endpoints before.
func (p *plan) endpointsOwed(v *poll) {
	if !p.st.kinds[cache.EDS].asked {
		return
	}
	for _, at := range v.owed {
		p.ballot(v.ballots[at].Endpoints)
	}
	v.owed = nil
}

// ballot adds a response that no note knows of and returns its nonce.
func (p *plan) ballot(r *resource.Resource) (nonce string) {
	item, ok := cache.NewItem(r, p.now)
	if !ok {
		return ""
	}
	nonce = p.st.nextNonce()
	p.out = append(p.out, &response{kind: item.Kind, nonce: nonce, items: []*cache.Item{item}})
	return nonce
}

// takeBack removes the staged clusters, with which their endpoints go.
func (p *plan) takeBack(v *poll) {
	if len(v.staged) > 0 {
		p.out = append(p.out, &response{kind: cache.CDS, nonce: p.st.nextNonce(), removed: v.staged})
	}
	v.staged, v.owed = nil, nil
}

// counted takes an answer to a ballot.
func (st *stream) counted(req *request) {
	if len(st.polls) == 0 {
		return
	}
	v := st.polls[0]
	at, ok := v.cast[req.nonce]
	if !ok {
		return
	}
	delete(v.cast, req.nonce)
	if req.refused {
		v.refusals = append(v.refusals, BallotRefusal{v.ballots[at], original(v.ballots[at], clean(req.detail))})
	}
	st.watch.Wake()
}

// original puts the names of what is voted on in the place of staged ones.
func original(b resource.Ballot, words string) string {
	for _, name := range append([]string{b.Message.Name}, b.Needs...) {
		if was, _, isStaged := strings.Cut(name, "!"); isStaged {
			words = strings.ReplaceAll(words, name, was)
		}
	}
	return words
}

// result is the vote. Routes that a refused cluster takes along are not at fault.
func (v *poll) result() Vote {
	bad := map[string]bool{}
	for _, r := range v.refusals {
		bad[r.Ballot.Message.Name] = r.Ballot.Of.Type == resource.ClusterType
	}
	out := Vote{Answer: Yes}
	for _, r := range v.refusals {
		follows := false
		for _, n := range r.Ballot.Needs {
			follows = follows || bad[n]
		}
		if !follows {
			out.Answer, out.Refusals = No, append(out.Refusals, r)
		}
	}
	if out.Answer == Yes && v.lacks != "" {
		return Vote{Text: "has not taken cluster " + v.lacks}
	}
	return out
}
