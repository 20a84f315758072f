// Package gather stands between what a carrier reads and what it proposes, the
// same for every carrier: it waits until edits are quiet, so that they make one
// change set; it holds back a loss of most documents until a second reading
// confirms it; it decodes what changed and no more. A Gatherer is one carrier's.
package gather

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"meshlite.dev/internal/policy"
)

// Timing of a Gatherer; zero durations stand for Default's.
type Timing struct {
	// Quiet gathers edits: a set is proposed once nothing changed for so long.
	// A tool that writes twenty documents makes one revision.
	Quiet time.Duration
	// AtMost bounds that wait under edits that never end; at least Quiet.
	AtMost time.Duration
	// Confirm is how long a set that loses most documents waits for its second
	// reading; zero is twice Quiet, and a second at least.
	Confirm time.Duration
}

// Default returns the durations in use where a field is zero.
func Default() Timing { return Timing{Quiet: 2 * time.Second, AtMost: 10 * time.Second}.filled() }

func (t Timing) filled() Timing {
	if t.Quiet <= 0 {
		t.Quiet = 2 * time.Second
	}
	if t.AtMost <= 0 {
		t.AtMost = 10 * time.Second
	}
	t.AtMost = max(t.AtMost, t.Quiet)
	if t.Confirm <= 0 {
		t.Confirm = max(2*t.Quiet, time.Second)
	}
	return t
}

// Config of a Gatherer. Read, Reread and Decode are required.
type Config[T comparable] struct {
	Timing
	// Read returns what the carrier is known to hold; it may come from a cache.
	// False: nothing can be known now, and Read is called again after Confirm.
	Read func(context.Context) (State[T], bool)
	// Reread asks the carrier itself.
	Reread func(context.Context) (State[T], error)
	// Decode reads the documents of one place. It depends on its arguments alone
	// and may be called by many goroutines.
	Decode func(place string, item T) policy.Proposal
	// Known returns the documents in force when Run begins: a first reading
	// without most of them is a loss too. Nil: nothing is in force.
	Known func() []*policy.Document
	Log   *slog.Logger // nil discards
}

// Gatherer proposes what a carrier holds. Make one with New.
type Gatherer[T comparable] struct {
	cfg     Config[T]
	touched chan struct{} // holds one token while a change is not yet looked at

	mu      sync.Mutex
	trouble string // why the carrier cannot be read
	holding string // why what it holds is not believed
}

// New returns a gatherer that reads nothing until Run.
func New[T comparable](cfg Config[T]) *Gatherer[T] {
	cfg.Timing = cfg.filled()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Gatherer[T]{cfg: cfg, touched: make(chan struct{}, 1)}
}

// Touch tells that something may have changed. It never blocks.
func (g *Gatherer[T]) Touch() {
	select {
	case g.touched <- struct{}{}:
	default: // the one that waits tells of this too
	}
}

// Trouble tells that the carrier cannot be read, and with nil that it can; the
// first of each is logged.
func (g *Gatherer[T]) Trouble(ctx context.Context, err error) {
	now := ""
	if err != nil {
		now = err.Error()
	}
	g.mu.Lock()
	before := g.trouble
	g.trouble = now
	g.mu.Unlock()
	switch {
	case before == "" && now != "":
		g.cfg.Log.ErrorContext(ctx, "policies cannot be read; those in force stay", "err", err)
	case before != "" && now == "":
		g.cfg.Log.InfoContext(ctx, "policies can be read again")
	}
}

// Problem says why what is in force may be old; "" where all is well.
func (g *Gatherer[T]) Problem() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.trouble != "" {
		return "policies cannot be read; those in force stay: " + g.trouble
	}
	return g.holding
}

func (g *Gatherer[T]) hold(why string) (first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	first = g.holding == ""
	g.holding = why
	return first
}

// Run proposes first at once and what Read returns once edits are quiet, until
// ctx ends. A set without most of what stood is proposed only when Reread, after
// Confirm, shows such a set too.
func (g *Gatherer[T]) Run(ctx context.Context, first State[T], propose func(policy.Proposal)) {
	r := &round[T]{Gatherer: g, propose: propose, decoder: decoder[T]{decode: g.cfg.Decode}}
	if g.cfg.Known != nil {
		r.standing = g.cfg.Known()
	}
	r.quiet, r.confirm = stopped(), stopped()
	defer r.quiet.Stop()
	defer r.confirm.Stop()
	r.take(ctx, first, false)
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.touched:
			r.wait(time.Now())
		case <-r.quiet.C:
			r.since = time.Time{}
			if state, ok := g.cfg.Read(ctx); ok {
				r.take(ctx, state, false)
			} else {
				r.quiet.Reset(g.cfg.Confirm) // what cannot be read now is looked at again
			}
		case <-r.confirm.C:
			r.again(ctx)
		}
	}
}

func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// round is what Run owns.
type round[T comparable] struct {
	*Gatherer[T]
	decoder        decoder[T]
	propose        func(policy.Proposal)
	quiet, confirm *time.Timer
	since          time.Time // of the first edit that waits; zero: none
	proposed       bool
	last           State[T]           // proposed last
	standing       []*policy.Document // what is in force as far as this carrier can tell
	held           bool               // confirm runs
}

func (r *round[T]) wait(now time.Time) {
	if r.since.IsZero() {
		r.since = now
	}
	r.quiet.Reset(max(min(r.cfg.Quiet, r.since.Add(r.cfg.AtMost).Sub(now)), 0))
}

// again makes the second reading; while the carrier does not answer the loss
// stays held.
func (r *round[T]) again(ctx context.Context) {
	state, err := r.cfg.Reread(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		r.cfg.Log.WarnContext(ctx, "the second reading did not succeed; the policies that are gone stay in force", "err", err, "next_reading_in", r.cfg.Confirm.String())
		r.confirm.Reset(r.cfg.Confirm)
		return
	}
	r.take(ctx, state, true)
}

// take proposes a state that differs from the last, unless it is held back.
func (r *round[T]) take(ctx context.Context, state State[T], second bool) {
	if r.proposed && state.Equal(r.last) {
		r.release(ctx, "the policies that were gone are back")
		return
	}
	p := r.decoder.proposal(state)
	standing, lost := after(r.standing, p)
	if most(lost, len(r.standing)) {
		if !second {
			r.suspect(ctx, lost)
			return
		}
		r.release(ctx, "a second reading confirms that most policies are gone")
	}
	r.release(ctx, "the policies that were gone are back")
	r.proposed, r.last, r.standing = true, state, standing
	r.propose(p)
}

// most is the measure of a loss that one reading does not prove: more than half
// of the documents, and more than one.
func most(lost, of int) bool { return lost > 1 && 2*lost > of }

func (r *round[T]) suspect(ctx context.Context, lost int) {
	why := fmt.Sprintf("%d of %d policies are gone at once; they stay in force until a second reading confirms it", lost, len(r.standing))
	if r.hold(why) {
		r.cfg.Log.WarnContext(ctx, "most policies are gone at once; they stay in force until a second reading confirms it",
			"gone", lost, "of", len(r.standing), "next_reading_in", r.cfg.Confirm.String())
	}
	if !r.held {
		r.held = true
		r.confirm.Reset(r.cfg.Confirm)
	}
}

func (r *round[T]) release(ctx context.Context, why string) {
	if !r.held {
		return
	}
	r.held = false
	r.confirm.Stop()
	r.hold("")
	r.cfg.Log.InfoContext(ctx, why)
}
