package coordinator

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"meshlite.dev/internal/store"
	"meshlite.dev/internal/txn"
)

// job makes the calls that one action asks for.
type job struct {
	branch Branch
	call   txn.Call
	until  time.Time // of a Prepare
	stop   context.CancelFunc
	gone   chan struct{} // closed when it has ended

	stopped bool // nobody wants its answer; of the loop
}

// report is what a job has to say: an event when it is done, else what went wrong.
type report struct {
	entry *entry
	job   *job
	event txn.Event
	fault error
	try   int
}

// run makes the calls until there is an answer or ctx ends (false).
func (j *job) run(ctx context.Context, cfg *Config, tell func(report)) {
	p := cfg.Participant(j.branch.Tx, j.branch.Party)
	if j.call == txn.CallPrepare {
		a := j.prepare(ctx, p)
		tell(report{job: j, event: txn.Voted{Party: j.branch.Party.ID, Term: j.branch.Term, Vote: a.Vote, Text: a.Text}})
		return
	}
	pause := cfg.Backoff
	for b := j.branch; ; b.Try++ {
		err := j.once(ctx, cfg.CallTimeout, p, b)
		var refused *RefusedError
		switch {
		case err == nil:
			tell(report{job: j, event: txn.Ack{Party: b.Party.ID, Term: b.Term}})
			return
		case errors.As(err, &refused):
			tell(report{job: j, event: txn.Refusal{Party: b.Party.ID, Term: b.Term, Text: refused.Text}})
			return
		}
		tell(report{job: j, fault: err, try: b.Try})
		if !store.Rest(ctx, pause/2+rand.N(pause)) {
			return
		}
		pause = min(2*pause, cfg.MaxBackoff)
	}
}

func (j *job) prepare(ctx context.Context, p Participant) Answer {
	ctx, stop := context.WithDeadline(ctx, j.until)
	defer stop()
	if ctx.Err() != nil {
		return Answer{Vote: txn.Abstain, Text: "not asked: no time was left"}
	}
	a := p.Prepare(ctx, j.branch)
	if a.Vote != txn.Yes && a.Vote != txn.No {
		a.Vote = txn.Abstain
	}
	return a
}

func (j *job) once(ctx context.Context, within time.Duration, p Participant, b Branch) error {
	ctx, stop := context.WithTimeout(ctx, within)
	defer stop()
	if j.call == txn.CallCommit {
		return p.Commit(ctx, b)
	}
	return p.Rollback(ctx, b)
}

// launcher starts jobs whose calls end with ctx. A job takes the place of the
// party's last one, old, and its calls begin when those of that one have ended.
func launcher(ctx context.Context, cfg *Config, jobs *sync.WaitGroup, reports chan<- report) func(e *entry, old, j *job) {
	return func(e *entry, old, j *job) {
		ctx, stop := context.WithCancel(ctx)
		j.stop, j.gone = stop, make(chan struct{})
		tell := func(r report) {
			r.entry = e
			select {
			case reports <- r:
			case <-ctx.Done():
			}
		}
		jobs.Go(func() {
			defer close(j.gone)
			if old != nil {
				old.stop()
				<-old.gone
			}
			if ctx.Err() == nil {
				j.run(ctx, cfg, tell)
			}
		})
	}
}

// perform starts a job for an action.
func (l *loop) perform(e *entry, s txn.State, a txn.Action) {
	party, _ := s.Party(a.Party)
	old := e.jobs[a.Party]
	j := &job{branch: Branch{Tx: s.Tx, Party: party, Term: s.Term, Try: 1}, call: a.Call, until: e.expires}
	if e.jobs == nil {
		e.jobs = map[string]*job{}
	}
	e.jobs[a.Party] = j
	delete(e.faults, a.Party)
	l.launch(e, old, j)
}

// hear takes what a job reports, unless another has taken its place.
func (l *loop) hear(r report) {
	e, party := r.entry, r.job.branch.Party.ID
	if e.jobs[party] != r.job || r.job.stopped {
		return
	}
	if r.fault != nil {
		l.c.cfg.Log.DebugContext(l.calls, "participant called in vain", "transaction", e.state.ID, "party", party, "call", r.job.call, "try", r.try, "err", r.fault)
		if e.faults == nil {
			e.faults = map[string]Fault{}
		}
		e.faults[party] = Fault{Call: r.job.call, Tries: r.try, Text: r.fault.Error()}
		l.c.publish(e)
		return
	}
	r.job.stop()
	delete(e.jobs, party)
	delete(e.faults, party)
	l.step(e, r.event, nil)
	l.shelve(e)
}

// prune stops the jobs that nobody wants an answer of any more. They stay where
// their successor finds them, until they have ended.
func (e *entry) prune(s txn.State) {
	for id, j := range e.jobs {
		p, _ := s.Party(id)
		wanted := p.Ending == txn.Owed || p.Ending == txn.Refused
		if j.call == txn.CallPrepare {
			wanted = s.Phase == txn.Preparing
		}
		if !wanted {
			j.stopped = true
			j.stop()
		}
	}
}
