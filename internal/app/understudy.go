package app

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/rollout"
	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
)

// understudy compiles what a candidate would come to, and asks this replica's
// proxies about it. It implements rollout.Fleet.
type understudy struct {
	view  func() *admin.State // what is served; nil until something is
	xds   *xdsRole
	cfg   resource.Config
	setup compile.Config

	mu       sync.Mutex
	compiler *compile.Compiler // nil at first; it stands at services and revision
	services pmap.Map[*catalog.Service]
	revision policy.Revision

	trying atomic.Bool     // fork is there
	fork   *cache.Store    // what proxies on trial follow; nil: there are none
	trial  policy.Revision // that they serve
}

var _ rollout.Fleet = (*understudy)(nil)

// Stage implements rollout.Fleet.
func (u *understudy) Stage(_ context.Context, tx string, base, candidate policy.Revision) (rollout.Ballots, error) {
	v := u.view()
	if v == nil {
		return &ballots{}, nil
	}
	sets := u.sets(v.Snapshot, base, candidate)
	b := &ballots{
		understudy: u, candidate: candidate, sets: sets,
		all: resource.Stage(tx, u.xds.store.Lookup, sets),
	}
	for _, voter := range u.xds.streams.Voters(b.all) {
		p, _ := u.xds.streams.Proxy(voter.ID)
		mute := ""
		if p.Protocol == "sotw" {
			mute = "speaks the state-of-the-world protocol, which has no votes"
		}
		b.voters = append(b.voters, rollout.Voter{ID: voter.ID, Service: voter.Service, Label: p.Label, Build: voter.Build, Mute: mute})
	}
	return b, nil
}

// sets makes the messages of the services that the candidate changes.
func (u *understudy) sets(snap catalog.Snapshot, base, candidate policy.Revision) []resource.Set {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.turn(snap, base)
	result := u.turn(snap, candidate)
	return u.build(result)
}

// build makes the messages of what changed; none of a service that is gone.
func (u *understudy) build(result compile.Result) []resource.Set {
	sets := make([]resource.Set, len(result.Changed))
	for i, name := range result.Changed {
		sets[i].Service = name
		if s, ok := result.Model.Services.Get(name); ok {
			sets[i] = resource.Build(u.cfg, s)
		}
	}
	return sets
}

// follow brings a trial up to a catalog that has changed.
func (u *understudy) follow(snap catalog.Snapshot) {
	if !u.trying.Load() {
		return // and wait for no vote to be staged
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.fork != nil {
		u.fork.Apply(u.build(u.turn(snap, u.trial)))
	}
}

// turn compiles what differs from where the compiler stands.
func (u *understudy) turn(snap catalog.Snapshot, rev policy.Revision) compile.Result {
	if u.compiler == nil {
		u.compiler = compile.New(u.setup)
	}
	rev.Changed = revision.Changed(u.revision, rev)
	snap.Changed = nil
	for name, s := range snap.Services.All() {
		if was, ok := u.services.Get(name); !ok || was != s {
			snap.Changed = append(snap.Changed, name)
		}
	}
	for name := range u.services.All() {
		if !snap.Services.Has(name) {
			snap.Changed = append(snap.Changed, name)
		}
	}
	slices.Sort(snap.Changed)
	u.services, u.revision = snap.Services, rev
	return u.compiler.Update(snap, rev)
}

// Uptake implements rollout.Fleet.
func (u *understudy) Uptake(rev policy.Revision, since time.Time, among []string) rollout.Uptake {
	v := u.view()
	out := rollout.Uptake{Published: v != nil && v.Revision.Hash == rev.Hash}
	for _, p := range u.xds.streams.Proxies() {
		if !p.Connected || len(among) > 0 && !slices.Contains(among, p.ID) {
			continue
		}
		out.Proxies++
		i := slices.IndexFunc(p.Errors, func(r server.Rejection) bool { return r.At.After(since) })
		switch {
		case i >= 0:
			out.Refused = append(out.Refused, rollout.ProxyRefusal{Proxy: p.ID, Message: p.Errors[i].Message})
		case p.Status == server.Synced, p.Status == server.Error: // an error of before
			out.Acked++
		}
	}
	return out
}

// ballots are put to the proxies of the stream server. Without an understudy there
// is nobody.
type ballots struct {
	*understudy
	candidate policy.Revision
	sets      []resource.Set
	all       []resource.Ballot
	voters    []rollout.Voter
}

// Voters implements rollout.Ballots.
func (b *ballots) Voters() []rollout.Voter { return b.voters }

// Poll implements rollout.Ballots.
func (b *ballots) Poll(ctx context.Context, proxy string) rollout.Vote {
	vote := b.xds.streams.Poll(ctx, proxy, b.all)
	out := rollout.Vote{Yes: vote.Answer == server.Yes, Text: vote.Text}
	for _, r := range vote.Refusals {
		of := r.Ballot.Of
		kind, _ := cache.KindOf(of.Type)
		out.Refusals = append(out.Refusals, rollout.Refusal{Type: kind.String(), Resource: of.Name, Policies: of.Policies, Message: r.Message})
	}
	if len(out.Refusals) > 0 {
		p, _ := b.xds.streams.Proxy(proxy)
		out.Excused = already(out.Refusals, p.Errors)
	}
	return out
}

// already says that a proxy refuses what is in force of everything that it refuses
// here; "" where something of it is news.
func already(refusals []rollout.Refusal, inForce []server.Rejection) string {
	for _, r := range refusals {
		if !slices.ContainsFunc(inForce, func(e server.Rejection) bool { return e.Type == r.Type && e.Resource == r.Resource }) {
			return ""
		}
	}
	first := refusals[0]
	return "already refuses what is in force of " + first.Type + " " + first.Resource + ": " + first.Message
}

// Serve implements rollout.Ballots.
func (b *ballots) Serve(proxies []string) (stop func()) {
	u := b.understudy
	u.mu.Lock()
	defer u.mu.Unlock()
	u.fork, u.trial = u.xds.store.Fork(), b.candidate
	u.trying.Store(true)
	u.fork.Apply(b.sets)
	if v := u.view(); v != nil {
		u.fork.Apply(u.build(u.turn(v.Snapshot, u.trial))) // what changed since the vote began
	}
	u.xds.streams.Divert(u.fork, proxies...)
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.xds.streams.Divert(u.xds.store)
		u.trying.Store(false)
		u.fork = nil
	}
}

// Calls implements rollout.Ballots.
func (b *ballots) Calls() map[string]rollout.Calls {
	out := map[string]rollout.Calls{}
	if b.understudy == nil {
		return out
	}
	for id, c := range b.xds.loads.Calls() {
		failed := c.Errors + c.Dropped
		out[id] = rollout.Calls{Requests: c.Successes + failed, Errors: failed}
	}
	return out
}
