package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"meshlite.dev/internal/store"
	storefile "meshlite.dev/internal/store/file"
	"meshlite.dev/internal/txn/journal"
	"meshlite.dev/internal/txn/journal/bolt"
	"meshlite.dev/internal/txn/journal/chain"
	"meshlite.dev/internal/txn/journal/stored"
)

// instanceKey holds what a process on this --state-dir calls itself.
const instanceKey = "instance"

// durable is what this process keeps in --state-dir.
type durable struct {
	instance string // the same after a restart
	state    *storefile.Store
	journal  func() journal.Journal // a handle on rollouts.db; nil where replicas share a store
	close    func() error
}

// openDurable opens the files, for this process alone.
func openDurable(ctx context.Context, cfg Config) (*durable, error) {
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make --state-dir: %w", err)
	}
	state, err := storefile.Open(filepath.Join(cfg.StateDir, "state.json"))
	if err != nil {
		return nil, fmt.Errorf("open --state-dir: %w", err)
	}
	instance, err := instanceOf(ctx, state)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open --state-dir: %w", err), state.Close())
	}
	if cfg.store() != "file" {
		return &durable{instance: instance, state: state, close: state.Close}, nil
	}
	db, err := bolt.Open(filepath.Join(cfg.StateDir, "rollouts.db"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open --state-dir: %w", err), state.Close())
	}
	return &durable{
		instance: instance,

		state:   state,
		journal: func() journal.Journal { return bolt.New(db, nil) },
		close:   func() error { return errors.Join(db.Close(), state.Close()) },
	}, nil
}

// instanceOf reads the name, or makes one.
func instanceOf(ctx context.Context, s store.Store) (string, error) {
	e, err := s.Get(ctx, instanceKey)
	if err == nil {
		return string(e.Value), nil
	}
	name := rand.Text()
	if errors.Is(err, store.ErrNotFound) {
		err = s.Commit(ctx, store.Op{Key: instanceKey, Value: []byte(name)})
	}
	if err != nil {
		return "", fmt.Errorf("name this instance: %w", err)
	}
	return name, nil
}

const (
	rolloutLock    = "rollouts"
	rolloutJournal = "rollouts/journal"
)

// lead returns how a replica comes to lead rollouts, and with what journal.
func lead(kept *durable, shared sharedStore) func(context.Context, func(context.Context, journal.Journal)) {
	switch fenced, ok := shared.(store.Fencer); {
	case shared == nil:
		return func(ctx context.Context, do func(context.Context, journal.Journal)) {
			kept.state.Hold(ctx, rolloutLock, func(ctx context.Context) { do(ctx, kept.journal()) })
		}
	case ok:
		return func(ctx context.Context, do func(context.Context, journal.Journal)) {
			fenced.HoldFenced(ctx, rolloutLock, func(ctx context.Context, f store.Fence) { do(ctx, stored.New(shared, f, rolloutJournal)) })
		}
	}
	return func(ctx context.Context, do func(context.Context, journal.Journal)) {
		shared.Hold(ctx, rolloutLock, func(ctx context.Context) { do(ctx, chain.New(shared, rolloutJournal)) })
	}
}
