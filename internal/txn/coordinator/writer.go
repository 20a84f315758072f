package coordinator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"meshlite.dev/internal/store"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/journal"
)

const (
	writePause = 50 * time.Millisecond // before a failed write is repeated, then twice as long
	writeMost  = 2 * time.Second
	goodbye    = 2 * time.Second // for what was not written when Run is to end
)

// batch is what the journal is to take next.
type batch struct {
	records []txn.Record
	forget  []txn.ID
}

// written is a batch that the journal took, or why it never will.
type written struct {
	batch batch
	err   error
}

// writer writes one batch at a time; meanwhile the loop gathers the next. So many
// transactions share a sync of the disk.
type writer struct {
	c    *Coordinator
	in   chan batch
	out  chan written
	busy bool  // of the loop: a batch is with the writer
	left batch // what was not written when run ended
}

func newWriter(c *Coordinator) *writer {
	return &writer{c: c, in: make(chan batch, 1), out: make(chan written)}
}

// run writes until in is closed. Once ctx has ended it writes no more.
func (w *writer) run(ctx context.Context) {
	for b := range w.in {
		err := w.write(ctx, b)
		if ctx.Err() != nil && err != nil {
			w.left = b
			continue
		}
		select {
		case w.out <- written{b, err}:
		case <-ctx.Done():
		}
	}
}

// write tries until the journal has the batch, is another's, or ctx ends.
func (w *writer) write(ctx context.Context, b batch) error {
	defer w.c.trouble.Store(nil)
	for pause := writePause; ; pause = min(2*pause, writeMost) {
		err := w.once(ctx, b)
		if err == nil || errors.Is(err, journal.ErrFenced) || ctx.Err() != nil {
			return err
		}
		if w.c.trouble.Swap(&err) == nil {
			w.c.cfg.Log.WarnContext(ctx, "the journal does not take records; trying again", "records", len(b.records), "err", err)
		}
		if !store.Rest(ctx, pause/2+rand.N(pause)) {
			return err
		}
	}
}

func (w *writer) once(ctx context.Context, b batch) error {
	if len(b.records) > 0 {
		if err := w.c.cfg.Journal.Append(ctx, b.records...); err != nil {
			return err
		}
	}
	if len(b.forget) > 0 {
		return w.c.cfg.Journal.Forget(ctx, b.forget...)
	}
	return nil
}

// write hands the writer what is to be written, when it is idle.
func (l *loop) write() {
	lazy := !l.lazyAt.IsZero() && !time.Now().Before(l.lazyAt)
	if l.writer.busy || !l.urgent && !lazy && len(l.forget) == 0 {
		return
	}
	l.writer.busy = true
	l.writer.in <- l.gather() // has room: the writer is idle
}

// gather takes all that waits for the journal, in the order of IDs.
func (l *loop) gather() batch {
	b := batch{forget: l.forget}
	for _, id := range slices.Sorted(maps.Keys(l.pending)) {
		b.records = append(b.records, l.pending[id])
	}
	clear(l.pending)
	l.forget, l.urgent, l.lazyAt = nil, false, time.Time{}
	return b
}

// wrote lets out what waited for a batch.
func (l *loop) wrote(w written) error {
	l.writer.busy = false
	if w.err != nil {
		return fmt.Errorf("coordinate transactions in term %d: %w", l.term, w.err)
	}
	for _, r := range w.batch.records {
		e := l.open[r.ID]
		if e == nil {
			e = l.done[r.ID]
		}
		if e == nil {
			continue // forgotten meanwhile
		}
		e.durable = r.Seq
		l.release(e)
		l.shelve(e)
	}
	return nil
}

// lastWords tries once to write what is left when Run ends: nothing depends on it,
// but the next term has less to repeat.
func (l *loop) lastWords(ctx context.Context) {
	left := l.writer.left
	for _, r := range left.records {
		if _, newer := l.pending[r.ID]; !newer {
			l.pending[r.ID] = r
		}
	}
	l.forget = append(l.forget, left.forget...)
	b := l.gather()
	if len(b.records)+len(b.forget) == 0 {
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer stop()
	if err := l.writer.once(ctx, b); err != nil {
		l.c.cfg.Log.DebugContext(ctx, "some records were not written at the end; the next term repeats their calls", "records", len(b.records), "err", err)
	}
}
