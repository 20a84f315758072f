package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/policy/filter"
	"meshlite.dev/internal/store"
)

const (
	// firstPause and longestPause are between two tries to open a queue, and
	// between two looks for a proxy that does not answer.
	firstPause, longestPause = 500 * time.Millisecond, 30 * time.Second
	// grace is how long calls under way may take once their worker is to stop.
	grace = 3 * time.Second
)

// worker serves one subscription.
type worker struct {
	Subscription
	paused  bool
	backend Backend
	client  *http.Client
	source  func() string // of the events that it tells
	log     *slog.Logger

	filter *filter.Filter // nil: all pass
	slots  chan struct{}  // one token for each call under way
	tally
}

// run serves until ctx ends. Whatever fails is tried again.
func (w *worker) run(ctx context.Context) {
	pause := firstPause
	for {
		began := time.Now()
		err := w.session(ctx)
		if ctx.Err() != nil {
			return
		}
		w.interrupted(ctx, err)
		if time.Since(began) > longestPause {
			pause = firstPause
		}
		if !store.Rest(ctx, pause/2+rand.N(pause/2)) {
			return
		}
		pause = min(2*pause, longestPause)
	}
}

// interrupted notes what keeps it from its work, and logs what is new.
func (w *worker) interrupted(ctx context.Context, err error) {
	if w.broken(err) {
		w.log.WarnContext(ctx, "a subscription is interrupted", "subscription", w.Key(), "err", err)
	}
}

// session serves over one opening of the queue.
func (w *worker) session(ctx context.Context) error {
	q, err := w.backend.Open(ctx, w.Subscription)
	if err != nil {
		return err
	}
	defer q.Close()
	w.open(q)
	defer w.open(nil)
	if w.paused {
		<-ctx.Done()
		return nil
	}
	if w.source() == "" { // what is given up could not be told of
		return errors.New("the store that has the mesh's uid has not answered yet")
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	calls, stop := graceful(ctx)
	defer stop()
	var under sync.WaitGroup
	defer under.Wait()
	w.slots = make(chan struct{}, w.Concurrency)
	taken := make(chan struct{}, w.taken())
	for {
		select {
		case taken <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		d, err := q.Next(ctx)
		if err != nil {
			fail(err)
			return context.Cause(ctx)
		}
		under.Go(func() {
			defer func() { <-taken }()
			if err := w.deliver(ctx, calls, d); err != nil {
				fail(err)
			}
		})
	}
}

// taken is how many events are off the queue at once: those whose calls are under
// way, and as many that are being settled or are next.
func (w *worker) taken() int {
	if w.Ordered {
		return 1
	}
	return 2 * w.Concurrency
}

// graceful returns a context that ends a while after ctx, for calls under way.
func graceful(ctx context.Context) (context.Context, context.CancelFunc) {
	calls, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		store.Rest(calls, grace)
		cancel()
	})
	return calls, func() { stop(); cancel() }
}

// deliver settles one event. Pauses end with ctx, calls with calls.
func (w *worker) deliver(ctx, calls context.Context, d Delivery) error {
	if d.Fault != "" {
		return w.give(calls, d, 0, "it is no event: "+d.Fault)
	}
	if !w.passes(calls, d.Event) {
		return d.Settle.Done(calls)
	}
	for {
		v := w.try(ctx, calls, d)
		switch {
		case v.outcome == done:
			w.delivered.Add(1)
			return d.Settle.Done(calls)
		case calls.Err() != nil || v.outcome == away:
			return nil // it was not settled, and comes again
		}
		w.failed(v.why)
		switch {
		case v.outcome == dead:
			return w.give(calls, d, d.Attempt, v.why)
		case d.Attempt >= w.Attempts:
			return w.give(calls, d, d.Attempt, fmt.Sprintf("attempt %d of %d: %s", d.Attempt, w.Attempts, v.why))
		}
		after := w.wait(d.Attempt, v.after)
		if !w.Ordered {
			return d.Settle.Retry(calls, after)
		}
		if !store.Rest(ctx, after) { // the others wait with it
			return nil
		}
		d.Attempt++
	}
}

// wait is a pause with jitter, of its upper half, or what the handler asked for.
func (w *worker) wait(attempt int, asked time.Duration) time.Duration {
	d := w.pause(attempt)
	return max(asked, d/2+rand.N(d/2+1))
}

// try calls the handler. Until our own proxy answers it waits: that is no attempt.
func (w *worker) try(ctx, calls context.Context, d Delivery) verdict {
	select {
	case w.slots <- struct{}{}:
	case <-ctx.Done():
		return verdict{outcome: away}
	}
	defer func() { <-w.slots }()
	w.inFlight.Add(1)
	defer w.inFlight.Add(-1)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		v := call(calls, w.client, w.Subscription, d)
		if v.outcome != away {
			w.mended()
			return v
		}
		w.interrupted(ctx, errors.New(v.why))
		if !store.Rest(ctx, pause/2+rand.N(pause/2)) {
			return v
		}
	}
}

// passes applies the filter. An event that it has no answer for does not pass.
func (w *worker) passes(ctx context.Context, e events.Event) bool {
	if w.filter == nil {
		return true
	}
	raw, err := e.MarshalJSON()
	var plain map[string]any
	if err == nil {
		err = json.Unmarshal(raw, &plain)
	}
	ok := false
	if err == nil {
		ok, err = w.filter.Match(ctx, plain)
	}
	if err != nil {
		w.unanswered(fmt.Sprintf("event %.80q: %v", e.ID, err))
	}
	if !ok {
		w.skipped.Add(1)
	}
	return ok
}

// give puts an event aside, and tells so.
func (w *worker) give(ctx context.Context, d Delivery, attempts int, reason string) error {
	data := events.Delivery{
		Subscription: w.Key(), Service: w.Service, Queue: w.DeadLetter, ID: d.Event.ID, Source: d.Event.Source,
		Type: d.Event.Type, Subject: d.Event.Subject, Attempts: attempts, Reason: reason,
	}
	raw, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("tell of a dead letter: %w", err)
	}
	told := &events.Event{
		Source: w.source(), Type: events.DeliveryDeadLettered, Subject: "subscription/" + w.Key(), Time: time.Now(), Data: raw,
	}
	told.ID = events.ID(told.Source, told.Type, told.Subject, d.Event.Source+" "+d.Event.ID, append(raw, d.Body...))
	if d.Event.Type == events.DeliveryDeadLettered {
		told = nil // a handler of dead letters that fails would hear of its own for ever
	}
	if err := d.Settle.Dead(ctx, attempts, reason, told); err != nil {
		return err
	}
	w.dead.Add(1)
	w.log.WarnContext(ctx, "an event is given up", "subscription", w.Key(), "event", d.Event.ID, "type", d.Event.Type, "attempts", attempts, "reason", reason)
	return nil
}
