package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/txn"
)

// tally adds up what the replicas' proxies say.
type tally struct {
	tell func(adminapi.VoteCount, []adminapi.ProxyVote)

	mu     sync.Mutex
	counts map[string]adminapi.VoteCount // by replica
	votes  map[string][]adminapi.ProxyVote
	news   chan struct{} // closed when they are others
}

func newTally(tell func(adminapi.VoteCount, []adminapi.ProxyVote)) *tally {
	return &tally{tell: tell, counts: map[string]adminapi.VoteCount{}, votes: map[string][]adminapi.ProxyVote{}, news: make(chan struct{})}
}

// put replaces what is known of a replica.
func (t *tally) put(replica string, count adminapi.VoteCount, votes []adminapi.ProxyVote) {
	t.mu.Lock()
	if reflect.DeepEqual(t.counts[replica], count) && reflect.DeepEqual(t.votes[replica], votes) {
		t.mu.Unlock()
		return
	}
	t.counts[replica], t.votes[replica] = count, votes
	close(t.news)
	t.news = make(chan struct{})
	t.mu.Unlock()
	t.tell(t.sum())
}

// sum is of all replicas; votes are the telling ones first, as many as are kept.
func (t *tally) sum() (sum adminapi.VoteCount, votes []adminapi.ProxyVote) {
	t.mu.Lock()
	defer t.mu.Unlock()
	builds := map[string]*adminapi.BuildVotes{}
	for replica, c := range t.counts {
		sum.Voters, sum.Yes, sum.No = sum.Voters+c.Voters, sum.Yes+c.Yes, sum.No+c.No
		sum.Abstain, sum.Excused = sum.Abstain+c.Abstain, sum.Excused+c.Excused
		for _, b := range c.Builds {
			into := builds[b.Build]
			if into == nil {
				into = &adminapi.BuildVotes{Build: b.Build}
				builds[b.Build] = into
			}
			into.Voters, into.Yes, into.No = into.Voters+b.Voters, into.Yes+b.Yes, into.No+b.No
			into.Abstain, into.Excused = into.Abstain+b.Abstain, into.Excused+b.Excused
		}
		votes = append(votes, t.votes[replica]...)
	}
	for _, name := range slices.Sorted(maps.Keys(builds)) {
		sum.Builds = append(sum.Builds, *builds[name])
	}
	sortVotes(votes)
	return sum, votes[:min(len(votes), maxProxies)]
}

// parties are the proxies of all replicas that count, as a rule sees them. Those
// who are not named among the votes have a name in common.
func (t *tally) parties() []txn.Party {
	sum, votes := t.sum()
	var out []txn.Party
	add := func(b adminapi.BuildVotes, answer string, n int, vote txn.Vote) {
		for _, v := range votes {
			if n > 0 && v.Build == b.Build && v.Answer == answer && !v.Excused {
				out = append(out, txn.Party{ID: v.Proxy, Group: b.Build, Vote: vote, Text: v.Text})
				n--
			}
		}
		for range max(n, 0) {
			out = append(out, txn.Party{ID: "another", Group: b.Build, Vote: vote})
		}
	}
	for _, b := range sum.Builds {
		add(b, adminapi.VoteYes, b.Yes, txn.Yes)
		add(b, adminapi.VoteNo, b.No, txn.No)
		add(b, adminapi.VoteAbstain, b.Abstain-b.Excused, txn.Abstain)
		add(b, adminapi.VoteWaiting, b.Voters-b.Yes-b.No-b.Abstain, txn.Asked)
	}
	return out
}

// changed is closed when the votes are others than now.
func (t *tally) changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.news
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
