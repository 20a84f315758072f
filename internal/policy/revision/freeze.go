package revision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"meshlite.dev/internal/store"
)

// freezeKey holds a Freeze while there is one: {"reason", "since"}. It stands
// beside the pointer, which nobody moves as long as it is there.
const freezeKey = "freeze"

// ErrFrozen reports that no revision may come in force: propose again later.
var ErrFrozen = errors.New("policy/revision: frozen")

// Freeze says why everything stays as it is.
type Freeze struct {
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
}

// Frozen returns the freeze in force; ok is false when there is none.
func (k *Keeper) Frozen(ctx context.Context) (f Freeze, ok bool, err error) {
	entry, err := k.store.Get(ctx, freezeKey)
	if errors.Is(err, store.ErrNotFound) {
		return Freeze{}, false, nil
	}
	if err == nil {
		err = json.Unmarshal(entry.Value, &f)
	}
	if err != nil {
		return Freeze{}, false, fmt.Errorf("read whether all is frozen: %w", err)
	}
	return f, true, nil
}

// SetFreeze freezes, for all who share the store and over restarts, or ends the
// freeze where f is nil. A freeze replaces the one before.
func (k *Keeper) SetFreeze(ctx context.Context, f *Freeze) error {
	op := store.Op{Key: freezeKey}
	if f != nil {
		raw, err := json.Marshal(f)
		if err != nil {
			return fmt.Errorf("encode the freeze: %w", err)
		}
		op.Value = raw
	}
	if err := k.store.Commit(ctx, op); err != nil {
		return fmt.Errorf("store the freeze: %w", err)
	}
	return nil
}

// unfrozen is the condition under which the pointer moves.
func unfrozen() store.Op { return store.Op{Key: freezeKey, Check: true} }

// held returns ErrFrozen, with the reason, while a freeze is in force.
func (k *Keeper) held(ctx context.Context) error {
	f, frozen, err := k.Frozen(ctx)
	switch {
	case err != nil:
		return err
	case !frozen:
		return nil
	case f.Reason == "":
		return ErrFrozen
	default:
		return fmt.Errorf("%w: %s", ErrFrozen, f.Reason)
	}
}
