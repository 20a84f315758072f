package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"

	"meshlite.dev/internal/admin/adminapi"
)

// tally adds up what the replicas' proxies say.
type tally struct {
	tell func(adminapi.VoteCount, []adminapi.ProxyVote)

	mu     sync.Mutex
	counts map[string]adminapi.VoteCount // by replica
	votes  map[string][]adminapi.ProxyVote
}

func newTally(tell func(adminapi.VoteCount, []adminapi.ProxyVote)) *tally {
	return &tally{tell: tell, counts: map[string]adminapi.VoteCount{}, votes: map[string][]adminapi.ProxyVote{}}
}

// put replaces what is known of a replica.
func (t *tally) put(replica string, count adminapi.VoteCount, votes []adminapi.ProxyVote) {
	t.mu.Lock()
	t.counts[replica], t.votes[replica] = count, votes
	t.mu.Unlock()
	t.tell(t.sum())
}

// sum is of all replicas; votes are the telling ones first, as many as are kept.
func (t *tally) sum() (sum adminapi.VoteCount, votes []adminapi.ProxyVote) {
	t.mu.Lock()
	defer t.mu.Unlock()
	builds := map[string]*adminapi.BuildVotes{}
	for replica, c := range t.counts {
		sum.Voters, sum.Yes, sum.No, sum.Abstain = sum.Voters+c.Voters, sum.Yes+c.Yes, sum.No+c.No, sum.Abstain+c.Abstain
		for _, b := range c.Builds {
			into := builds[b.Build]
			if into == nil {
				into = &adminapi.BuildVotes{Build: b.Build}
				builds[b.Build] = into
			}
			into.Voters, into.Yes, into.No, into.Abstain = into.Voters+b.Voters, into.Yes+b.Yes, into.No+b.No, into.Abstain+b.Abstain
		}
		votes = append(votes, t.votes[replica]...)
	}
	for _, name := range slices.Sorted(maps.Keys(builds)) {
		sum.Builds = append(sum.Builds, *builds[name])
	}
	sortVotes(votes)
	return sum, votes[:min(len(votes), maxProxies)]
}

// sortVotes puts the telling ones first.
func sortVotes(votes []adminapi.ProxyVote) {
	slices.SortFunc(votes, func(a, b adminapi.ProxyVote) int {
		return cmp.Or(cmp.Compare(weight(a), weight(b)), cmp.Compare(a.Proxy, b.Proxy))
	})
}

func weight(v adminapi.ProxyVote) int {
	return slices.Index([]string{adminapi.VoteNo, adminapi.VoteAbstain, adminapi.VoteWaiting, adminapi.VoteYes}, v.Answer)
}

// refusals are the policies of what was refused, the first words, and who said no.
func (t *tally) refusals() (policies []string, words string, proxies []string) {
	_, votes := t.sum()
	for _, v := range votes {
		if v.Answer != adminapi.VoteNo {
			continue
		}
		proxies = append(proxies, v.Proxy)
		for _, r := range v.Refusals {
			policies = append(policies, r.Policies...)
			words = cmp.Or(words, fmt.Sprintf("%s: %s %s: %s", v.Proxy, r.Type, r.Resource, r.Message))
		}
	}
	return policies, words, proxies
}
