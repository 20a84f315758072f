package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/store"
)

const (
	catalogKey      = "catalog" // in the state file
	lastGoodEvery   = 5 * time.Second
	lastGoodRefresh = 10 * time.Minute // an unchanged catalog is vouched for anew
	// lastGoodMaxAge is how old state may be that a new proxy gets: a held
	// address may belong to someone else by then.
	lastGoodMaxAge = 24 * time.Hour
)

// lastGood keeps the newest catalog in the store, so that a restart without
// the source has something to serve.
type lastGood struct {
	store   store.Store
	vouched func() (at time.Time, ok bool) // when the source last answered; false: it has not since the start
	log     *slog.Logger

	mu     sync.Mutex
	newest *catalog.Snapshot
	dirty  bool
}

// loadLastGood returns what an earlier run kept; ok is false when there is
// nothing.
func loadLastGood(ctx context.Context, s store.Store) (kept catalog.LastGood, ok bool, err error) {
	e, err := s.Get(ctx, catalogKey)
	if errors.Is(err, store.ErrNotFound) {
		return catalog.LastGood{}, false, nil
	}
	if err != nil {
		return catalog.LastGood{}, false, fmt.Errorf("read the last known good catalog: %w", err)
	}
	kept, err = catalog.Decode(e.Value)
	return kept, err == nil, err
}

// note remembers s until the next write.
func (l *lastGood) note(s catalog.Snapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.newest, l.dirty = &s, true
}

// run writes what changed, at most every lastGoodEvery, and once more when ctx
// ends. A write that fails is logged and tried again.
func (l *lastGood) run(ctx context.Context) error {
	ticker := time.NewTicker(lastGoodEvery)
	defer ticker.Stop()
	var saved time.Time
	for {
		select {
		case <-ctx.Done():
			_ = l.save(context.WithoutCancel(ctx)) // logged there
			return nil
		case now := <-ticker.C:
			if !l.due(now.Sub(saved) >= lastGoodRefresh) {
				continue
			}
			if l.save(ctx) == nil {
				saved = now
			}
		}
	}
}

func (l *lastGood) due(refresh bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newest != nil && (l.dirty || refresh)
}

func (l *lastGood) save(ctx context.Context) error {
	l.mu.Lock()
	s, dirty := l.newest, l.dirty
	l.dirty = false
	l.mu.Unlock()
	if s == nil {
		return nil
	}
	at, ok := l.vouched()
	if !ok { // what is served came from here: writing it would make it look fresh
		l.retry(dirty)
		return nil
	}
	raw, err := catalog.Encode(catalog.Keep(*s, at))
	if err == nil {
		err = l.store.Commit(ctx, store.Op{Key: catalogKey, Value: raw})
	}
	if err != nil {
		l.log.ErrorContext(ctx, "the last known good catalog was not written", "err", err)
		l.retry(dirty)
	}
	return err
}

func (l *lastGood) retry(dirty bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dirty = l.dirty || dirty
}
