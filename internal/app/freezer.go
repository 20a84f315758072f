package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/admin/readiness"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/store"
)

// freezeLook is how often the store is asked whether all is frozen: another
// replica may have been told to.
const freezeLook = time.Second

// freezer follows the freeze that replicas share.
type freezer struct {
	keeper *revision.Keeper
	inbox  *inbox
	latch  *readiness.Latch
	log    *slog.Logger

	now atomic.Pointer[revision.Freeze] // nil: none
}

// run follows the store until ctx ends. While the store is away what was known
// last counts.
func (f *freezer) run(ctx context.Context) error {
	for {
		if err := f.look(ctx); err != nil && ctx.Err() == nil {
			f.log.DebugContext(ctx, "freeze not read", "err", err)
		}
		if !store.Rest(ctx, freezeLook) {
			return nil
		}
	}
}

func (f *freezer) look(ctx context.Context) error {
	freeze, on, err := f.keeper.Frozen(ctx)
	if err != nil {
		return err
	}
	if on == (f.now.Load() != nil) {
		return nil
	}
	f.inbox.freeze(on, time.Now())
	if !on {
		f.now.Store(nil)
		f.latch.Alarm("freeze", "")
		f.log.InfoContext(ctx, "the freeze has ended")
		return nil
	}
	f.now.Store(&freeze)
	f.latch.Alarm("freeze", "nothing but endpoints changes since "+freeze.Since.UTC().Format(time.RFC3339)+because(freeze.Reason))
	f.log.WarnContext(ctx, "frozen: nothing but endpoints changes", "reason", freeze.Reason)
	return nil
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// state is what the admin API tells.
func (f *freezer) state() adminapi.Freeze {
	now := f.now.Load()
	if now == nil {
		return adminapi.Freeze{}
	}
	return adminapi.Freeze{On: true, Reason: now.Reason, Since: &now.Since}
}

// set freezes or ends the freeze, for all replicas; this one follows at once.
func (f *freezer) set(ctx context.Context, on bool, reason string) error {
	var freeze *revision.Freeze
	if on {
		freeze = &revision.Freeze{Reason: reason, Since: time.Now()}
	}
	if err := f.keeper.SetFreeze(ctx, freeze); err != nil {
		return err
	}
	if err := f.look(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("the freeze is stored, and this server follows it within %s: %w", freezeLook, err)
	}
	return nil
}
