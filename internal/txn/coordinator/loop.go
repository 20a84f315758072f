package coordinator

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"meshlite.dev/internal/txn"
)

// lazyDelay is how long a record that need not be durable waits for others to be
// written with.
const lazyDelay = 20 * time.Millisecond

// loop is all state of a running coordinator; its methods run in the goroutine of
// Run.
type loop struct {
	c    *Coordinator
	term uint64

	open     map[txn.ID]*entry // begun and not done
	done     map[txn.ID]*entry
	oldest   []*entry // of done, as they ended; some may be open again
	queue    []*begin // Serial
	stopping bool

	writer  *writer
	pending map[txn.ID]txn.Record // the newest record of each that is not with the writer
	forget  []txn.ID
	urgent  bool      // one of pending is forced
	lazyAt  time.Time // when the others are written at last; zero for none

	calls   context.Context // of writer and jobs; ends after that of Run, by halt
	halt    context.CancelFunc
	launch  func(e *entry, old, j *job)
	jobs    sync.WaitGroup
	reports chan report

	wake  time.Time // when something falls due; zero for nothing
	timer *time.Timer
}

// entry is a transaction. Its state is that of the newest input; what came of it is
// held back in waiting until the journal has what it rests on.
type entry struct {
	state   txn.State
	expires time.Time // the deadline, by the clock that never jumps
	forget  time.Time // once it is done; likewise
	durable uint64    // Seq that the journal has
	needs   uint64    // Seq of the newest forced record
	waiting []output
	visible txn.State
	jobs    map[string]*job
	faults  map[string]Fault
}

// output is what comes of an input once the journal has Seq needs.
type output struct {
	needs   uint64
	state   txn.State
	actions []txn.Action
	reply   func()
}

func newLoop(ctx context.Context, c *Coordinator, term uint64) *loop {
	l := &loop{
		c: c, term: term, open: map[txn.ID]*entry{}, done: map[txn.ID]*entry{}, pending: map[txn.ID]txn.Record{},
		reports: make(chan report), timer: time.NewTimer(0),
	}
	calls, halt := context.WithCancel(context.WithoutCancel(ctx))
	l.calls, l.halt = calls, halt
	l.launch = launcher(calls, &c.cfg, &l.jobs, l.reports)
	l.writer = newWriter(c)
	return l
}

// recover goes on with what the last term left.
func (l *loop) recover(records []txn.Record) {
	slices.SortStableFunc(records, func(a, b txn.Record) int { return cmp.Compare(a.Ended.UnixMilli(), b.Ended.UnixMilli()) })
	undone := 0
	for _, r := range records {
		s := txn.State{Record: r}
		e := &entry{state: s, visible: s, durable: r.Seq}
		l.c.publish(e)
		if r.Phase != txn.Done {
			undone++
		}
		l.open[r.ID] = e
		l.step(e, txn.Recover{Term: l.term}, nil)
		l.shelve(e)
	}
	l.c.cfg.Log.InfoContext(l.calls, "journal recovered", "term", l.term, "transactions", len(records), "open", undone)
}

// run is the coordinator until it stops, and then ends what it has started.
func (l *loop) run(ctx context.Context) error {
	var writing sync.WaitGroup
	writing.Go(func() { l.writer.run(l.calls) })
	err := l.turn(ctx)
	l.halt()
	l.jobs.Wait()
	close(l.writer.in)
	writing.Wait()
	l.timer.Stop()
	if err == nil {
		l.lastWords(ctx)
	}
	return err
}

func (l *loop) turn(ctx context.Context) error {
	stop := ctx.Done()
	var grace <-chan time.Time
	over := time.NewTimer(l.c.cfg.Grace)
	over.Stop()
	defer over.Stop()
	for !l.stopping || grace != nil && l.progressing() {
		l.write()
		l.arm()
		select {
		case <-stop:
			stop, l.stopping = nil, true
			if l.c.cfg.Grace > 0 {
				over.Reset(l.c.cfg.Grace)
				grace = over.C
			}
			l.dismiss()
		case <-grace:
			return nil
		case do := <-l.c.commands:
			do(l)
		case r := <-l.reports:
			l.hear(r)
		case w := <-l.writer.out:
			if err := l.wrote(w); err != nil {
				return err
			}
		case <-l.timer.C:
			l.due(time.Now())
		}
	}
	return nil
}

// progressing reports whether an open transaction may end without a person.
func (l *loop) progressing() bool {
	for _, e := range l.open {
		if owed, _ := e.state.Unsettled(); owed > 0 || len(e.waiting) > 0 || e.state.Phase == txn.Preparing && !e.state.Ready {
			return true
		}
	}
	return false
}

// step puts an event to a transaction; reply is called when what comes of it holds.
func (l *loop) step(e *entry, event txn.Event, reply func()) {
	next, d := txn.Step(e.state, txn.Input{At: l.c.cfg.Now(), Event: event})
	e.state = next
	if d.Write != txn.Nothing {
		l.pending[next.ID] = d.Record
	}
	switch d.Write {
	case txn.Forced:
		e.needs, l.urgent = next.Seq, true
	case txn.Lazily:
		if l.lazyAt.IsZero() {
			l.lazyAt = time.Now().Add(lazyDelay)
		}
	}
	e.waiting = append(e.waiting, output{e.needs, next, d.Actions, reply})
	l.release(e)
}

// release lets out what the journal has the ground for.
func (l *loop) release(e *entry) {
	for len(e.waiting) > 0 && e.waiting[0].needs <= e.durable {
		o := e.waiting[0]
		e.waiting = e.waiting[1:]
		before := e.visible
		e.visible = o.state
		if changed(before, o.state) {
			l.log(before, o.state)
			l.c.cfg.Observe(before, o.state)
		}
		l.c.publish(e)
		for _, a := range o.actions {
			l.perform(e, o.state, a)
		}
		e.prune(o.state)
		if o.reply != nil {
			o.reply()
		}
	}
}

// shelve moves a transaction to where it belongs and lets the next begin.
func (l *loop) shelve(e *entry) {
	id := e.state.ID
	isDone := e.visible.Phase == txn.Done && len(e.waiting) == 0
	switch _, was := l.done[id]; {
	case isDone && !was:
		delete(l.open, id)
		l.done[id], l.oldest = e, append(l.oldest, e)
		e.forget = time.Now().Add(l.c.cfg.Retention)
		l.soon(e.forget)
	case !isDone && was:
		delete(l.done, id)
		l.open[id] = e
	}
	if len(l.done) > l.c.cfg.MaxDone {
		l.sweep(time.Now())
	}
	l.beginNext()
}

func changed(a, b txn.State) bool {
	return a.Phase != b.Phase || a.Ready != b.Ready || a.Reason != b.Reason ||
		!slices.EqualFunc(a.Parties, b.Parties, func(x, y txn.Party) bool {
			return x.Vote == y.Vote && x.Ending == y.Ending && x.Text == y.Text
		})
}

func (l *loop) log(before, after txn.State) {
	log := l.c.cfg.Log
	switch {
	case before.Status() != txn.Heuristic && after.Status() == txn.Heuristic:
		log.ErrorContext(l.calls, "a participant did not do as decided; resolve it by hand", "transaction", after.ID, "outcome", after.Outcome, "reason", after.Reason)
	case before.Outcome != after.Outcome:
		log.DebugContext(l.calls, "transaction decided", "transaction", after.ID, "outcome", after.Outcome, "reason", after.Reason)
	}
}

// arm sets the timer to what falls due next.
func (l *loop) arm() {
	next := l.wake
	if !l.lazyAt.IsZero() && !l.writer.busy && (next.IsZero() || l.lazyAt.Before(next)) {
		next = l.lazyAt
	}
	if next.IsZero() {
		l.timer.Stop()
		return
	}
	l.timer.Reset(time.Until(next))
}

func (l *loop) soon(at time.Time) {
	if l.wake.IsZero() || at.Before(l.wake) {
		l.wake = at
	}
}

// due ends votes whose deadline has passed and forgets what is old enough.
func (l *loop) due(now time.Time) {
	if l.wake.IsZero() || now.Before(l.wake) {
		return // lazyAt: write does it
	}
	l.wake = time.Time{}
	for _, e := range l.open {
		if e.state.Phase != txn.Preparing {
			continue
		}
		if e.expires.After(now) {
			l.soon(e.expires)
			continue
		}
		l.step(e, txn.TimedOut{}, nil)
		l.shelve(e)
	}
	l.sweep(now)
}

// sweep forgets what ended a while ago, and the oldest of too many.
func (l *loop) sweep(now time.Time) {
	for len(l.oldest) > 0 {
		e := l.oldest[0]
		id, left := e.state.ID, e.forget.Sub(now)
		current := l.done[id] == e // else it is open again, or was here twice
		if current && left > 0 && len(l.done) <= l.c.cfg.MaxDone {
			l.soon(now.Add(left))
			return
		}
		l.oldest = l.oldest[1:]
		if current {
			delete(l.done, id)
			l.c.unpublish(id)
			l.c.cfg.Forgot(id)
			l.forget = append(l.forget, id)
		}
	}
}
