package revision

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/store"
)

// ErrMoved reports that another revision is in force than the one that a move
// starts from.
var ErrMoved = errors.New("policy/revision: another revision is in force")

// Current reads which revision is in force; ok is false when none ever was.
// Changed names what differs from the one that the caller was last given.
func (k *Keeper) Current(ctx context.Context) (rev policy.Revision, ok bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b, _, ok, err := k.read(ctx)
	if err != nil || !ok {
		return policy.Revision{}, false, err
	}
	return k.give(b.revision), true, nil
}

// give makes rev what the caller was last given.
func (k *Keeper) give(rev policy.Revision) policy.Revision {
	rev.Changed = changed(k.seen(), rev)
	k.current, k.loaded = rev, true
	return rev
}

// Prepare stores the set and the documents of a revision, so that it can come in
// force; the pointer stays. Prepare may be repeated.
func (k *Keeper) Prepare(ctx context.Context, rev policy.Revision) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	stored, _, _, err := k.read(ctx)
	if err != nil {
		return err
	}
	rev.Number = stored.revision.Number + 1
	ops, err := records(rev, stored.stored)
	if err != nil {
		return err
	}
	k.unswept++ // also where it comes to nothing
	if err := k.store.Commit(ctx, ops[:len(ops)-1]...); err != nil {
		return fmt.Errorf("store revision %d: %w", rev.Number, err)
	}
	return nil
}

// Move puts a prepared revision in force in the place of that with the hash from,
// and returns it with its number. It may be repeated; ErrMoved where neither of
// the two is in force, ErrFrozen while nothing may move.
func (k *Keeper) Move(ctx context.Context, from string, to policy.Revision) (policy.Revision, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for range maxTries {
		rev, err := k.move(ctx, from, to)
		if !errors.Is(err, store.ErrConflict) {
			return rev, err
		}
	}
	return policy.Revision{}, fmt.Errorf("move the pointer of the revision: %w, %d times", store.ErrConflict, maxTries)
}

func (k *Keeper) move(ctx context.Context, from string, to policy.Revision) (policy.Revision, error) {
	stored, entry, ok, err := k.read(ctx)
	switch {
	case err != nil:
		return policy.Revision{}, err
	case ok && stored.revision.Hash == to.Hash:
		to.Number = stored.revision.Number
		return to, nil
	case stored.revision.Hash != from:
		return policy.Revision{}, fmt.Errorf("%w: %d (%.8s), and the move is from %.8s", ErrMoved, stored.revision.Number, stored.revision.Hash, from)
	}
	if err := k.held(ctx); err != nil {
		return policy.Revision{}, err
	}
	to.Number = stored.revision.Number + 1
	ops, err := records(to, stored.stored)
	if err != nil {
		return policy.Revision{}, err
	}
	pointer := ops[len(ops)-1]
	pointer.Check, pointer.IfVersion = true, entry.Version
	if err := k.store.Commit(ctx, unfrozen(), pointer); err != nil {
		return policy.Revision{}, fmt.Errorf("put revision %d in force: %w", to.Number, err)
	}
	k.known = newBase(to)
	return to, nil
}

// Revision reads one that is still kept, by its hash; store.ErrNotFound where it
// is not. Number is that with which it came in force first.
func (k *Keeper) Revision(ctx context.Context, hash string) (policy.Revision, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if hash == k.known.revision.Hash && hash != "" {
		return k.known.revision, nil
	}
	b, err := k.revision(ctx, hash)
	if err != nil {
		return policy.Revision{}, fmt.Errorf("read revision %.8s: %w", hash, err)
	}
	slices.SortFunc(b.revision.Documents, byKey)
	return b.revision, nil
}

// Changed names the documents that differ between two revisions, sorted.
func Changed(before, after policy.Revision) []policy.Key { return changed(before, after) }
