package report

import (
	"context"
	"time"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/status"
	"meshlite.dev/internal/store"
)

const (
	gather    = 300 * time.Millisecond // answers that come at once make one write
	writeGap  = time.Second            // least time between two writes
	retryFrom = time.Second
	retryMost = 30 * time.Second
	// wordsRest is how long other words of a fault have to stand before they
	// are written without a transition.
	wordsRest = 10 * time.Second
)

// writer is what the holder of the lock knows of what stands written.
type writer struct {
	*Reporter
	written map[policy.Key]policy.Status
	words   map[policy.Key]time.Time // since when other words wait
}

// write keeps what is written up to date while ctx lives. It begins with
// reading what stands there, so that a change of holder writes nothing that is
// written already.
func (r *Reporter) write(ctx context.Context) {
	w := writer{Reporter: r, written: map[policy.Key]policy.Status{}, words: map[policy.Key]time.Time{}}
	if !w.read(ctx) {
		return
	}
	r.holding.Store(true)
	defer r.holding.Store(false)
	retry := time.NewTimer(0)
	defer retry.Stop()
	pause, told := retryFrom, ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.news:
		case <-retry.C:
		}
		if !store.Rest(ctx, gather) {
			return
		}
		waits, err := w.bring(ctx, r.latest.Load(), time.Now())
		switch {
		case err == nil:
			pause, told = retryFrom, ""
		case ctx.Err() != nil:
			return
		case err.Error() != told:
			told = err.Error()
			r.cfg.Log.WarnContext(ctx, "statuses not written; trying again", "err", err)
		}
		if err != nil {
			retry.Reset(pause)
			pause = min(2*pause, retryMost)
		} else if waits {
			retry.Reset(wordsRest)
		}
		if !store.Rest(ctx, writeGap) {
			return
		}
	}
}

// read learns what stands written, and has the statuses told go on from there.
func (w *writer) read(ctx context.Context) bool {
	found := &standing{taken: make(chan struct{})}
	if reader, ok := w.cfg.Sink.(policy.StatusReader); ok {
		for pause := retryFrom; ; pause = min(2*pause, retryMost) {
			var err error
			if found.statuses, err = reader.ReadStatus(ctx); err == nil {
				break
			}
			if ctx.Err() == nil {
				w.cfg.Log.WarnContext(ctx, "statuses that stand written cannot be read; trying again", "err", err)
			}
			if !store.Rest(ctx, pause) {
				return false
			}
		}
	}
	for _, s := range found.statuses {
		w.written[s.Key] = s
	}
	select {
	case w.stands <- found:
	case <-ctx.Done():
		return false
	}
	select {
	case <-found.taken:
		return true
	case <-ctx.Done():
		return false
	}
}

// bring writes what has changed. waits is true where words wait for their time.
func (w *writer) bring(ctx context.Context, all *Statuses, now time.Time) (waits bool, err error) {
	put, gone, waits := w.due(all, now)
	if len(put) > 0 {
		if err := w.cfg.Sink.WriteStatus(ctx, put); err != nil {
			return waits, err
		}
		for _, s := range put {
			w.written[s.Key] = s
			delete(w.words, s.Key)
		}
		w.cfg.Log.DebugContext(ctx, "statuses written", "documents", len(put), "revision", all.Revision)
	}
	if remover, ok := w.cfg.Sink.(policy.StatusRemover); ok && len(gone) > 0 {
		if err := remover.RemoveStatus(ctx, gone); err != nil {
			return waits, err
		}
	}
	for _, key := range gone {
		delete(w.written, key)
		delete(w.words, key)
	}
	return waits, nil
}

// due compares what is told with what stands written.
func (w *writer) due(all *Statuses, now time.Time) (put []policy.Status, gone []policy.Key, waits bool) {
	for _, next := range all.List {
		old, ok := w.written[next.Key]
		if !ok || status.Transition(old, next) {
			put = append(put, status.Carry(old, next))
			continue
		}
		if !status.OtherWords(old, next) {
			delete(w.words, next.Key)
			continue
		}
		if w.words[next.Key].IsZero() {
			w.words[next.Key] = now
		}
		if now.Sub(w.words[next.Key]) >= wordsRest {
			put = append(put, status.Carry(old, next))
		} else {
			waits = true
		}
	}
	for key := range w.written {
		if _, ok := all.Of(key); !ok {
			gone = append(gone, key)
		}
	}
	return put, gone, waits
}
