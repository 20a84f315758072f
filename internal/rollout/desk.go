package rollout

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/status"
	"meshlite.dev/internal/store"
	"meshlite.dev/internal/txn/coordinator"
	"meshlite.dev/internal/txn/journal"
)

const (
	// pendingAfter is how long a change may take before its status tells of it.
	pendingAfter = time.Second
	silentAgain  = 5 * time.Second // after a rollout without enough answers, then twice as long each time
	silentMost   = 5 * time.Minute
	keptTx       = time.Hour // in the journal, after its end
)

// desk is all state of a leader; its methods run in the goroutine of Run.
type desk struct {
	m     *Manager
	ctx   context.Context
	coord *coordinator.Coordinator
	ends  chan outcome
	carry sync.WaitGroup

	name     string // of the reign, no other has it
	commands chan func()
	over     chan struct{}   // closed when the reign ends
	taken    map[string]bool // orders of other replicas, by id

	dirty   bool      // the newest proposal may differ from what is in force
	again   time.Time // when to look at it; zero: at once
	silent  int       // rollouts in a row without enough answers
	waits   string    // what the newest proposal waits for
	pending []policy.Key
	open    *running
	watch   *watched
	shared  time.Time // when the others were shown how far it is
}

// reign leads until ctx ends or the journal is another's.
func (m *Manager) reign(ctx context.Context, j journal.Journal) {
	ctx, stop := context.WithCancel(ctx)
	cfg := coordinator.Default()
	cfg.Journal, cfg.Participant, cfg.Log = j, m.participant, m.cfg.Log
	cfg.MaxDone, cfg.Retention, cfg.Now = maxItems, keptTx, m.cfg.Now
	coord, err := coordinator.New(cfg)
	if err != nil { // a bug
		stop()
		m.trouble(ctx, err)
		return
	}
	d := &desk{m: m, ctx: ctx, coord: coord, ends: make(chan outcome), dirty: m.proposal() != nil,
		name: rand.Text(), commands: make(chan func()), over: make(chan struct{}), taken: map[string]bool{}}
	ended := make(chan error, 1)
	go func() { ended <- coord.Run(ctx) }()
	m.leads.Store(d)
	m.tell(func(n *note) { n.Leads, n.Said = true, nil })
	err = d.run(ended) //nolint:contextcheck // d.ctx is ctx
	m.leads.Store(nil)
	close(d.over)
	m.tell(func(n *note) { n.Leads, n.Ask = false, nil })
	stop()
	d.carry.Wait()
	if d.open != nil {
		d.open.trial.end()
	}
	if d.watch != nil {
		d.watch.trial.end()
	}
	if err == nil {
		err = <-ended
	}
	if err != nil {
		m.trouble(ctx, fmt.Errorf("keep the journal of rollouts: %w", err))
		store.Rest(context.WithoutCancel(ctx), retryStore/5)
	}
}

// run is the reign; an error is the coordinator's.
func (d *desk) run(ended <-chan error) error {
	for {
		err := d.recover()
		if err == nil {
			break
		}
		d.m.trouble(d.ctx, err)
		select {
		case err := <-ended:
			return cmpErr(err)
		case <-d.ctx.Done():
			return nil
		case <-time.After(retryStore):
		}
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	d.hear()
	for {
		d.next()
		d.m.wait(d.waits)
		d.m.holds(d.pendings())
		d.share()
		timer.Reset(max(time.Until(d.wake()), 0))
		select {
		case <-d.ctx.Done():
			return nil
		case err := <-ended:
			return cmpErr(err)
		case <-d.m.news:
			d.dirty, d.again, d.silent = true, time.Time{}, 0
			d.behind()
		case do := <-d.commands:
			do()
		case <-d.m.asked:
			d.hear()
		case done := <-d.m.fresh:
			close(done) // it knows best
		case o := <-d.ends:
			d.finish(o)
		case <-timer.C:
			d.look()
		}
	}
}

// cmpErr is an end of the coordinator that nobody asked for.
func cmpErr(err error) error {
	if err == nil {
		return coordinator.ErrStopped
	}
	return err
}

// wake is when something falls due.
func (d *desk) wake() time.Time {
	at := time.Now().Add(time.Hour)
	sooner := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	if d.dirty && d.open == nil {
		sooner(d.again)
	}
	if d.open != nil && !d.open.told {
		sooner(d.open.started.Add(pendingAfter))
	}
	if d.watch != nil {
		sooner(d.watch.next)
	}
	if d.shares() {
		sooner(d.shared.Add(shareEvery))
	}
	return at
}

// pendings are the documents whose change takes its time.
func (d *desk) pendings() []status.Held {
	var out []status.Held
	switch {
	case d.open != nil && time.Since(d.open.started) >= pendingAfter:
		d.open.told = true
		phase := adminapi.PhaseVoting
		if r, ok := d.m.ledger.get(d.open.id); ok {
			phase = r.Phase
		}
		has := documents(d.open.candidate)
		for _, key := range d.open.changes {
			h := status.Held{Key: key, Message: fmt.Sprintf("rollout %s is in phase %s", d.open.id, phase)}
			if doc := has[key]; doc != nil {
				h.Generation = doc.Generation
			}
			out = append(out, h)
		}
	case d.open == nil && d.waits != "":
		for _, key := range d.pending {
			out = append(out, status.Held{Key: key, Message: d.waits})
		}
	}
	return out
}

// next begins what can begin.
func (d *desk) next() {
	if !d.dirty || d.open != nil || time.Now().Before(d.again) {
		return
	}
	if d.watch != nil && d.watch.confirms() {
		d.wait(d.watch.next, "rollout "+d.watch.id+" waits for its confirmation")
		return
	}
	p := d.m.proposal()
	if p == nil {
		d.dirty = false
		return
	}
	if err := d.take(*p); err != nil {
		d.again = time.Now().Add(retryStore)
		d.m.trouble(d.ctx, err)
		return
	}
	d.m.trouble(d.ctx, nil)
}

// wait puts the newest proposal off.
func (d *desk) wait(until time.Time, why string) { d.again, d.waits = until, why }

// take compares a proposal with what is in force and begins a rollout of what is
// different.
func (d *desk) take(p policy.Proposal) error {
	base, ok, err := d.m.cfg.Keeper.Current(d.ctx)
	if err != nil {
		return fmt.Errorf("take over the policies: %w", err)
	}
	shared := d.m.ledger.now()
	applied, kept := Apply(base, p, shared.Rejections)
	next := revision.Decide(base, applied)
	changes := revision.Changed(base, next)
	d.m.queue(len(changes))
	d.pending = changes
	switch {
	case !ok:
		return d.first(applied)
	case next.Hash == base.Hash:
		d.settled(len(kept) < len(shared.Rejections), kept)
		d.m.use(base)
		return nil
	}
	if f, frozen, err := d.m.cfg.Keeper.Frozen(d.ctx); err != nil || frozen {
		d.wait(time.Now().Add(freezeLook), "waits for the end of the freeze "+f.Reason)
		return err
	}
	r := &running{base: base, candidate: next, changes: changes, kept: kept, source: d.m.cfg.Carrier}
	r.settings = d.m.cfg.Settings
	if o := shared.Next; o != nil {
		r.settings, r.id, r.by = o.Over(r.settings), shared.NextID, shared.NextBy
	}
	if err := d.begin(r); err != nil {
		return err
	}
	d.dirty = false
	return nil
}

// settled notes that nothing is left to roll out.
func (d *desk) settled(lifted bool, kept []Rejection) {
	d.dirty, d.waits, d.again, d.silent = false, "", time.Time{}, 0
	if !lifted {
		return
	}
	if err := d.m.ledger.set(d.ctx, func(s *state) { s.Rejections = kept }); err != nil {
		d.m.cfg.Log.WarnContext(d.ctx, "rejections are not stored", "err", err)
	}
}

// first puts the first revision in force: nobody serves anything yet.
func (d *desk) first(p policy.Proposal) error {
	rev, err := d.m.cfg.Keeper.Propose(d.ctx, p)
	if errors.Is(err, revision.ErrFrozen) {
		d.wait(time.Now().Add(freezeLook), err.Error())
		return nil
	}
	if err != nil {
		return fmt.Errorf("take over the policies: %w", err)
	}
	d.settled(false, nil)
	d.m.queue(0)
	d.m.use(rev)
	if len(rev.Documents) == 0 {
		return nil
	}
	shared := d.m.ledger.now()
	shared.Seq++
	now := time.Now().UTC()
	detail := adminapi.RolloutDetail{Rollout: adminapi.Rollout{
		ID: idOf(shared.Seq, rev), State: adminapi.Committed, Reason: "the first revision", To: refOf(rev),
		Changes: changesOf(revision.Changed(policy.Revision{}, rev), policy.Revision{}, rev), Source: d.m.cfg.Carrier,
		Settings: d.m.cfg.Settings, Started: now, Decided: &now, Ended: &now,
	}}
	entry(&detail, "", "", "committed: the first revision")
	if err := d.m.ledger.begin(d.ctx, detail, shared); err != nil {
		d.m.cfg.Log.WarnContext(d.ctx, "the first revision is not in the history", "err", err)
	}
	return nil
}

func idOf(seq uint64, rev policy.Revision) string { return fmt.Sprintf("r%d-%.8s", seq, rev.Hash) }

// behind counts what waits behind the open rollout.
func (d *desk) behind() {
	p := d.m.proposal()
	if d.open == nil || p == nil {
		return
	}
	applied, _ := Apply(d.open.candidate, *p, d.open.kept)
	d.m.queue(len(revision.Changed(d.open.candidate, revision.Decide(d.open.candidate, applied))))
}

// queue notes how many changed documents wait.
func (m *Manager) queue(n int) {
	m.mu.Lock()
	moved := m.queued != n
	m.queued = n
	m.mu.Unlock()
	if moved {
		m.tell(func(own *note) { own.Queued = n })
	}
}

// wait notes what those wait for.
func (m *Manager) wait(why string) {
	m.mu.Lock()
	moved := m.waits != why
	m.waits = why
	m.mu.Unlock()
	if moved {
		m.tell(func(own *note) { own.Waits = why })
	}
}

// backOff is how long to wait after the n-th rollout without enough answers.
func backOff(n int) time.Duration {
	d := silentAgain
	for range n - 1 {
		d = min(2*d, silentMost)
	}
	return d
}
