package rollout

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
)

// trialLook is how often the calls of a trial are counted. They come with the
// proxies' load reports.
const trialLook = time.Second

// trial lets a part of a replica's proxies serve a candidate before all do.
type trial struct {
	ballots Ballots
	proxies []string
	bake    time.Duration
	tell    func(adminapi.CanaryCount)
	over    func() // the other replicas' trials end; nil: there are none

	mu    sync.Mutex
	stop  func()   // nil: it does not serve
	words string   // why it was refused
	by    []string // the proxies that tried it, of all replicas
}

// trial picks the proxies that the settings ask for.
func (d *desk) trial(r *running, b Ballots) *trial {
	t := &trial{ballots: b, bake: time.Duration(r.settings.Bake), proxies: Canaries(r.settings, b.Voters())}
	t.tell = func(c adminapi.CanaryCount) {
		d.m.ledger.edit(r.id, func(it *adminapi.RolloutDetail) {
			if it.Phase == adminapi.PhaseVoting {
				it.Phase = adminapi.PhaseCanary
				entry(it, partyTrial, "", "%d proxies serve it for %s", c.Proxies, t.bake)
			}
			it.Canary = &c
		})
	}
	t.over = func() {
		d.m.tell(func(n *note) {
			if n.Ask != nil && n.Ask.Rollout == r.id {
				n.Ask = nil
			}
		})
	}
	return t
}

// noCanary is why nothing can be tried.
func noCanary(r *running, voters int) string {
	return fmt.Sprintf("canary %s: none of the %d proxies that it reaches is one", r.settings.Canary, voters)
}

// Canaries picks, of the proxies that a candidate reaches, those that serve it
// first: the same ones each time, one at least of a share; none where none has the
// label. Sorted.
func Canaries(s adminapi.RolloutSettings, voters []Voter) []string {
	var ids []string
	key, value, labelled := s.CanaryLabel()
	for _, v := range voters {
		if !labelled || v.Label != nil && v.Label(key) == value {
			ids = append(ids, v.ID)
		}
	}
	if percent, ok := s.CanaryPercent(); ok && len(ids) > 0 {
		slices.SortFunc(ids, func(a, b string) int { return cmp.Or(cmp.Compare(hashOf(a), hashOf(b)), cmp.Compare(a, b)) })
		ids = ids[:max((len(ids)*percent+99)/100, 1)]
	}
	slices.Sort(ids)
	return ids
}

func hashOf(id string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	return h.Sum64()
}

// Worse reports whether a trial shows more errors than the other proxies: five at
// least, and a share of over 1 % and twice that of the others.
func Worse(c adminapi.CanaryCount) bool {
	const least = 5
	if c.Errors < least || c.Requests == 0 {
		return false
	}
	share := float64(c.Errors) / float64(c.Requests)
	others := 0.0
	if c.BaselineRequests > 0 {
		others = float64(c.BaselineErrors) / float64(c.BaselineRequests)
	}
	return share > 0.01+2*others
}

// run serves the candidate for the bake time, and judges all the while.
func (p trialParty) run(ctx context.Context) coordinator.Answer {
	t := p.of.trial
	before := t.ballots.Calls()
	t.begin()
	until := time.Now().Add(t.bake).UTC()
	look := time.NewTicker(trialLook)
	defer look.Stop()
	for {
		c, names := p.everywhere(t.count(before))
		c.Until = &until
		t.tell(c)
		summary := fmt.Sprintf("%d of %d calls of %d proxies failed, %d of %d of the others", c.Errors, c.Requests, c.Proxies, c.BaselineErrors, c.BaselineRequests)
		switch {
		case Worse(c):
			return t.refuse("on trial "+summary, names)
		case !time.Now().Before(until):
			return coordinator.Answer{Vote: txn.Yes, Text: "on trial " + summary}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return coordinator.Answer{Vote: txn.Abstain, Text: "the trial was cut short"}
		}
	}
}

// count is what was called since before.
func (t *trial) count(before map[string]Calls) adminapi.CanaryCount {
	c := adminapi.CanaryCount{Proxies: len(t.proxies)}
	for id, now := range t.ballots.Calls() {
		was := before[id]
		if now.Requests < was.Requests { // its reports began anew
			was = Calls{}
		}
		requests, errors := now.Requests-was.Requests, now.Errors-min(was.Errors, now.Errors)
		if slices.Contains(t.proxies, id) {
			c.Requests, c.Errors = c.Requests+requests, c.Errors+errors
		} else {
			c.BaselineRequests, c.BaselineErrors = c.BaselineRequests+requests, c.BaselineErrors+errors
		}
	}
	return c
}

func (t *trial) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stop == nil && len(t.proxies) > 0 {
		t.stop = t.ballots.Serve(t.proxies)
	}
}

func (t *trial) refuse(words string, by []string) coordinator.Answer {
	t.mu.Lock()
	t.words, t.by = words, by
	t.mu.Unlock()
	t.end()
	return coordinator.Answer{Vote: txn.No, Text: words}
}

// refusal is why the trial was refused, and by whom; "" where it was not.
func (t *trial) refusal() (words string, by []string) {
	if t == nil {
		return "", nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.words, t.by
}

// end brings the proxies back to what serves everywhere.
func (t *trial) end() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stop != nil {
		t.stop()
		t.stop = nil
	}
	if t.over != nil {
		t.over()
		t.over = nil
	}
}

// trialParty is the trial of all replicas as a party: it votes when the fleet has.
type trialParty struct {
	m  *Manager
	of *running
}

func (p trialParty) Prepare(ctx context.Context, _ coordinator.Branch) coordinator.Answer {
	if p.of == nil || p.of.trial == nil {
		return coordinator.Answer{Vote: txn.Abstain, Text: "nobody is here to try it"}
	}
	sum, _ := p.of.tally.sum()
	switch {
	case sum.Voters == 0:
		return coordinator.Answer{Vote: txn.Yes, Text: "nobody is there to try it"}
	case p.canaries() == 0:
		return coordinator.Answer{Vote: txn.Abstain, Text: noCanary(p.of, sum.Voters)}
	}
	p.m.tell(func(n *note) {
		if n.Ask != nil && n.Ask.Rollout == p.of.id {
			ask := *n.Ask
			ask.Trial = true
			n.Ask = &ask
		}
	})
	return p.run(ctx)
}

// Commit lets the proxies on trial be: they go over when all are sent the same.
func (p trialParty) Commit(context.Context, coordinator.Branch) error { return nil }

// Rollback takes it from them.
func (p trialParty) Rollback(context.Context, coordinator.Branch) error {
	if p.of != nil {
		p.of.trial.end()
	}
	return nil
}
