package teller

import (
	"context"
	"errors"
	"fmt"

	"meshlite.dev/internal/store"
)

// tellerKey holds the uid of the outbox from which services and policies were
// told last.
const tellerKey = "events/teller"

// lead is one time of holding the lock. The loop owns it once it has it.
type lead struct {
	foreign bool   // the store does not say yet that this outbox told last
	anew    string // why all is told anew; "" once it was, or need not be
	version uint64 // of the note in the store; 0: there is none
}

// hold has the loop tell of services and policies until ctx ends.
func (t *Teller) hold(ctx context.Context) {
	l, err := t.look(ctx)
	for err != nil {
		t.failed(ctx, err)
		if !store.Rest(ctx, again) {
			return
		}
		l, err = t.look(ctx)
	}
	t.lead.Store(l)
	t.Poke()
	<-ctx.Done()
	t.lead.Store(nil)
}

func (t *Teller) look(ctx context.Context) (*lead, error) {
	e, err := t.cfg.Store.Get(ctx, tellerKey)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return &lead{foreign: true, anew: "first start"}, nil
	case err != nil:
		return nil, fmt.Errorf("read who told last: %w", err)
	case string(e.Value) == quoted(t.cfg.Outbox.UID()):
		return &lead{}, nil
	}
	return &lead{foreign: true, anew: "another outbox told last", version: e.Version}, nil
}

// note has the store know that this outbox told last.
func (t *Teller) note(ctx context.Context, l *lead) error {
	err := t.cfg.Store.Commit(ctx, store.Op{Key: tellerKey, Value: []byte(quoted(t.cfg.Outbox.UID())), Check: true, IfVersion: l.version})
	switch {
	case err == nil:
		l.foreign = false
		return nil
	case !errors.Is(err, store.ErrConflict):
		return fmt.Errorf("write who told last: %w", err)
	}
	next, err := t.look(ctx) // one who has lost the lock was late: all anew
	if err == nil {
		t.lead.CompareAndSwap(l, next)
	}
	return err
}

func quoted(s string) string { return fmt.Sprintf("%q", s) }
