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
	"meshlite.dev/internal/txn"
)

const (
	pollsAtOnce = 64          // of proxies that are asked
	pollAgain   = time.Second // after a proxy had no answer
	maxRefusals = 5           // of one proxy that are kept
)

// election asks this replica's proxies: one of each build first, then the rest.
type election struct {
	ballots Ballots
	rule    txn.Quorum
	within  time.Duration
	replica string
	tell    func(adminapi.VoteCount, []adminapi.ProxyVote)

	mu      sync.Mutex
	voters  []Voter // that can be asked; parties has the same order
	parties []txn.Party
	votes   map[string]adminapi.ProxyVote
}

func newElection(b Ballots, quorum int, within time.Duration, replica string, tell func(adminapi.VoteCount, []adminapi.ProxyVote)) *election {
	e := &election{ballots: b, rule: txn.Quorum{Percent: quorum}, within: within, replica: replica, tell: tell, votes: map[string]adminapi.ProxyVote{}}
	for _, v := range b.Voters() {
		vote := adminapi.ProxyVote{Proxy: v.ID, Service: v.Service, Build: v.Build, Replica: replica, Answer: adminapi.VoteWaiting}
		if v.Mute != "" {
			vote.Answer, vote.Text = adminapi.VoteAbstain, v.Mute
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

// run asks until the rule has decided or time is over.
func (e *election) run(ctx context.Context) (txn.Vote, string) {
	ctx, cancel := context.WithTimeout(ctx, e.within)
	var polls sync.WaitGroup
	defer polls.Wait()
	defer cancel()
	answers := make(chan answer)
	slots := make(chan struct{}, pollsAtOnce)
	ask := func(i int, after time.Duration) {
		polls.Go(func() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(after):
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
	for {
		j := e.judge()
		switch j.Outcome {
		case txn.Commit:
			return txn.Yes, j.Reason
		case txn.Abort:
			return txn.No, j.Reason
		}
		for _, i := range j.Ask {
			e.mark(i, txn.Asked)
			ask(i, 0)
		}
		select {
		case a := <-answers:
			if e.take(a) {
				ask(a.at, pollAgain) // it may come back
			}
		case <-ctx.Done():
			return e.late()
		}
	}
}

func (e *election) judge() txn.Judgement {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rule.Judge(e.parties)
}

func (e *election) mark(i int, v txn.Vote) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.parties[i].Vote = v
}

// take counts an answer; again is true where the proxy had none.
func (e *election) take(a answer) (again bool) {
	e.mu.Lock()
	v := e.votes[e.voters[a.at].ID]
	now := time.Now().UTC()
	v.At, v.Text = &now, a.vote.Text
	p := &e.parties[a.at]
	switch {
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

// late judges when time is over: who was asked and said nothing abstains.
func (e *election) late() (txn.Vote, string) {
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
	j := e.rule.Judge(e.parties)
	e.mu.Unlock()
	e.tell(e.count())
	switch j.Outcome {
	case txn.Commit:
		return txn.Yes, j.Reason
	case txn.Abort:
		return txn.No, j.Reason
	}
	return txn.Abstain, j.Reason
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
		listed = append(listed, v)
	}
	for _, b := range builds {
		sum.Builds = append(sum.Builds, *b)
	}
	slices.SortFunc(sum.Builds, func(a, b adminapi.BuildVotes) int { return cmp.Compare(a.Build, b.Build) })
	sortVotes(listed)
	return sum, listed[:min(len(listed), maxProxies)]
}

// names are the proxies that the candidate reaches.
func (e *election) names() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Sorted(maps.Keys(e.votes))
}

// shorten keeps the beginning of Envoy's words.
func shorten(words string) string {
	const most = 1000
	if len(words) <= most {
		return words
	}
	return strings.ToValidUTF8(words[:most], "") + "…"
}
