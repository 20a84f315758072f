package rollout

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/store"
	"meshlite.dev/internal/txn"
)

const (
	pollsAtOnce = 64          // of proxies that are asked
	pollAgain   = time.Second // after a proxy had no answer
	maxRefusals = 5           // of one proxy that are kept
	// patience is the part of the time for which one of each build is waited for,
	// before the others are asked as well.
	patience = 5
)

// election asks this replica's proxies: one of each build first, then the rest.
// What their answers come to is judged over all replicas.
type election struct {
	ballots Ballots
	within  time.Duration
	tell    func(adminapi.VoteCount, []adminapi.ProxyVote)

	mu      sync.Mutex
	voters  []Voter // that can be asked; parties has the same order
	parties []txn.Party
	votes   map[string]adminapi.ProxyVote
	stuck   map[string]bool // who refuses what is in force already
	hurry   bool            // nobody is spared the question any more
}

func newElection(b Ballots, within time.Duration, replica string, tell func(adminapi.VoteCount, []adminapi.ProxyVote)) *election {
	e := &election{ballots: b, within: within, tell: tell, votes: map[string]adminapi.ProxyVote{}, stuck: map[string]bool{}}
	for _, v := range b.Voters() {
		vote := adminapi.ProxyVote{Proxy: v.ID, Service: v.Service, Build: v.Build, Replica: replica, Answer: adminapi.VoteWaiting}
		if v.Mute != "" {
			vote.Answer, vote.Text, vote.Excused = adminapi.VoteAbstain, v.Mute, true
		} else {
			e.voters, e.parties = append(e.voters, v), append(e.parties, txn.Party{ID: v.ID, Group: v.Build})
		}
		e.votes[v.ID] = vote
	}
	return e
}

// answer is one proxy's.
type answer struct {
	at   int
	vote Vote
}

// run asks until somebody said no, everybody has answered, or time is over. Who
// had no answer is asked again.
func (e *election) run(whole context.Context) {
	ctx, cancel := context.WithTimeout(whole, e.within)
	var polls sync.WaitGroup
	defer polls.Wait()
	defer cancel()
	answers := make(chan answer)
	slots := make(chan struct{}, pollsAtOnce)
	ask := func(i int, after time.Duration) {
		polls.Go(func() {
			if !store.Rest(ctx, after) {
				return
			}
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			vote := e.ballots.Poll(ctx, e.voters[i].ID)
			<-slots
			select {
			case answers <- answer{i, vote}:
			case <-ctx.Done():
			}
		})
	}
	hurry := time.NewTimer(e.within / patience)
	defer hurry.Stop()
	for {
		now, over := e.next()
		if over {
			return
		}
		for _, i := range now {
			ask(i, 0)
		}
		select {
		case a := <-answers:
			if e.take(a) {
				ask(a.at, pollAgain) // it may come back
			}
		case <-hurry.C:
			e.mu.Lock()
			e.hurry = true
			e.mu.Unlock()
		case <-ctx.Done():
			if whole.Err() == nil {
				e.late()
			}
			return
		}
	}
}

// next are those to ask now, marked as asked; over reports that there is nothing
// to wait for.
func (e *election) next() (ask []int, over bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var in []int // who counts
	var parties []txn.Party
	over = true
	for i, p := range e.parties {
		switch {
		case p.Vote == txn.No:
			return nil, true
		case e.stuck[p.ID]:
			continue
		}
		over = over && p.Vote == txn.Yes
		in, parties = append(in, i), append(parties, p)
	}
	for at, p := range parties {
		if e.hurry && p.Vote == txn.Unasked {
			ask = append(ask, in[at])
		}
	}
	if !e.hurry {
		for _, at := range (txn.Quorum{}).Judge(parties).Ask {
			ask = append(ask, in[at])
		}
	}
	for _, i := range ask {
		e.parties[i].Vote = txn.Asked
	}
	return ask, over
}

// take counts an answer; again is true where the proxy had none.
func (e *election) take(a answer) (again bool) {
	e.mu.Lock()
	v := e.votes[e.voters[a.at].ID]
	now := time.Now().UTC()
	v.At, v.Text = &now, a.vote.Text
	p := &e.parties[a.at]
	switch {
	case a.vote.Excused != "":
		p.Vote, v.Answer, v.Text, v.Excused = txn.Abstain, adminapi.VoteAbstain, shorten(a.vote.Excused), true
		e.stuck[p.ID] = true
	case len(a.vote.Refusals) > 0:
		p.Vote, v.Answer, p.Text = txn.No, adminapi.VoteNo, shorten(a.vote.Refusals[0].Message)
		v.Text = p.Text
		for _, r := range a.vote.Refusals[:min(len(a.vote.Refusals), maxRefusals)] {
			v.Refusals = append(v.Refusals, adminapi.BallotRefusal{Type: r.Type, Resource: r.Resource, Policies: r.Policies, Message: shorten(r.Message)})
		}
	case a.vote.Yes:
		p.Vote, v.Answer, p.Text = txn.Yes, adminapi.VoteYes, ""
	default:
		p.Vote, v.Answer, p.Text, again = txn.Abstain, adminapi.VoteAbstain, a.vote.Text, true
	}
	e.votes[v.Proxy] = v
	e.mu.Unlock()
	e.tell(e.count())
	return again
}

// late is called when time is over: who was asked and said nothing abstains.
func (e *election) late() {
	e.mu.Lock()
	for i := range e.parties {
		p := &e.parties[i]
		if p.Vote != txn.Asked && p.Vote != txn.Unasked {
			continue
		}
		v := e.votes[p.ID]
		v.Answer, v.Text = adminapi.VoteAbstain, "no answer within "+e.within.String()
		if p.Vote == txn.Unasked {
			v.Text = "not asked: no time was left"
		}
		p.Vote, e.votes[p.ID] = txn.Abstain, v
	}
	e.mu.Unlock()
	e.tell(e.count())
}

// count sums up the votes; listed are those that are kept, the telling ones first.
func (e *election) count() (sum adminapi.VoteCount, listed []adminapi.ProxyVote) {
	e.mu.Lock()
	defer e.mu.Unlock()
	builds := map[string]*adminapi.BuildVotes{}
	for _, v := range e.votes {
		b := builds[v.Build]
		if b == nil {
			b = &adminapi.BuildVotes{Build: v.Build}
			builds[v.Build] = b
		}
		sum.Voters++
		b.Voters++
		switch v.Answer {
		case adminapi.VoteYes:
			sum.Yes++
			b.Yes++
		case adminapi.VoteNo:
			sum.No++
			b.No++
		case adminapi.VoteAbstain:
			sum.Abstain++
			b.Abstain++
		}
		if v.Excused {
			sum.Excused++
			b.Excused++
		}
		listed = append(listed, v)
	}
	for _, b := range builds {
		sum.Builds = append(sum.Builds, *b)
	}
	slices.SortFunc(sum.Builds, func(a, b adminapi.BuildVotes) int { return cmp.Compare(a.Build, b.Build) })
	sortVotes(listed)
	return sum, listed[:min(len(listed), maxProxies)]
}

// names are the proxies that the candidate reaches and that may take it.
func (e *election) names() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(e.votes)), func(id string) bool { return e.stuck[id] })
}

// shorten keeps the beginning of Envoy's words.
func shorten(words string) string {
	const most = 1000
	if len(words) <= most {
		return words
	}
	return strings.ToValidUTF8(words[:most], "") + "…"
}
