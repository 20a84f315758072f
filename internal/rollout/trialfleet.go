package rollout

import (
	"context"
	"reflect"
	"time"

	"meshlite.dev/internal/admin/adminapi"
)

// trialSlack is how long a replica goes on with a trial beyond its bake time where
// it hears nothing of the leader any more.
const trialSlack = time.Minute

// tried is what a replica's proxies make of a trial.
type tried struct {
	Rollout string               `json:"rollout"`
	Count   adminapi.CanaryCount `json:"count"`
	Proxies []string             `json:"proxies,omitempty"` // the first ones
}

// try serves a candidate to some of this replica's proxies, from when the leader
// says so until it takes its question back, and tells what becomes of their calls.
func (m *Manager) try(ctx context.Context, ask question, b Ballots) {
	t := &trial{ballots: b, proxies: Canaries(adminapi.RolloutSettings{Canary: ask.Canary}, b.Voters())}
	for {
		_, heard := m.others()
		if m.trying(ask.Rollout) {
			break
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(ask.Bake)+trialSlack)
	defer cancel()
	before := b.Calls()
	t.begin()
	defer t.end()
	look := time.NewTicker(trialLook)
	defer look.Stop()
	var told *tried
	for {
		now := &tried{ask.Rollout, t.count(before), t.proxies[:min(len(t.proxies), maxTold)]}
		if !reflect.DeepEqual(now, told) {
			told = now
			m.tell(func(n *note) { n.Tried = now })
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// trying reports whether the leader has a rollout on trial.
func (m *Manager) trying(rollout string) bool {
	peers, _ := m.others()
	for _, n := range peers {
		if n.Leads && n.Ask != nil && n.Ask.Rollout == rollout && n.Ask.Trial {
			return true
		}
	}
	return false
}

// everywhere adds what the other replicas tell of a trial to what this one counts.
func (p trialParty) everywhere(own adminapi.CanaryCount) (sum adminapi.CanaryCount, names []string) {
	sum, names = own, p.of.trial.proxies
	for _, n := range p.m.followers() {
		if n.Tried == nil || n.Tried.Rollout != p.of.id {
			continue
		}
		c := n.Tried.Count
		sum.Proxies += c.Proxies
		sum.Requests, sum.Errors = sum.Requests+c.Requests, sum.Errors+c.Errors
		sum.BaselineRequests, sum.BaselineErrors = sum.BaselineRequests+c.BaselineRequests, sum.BaselineErrors+c.BaselineErrors
		names = append(names[:len(names):len(names)], n.Tried.Proxies...)
	}
	return sum, names
}

// canaries counts the proxies of all replicas that are to try it.
func (p trialParty) canaries() int {
	n := len(p.of.trial.proxies)
	followers := p.m.followers()
	for _, name := range p.of.replicas {
		if s := followers[name].Said; s != nil && s.Rollout == p.of.id {
			n += s.Canaries
		}
	}
	return n
}
