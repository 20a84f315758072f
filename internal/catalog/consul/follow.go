package consul

import (
	"context"
	"math/rand/v2"
	"time"

	"golang.org/x/time/rate"

	"meshlite.dev/internal/catalog"
)

// watch follows one service with blocking queries until ctx ends. It begins,
// and begins again after every fault, without an index: only that says at once
// what there is, and whether the index went backwards.
func (s *Source) watch(ctx context.Context, w *watch) {
	r := read{wait: jitter(waitService), datacenter: w.in.name}
	pace := rate.NewLimiter(50, 20) // a service that never rests must not take all
	var wait backoff
	for ctx.Err() == nil {
		limit := pace
		if r.index == 0 {
			limit = s.directs
		}
		if limit.Wait(ctx) != nil {
			return
		}
		rctx, epoch := s.arm(ctx, w)
		d, a, err := s.client.health(rctx, w.service, r)
		if s.disarm(w) {
			r.index, r.consistent = 0, true
			continue
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.change(func(b *book, _ time.Time) { b.failed(w, err) })
			s.log.DebugContext(ctx, "catalog read did not succeed", "service", w.name, "err", err)
			r.index, r.consistent = 0, true
			wait.sleep(ctx, s.returned(w.in))
		case r.index > 0 && a.index < r.index:
			r.index, r.consistent = 0, true // perhaps a server that lags: ask all of them
		default:
			how := followed
			if r.index == 0 && r.consistent {
				how = direct
			}
			s.change(func(b *book, now time.Time) { b.heard(now, w, d, a, how, epoch) })
			r.index, wait = a.index, 0
		}
	}
}

// arm returns the context of a watch's next read, which poke ends, and the
// epoch that the read belongs to.
func (s *Source) arm(ctx context.Context, w *watch) (context.Context, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, w.cancel = context.WithCancel(ctx)
	if w.again {
		w.cancel()
	}
	return ctx, w.in.epoch
}

// disarm ends the read and reports whether the next one is to be direct.
func (s *Source) disarm(w *watch) (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.cancel()
	w.cancel = nil
	again, w.again = w.again, false
	return again
}

// returned is closed when a place answers again after a failure.
func (s *Source) returned(p *place) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.back
}

// question is one confirming read.
type question struct {
	w     *watch
	base  uint64
	epoch uint64
}

func (b *book) ask(name string) question {
	w := b.watches[name]
	if w == nil {
		w = &watch{name: name, service: name, in: b.home} // its answer will be asked for again
	}
	return question{w: w, base: w.base, epoch: w.in.epoch}
}

// confirm asks, without index, all servers and with the token, whether a loss
// is true, and then whether this is still the Consul that it was: asked
// before, the old one could answer that and a new one the rest.
func (s *Source) confirm(ctx context.Context, q question) {
	err := s.confirms.Wait(ctx)
	var d described
	var a answer
	if err == nil {
		d, a, err = s.client.health(ctx, q.w.service, read{consistent: true, datacenter: q.w.in.name})
	}
	var identity string
	if err == nil {
		var hides bool
		identity, hides, err = s.client.testify(ctx, q.w.in.name)
		a.filtered = a.filtered || hides
	}
	s.change(func(b *book, now time.Time) {
		b.asking--
		if ctx.Err() == nil {
			b.confirmed(now, q, d, a, identity, err)
		}
	})
}

// confirmed takes the answer to a question.
func (b *book) confirmed(now time.Time, q question, d described, a answer, identity string, err error) {
	refused := func(reason string) {
		b.guard.Observe(now, catalog.Answer{Service: q.w.name, Trust: catalog.Refused, Reason: reason})
	}
	switch {
	case err != nil:
		refused(err.Error())
		return
	case b.watches[q.w.name] != q.w || q.epoch != q.w.in.epoch:
		b.guard.AskAgain(q.w.name, now)
		return
	case q.w.in.known(identity):
		b.rewound(now, q.w.in, otherDomain)
		b.guard.AskAgain(q.w.name, now) // the answer may be the former one's
		return
	case a.index < q.base:
		b.rewound(now, q.w.in, wentBack)
	case a.filtered:
		refused(errFiltered)
		return
	case a.index < q.w.base:
		b.guard.AskAgain(q.w.name, now) // the watch knows something newer by now
		return
	}
	b.heard(now, q.w, d, a, testified, q.w.in.epoch)
}

// backoff grows with every failure in a row.
type backoff int

// sleep waits with jitter, at most 10 s, or until Consul is back and a moment
// more, so that not all come at once.
func (n *backoff) sleep(ctx context.Context, back <-chan struct{}) {
	const first, most, spread = 200 * time.Millisecond, 10 * time.Second, 500 * time.Millisecond
	d := min(first<<min(*n, 10), most)
	*n++
	if pause(ctx, d/2+rand.N(d/2), back) {
		pause(ctx, rand.N(spread), nil)
	}
}

// pause waits for d or the end of ctx. It reports whether early ended it.
func pause(ctx context.Context, d time.Duration, early <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-early:
		return true
	}
	return false
}

// jitter keeps watches that began together from asking together for ever.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/8) }
