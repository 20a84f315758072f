// Package pauses keeps which subscriptions are paused, in the store that replicas
// share: each follows it, and a restart forgets nothing. It delivers nothing
// itself. Its main type is Keeper.
package pauses

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"meshlite.dev/internal/store"
)

const (
	// key holds all pauses, by subscription, while there are any.
	key = "events/pauses"
	// look is how often the store is asked: another replica may have been told.
	look = time.Second
	// gone is how long a subscription is away before its pause is forgotten: a
	// document that is replaced stays paused, and a replica that is behind may yet
	// hear of one.
	gone = time.Minute
	// tries bounds how often a change is made again that another one crossed.
	tries = 10
)

// Pause says why nothing of a subscription is delivered.
type Pause struct {
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
}

// Keeper follows the pauses. Make one with New; methods may be called by many
// goroutines.
type Keeper struct {
	store store.Store
	apply func(map[string]bool)
	log   *slog.Logger

	mu     sync.Mutex
	now    map[string]Pause // never edited, replaced
	known  bool             // the store was read
	wanted map[string]bool  // subscriptions in force; nil: not known
	away   map[string]time.Time
}

// New returns a keeper that does nothing before Run. apply is told which
// subscriptions are paused, by "NAMESPACE/NAME", all of them: once the store was
// read and after each change. It must not wait. A nil log is silent.
func New(s store.Store, apply func(map[string]bool), log *slog.Logger) *Keeper {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Keeper{store: s, apply: apply, log: log, away: map[string]time.Time{}}
}

// Use says which subscriptions are in force: all of them. The pause of one that is
// gone for a minute is forgotten; before the first Use none is.
func (k *Keeper) Use(keys []string) {
	wanted := make(map[string]bool, len(keys))
	for _, key := range keys {
		wanted[key] = true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wanted = wanted
}

// Paused returns what is paused, by key. It is not to be changed.
func (k *Keeper) Paused() map[string]Pause {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now
}

// Run follows the store until ctx ends. While the store is away what was known
// last counts.
func (k *Keeper) Run(ctx context.Context) error {
	for {
		err := k.look(ctx)
		if err == nil {
			err = k.tidy(ctx)
		}
		if err != nil && ctx.Err() == nil {
			k.log.DebugContext(ctx, "pauses not followed", "err", err)
		}
		if !store.Rest(ctx, look) {
			return nil
		}
	}
}

// Set pauses a subscription, or ends its pause, for all replicas and over
// restarts; this one follows at once. A pause replaces the one before, and keeps
// the time since when it is.
func (k *Keeper) Set(ctx context.Context, key string, paused bool, reason string) error {
	all, err := k.change(ctx, func(all map[string]Pause) bool {
		was, is := all[key]
		switch {
		case !paused:
			delete(all, key)
			return is
		case is && was.Reason == reason:
			return false
		case !is:
			was.Since = time.Now().UTC().Truncate(time.Second)
		}
		was.Reason = reason
		all[key] = was
		return true
	})
	if err != nil {
		return fmt.Errorf("store the pause: %w", err)
	}
	k.take(all)
	return nil
}

func (k *Keeper) look(ctx context.Context) error {
	all, _, err := k.read(ctx)
	if err != nil {
		return err
	}
	k.take(all)
	return nil
}

// take makes all what is known, and tells of it where that is new.
func (k *Keeper) take(all map[string]Pause) {
	k.mu.Lock()
	defer k.mu.Unlock()
	news := !k.known || !sameKeys(k.now, all)
	k.now, k.known = all, true
	if !news {
		return
	}
	keys := make(map[string]bool, len(all))
	for key := range all {
		keys[key] = true
	}
	k.apply(keys) // under the lock: none overtakes another
}

func sameKeys(a, b map[string]Pause) bool {
	for key := range a {
		if _, ok := b[key]; !ok {
			return false
		}
	}
	return len(a) == len(b)
}

// tidy forgets the pauses of subscriptions that are long gone.
func (k *Keeper) tidy(ctx context.Context) error {
	old := k.old(time.Now())
	if len(old) == 0 {
		return nil
	}
	all, err := k.change(ctx, func(all map[string]Pause) bool {
		before := len(all)
		for _, key := range old {
			delete(all, key)
		}
		return len(all) < before
	})
	if err != nil {
		return err
	}
	k.take(all)
	k.log.InfoContext(ctx, "pauses of subscriptions that are gone are forgotten", "subscriptions", old)
	return nil
}

// old are the paused ones that were not in force for long.
func (k *Keeper) old(now time.Time) (out []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.wanted == nil {
		return nil
	}
	maps.DeleteFunc(k.away, func(key string, _ time.Time) bool {
		_, paused := k.now[key]
		return !paused || k.wanted[key]
	})
	for key := range k.now {
		if k.wanted[key] {
			continue
		}
		if since, ok := k.away[key]; !ok {
			k.away[key] = now
		} else if now.Sub(since) >= gone {
			out = append(out, key)
		}
	}
	return out
}

// change edits what is stored; edit may be called again, and reports whether it
// changed something.
func (k *Keeper) change(ctx context.Context, edit func(map[string]Pause) bool) (all map[string]Pause, err error) {
	for range tries {
		var version uint64
		if all, version, err = k.read(ctx); err != nil || !edit(all) {
			return all, err
		}
		op := store.Op{Key: key, Check: true, IfVersion: version}
		if len(all) > 0 {
			if op.Value, err = json.Marshal(all); err != nil {
				return nil, fmt.Errorf("encode the pauses: %w", err)
			}
		}
		if err = k.store.Commit(ctx, op); !errors.Is(err, store.ErrConflict) {
			return all, err
		}
	}
	return nil, err
}

// read returns a copy of what is stored, and its version; 0 where there is nothing.
func (k *Keeper) read(ctx context.Context) (all map[string]Pause, version uint64, err error) {
	entry, err := k.store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return map[string]Pause{}, 0, nil
	}
	if err == nil {
		err = json.Unmarshal(entry.Value, &all)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the pauses: %w", err)
	}
	if all == nil { // "null"
		all = map[string]Pause{}
	}
	return all, entry.Version, nil
}
