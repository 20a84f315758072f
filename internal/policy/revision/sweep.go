package revision

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"meshlite.dev/internal/policy/v1alpha1"
	"meshlite.dev/internal/store"
)

const (
	keptRevisions = 100     // and what the pointer names
	keptBytes     = 8 << 20 // of their sets: beyond, only the newest leastKept stay
	leastKept     = 10
	sweepEvery    = 8  // revisions
	sweepAtOnce   = 50 // keys in one commit
)

// Sweep removes revisions beyond the newest hundred, or ten of large sets, and the
// documents that only they name; it does so once in a while and returns at once else. What a
// replica is about to use stays: a keeper writes a set before its documents and
// moves the pointer last, and every write gives a new version, while Sweep
// lists documents before sets, reads the pointer last, and removes only the
// versions that it has seen. An error leaves garbage, no more.
func (k *Keeper) Sweep(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.unswept < sweepEvery {
		return nil
	}
	documents, err := k.store.List(ctx, DocumentPrefix)
	if err != nil {
		return fmt.Errorf("list documents: %w", err)
	}
	sets, err := k.store.List(ctx, RevisionPrefix)
	if err != nil {
		return fmt.Errorf("list revisions: %w", err)
	}
	pointer, err := k.store.Get(ctx, PointerKey)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read the pointer of the revision: %w", err)
	}
	ops, err := garbage(documents, sets, pointer, k.keep)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(ops, sweepAtOnce) {
		if err := k.store.Commit(ctx, some...); err != nil && !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("remove old revisions: %w", err)
		}
	}
	k.unswept = 0
	return nil
}

// garbage are the removals, sets before the documents that they name.
func garbage(documents, sets []store.Entry, pointer store.Entry, keep int) ([]store.Op, error) {
	var inForce v1alpha1.PolicyRolloutSpec
	if pointer.Value != nil {
		if err := json.Unmarshal(pointer.Value, &inForce); err != nil {
			return nil, fmt.Errorf("read the pointer of the revision: %w", err)
		}
	}
	slices.SortFunc(sets, func(a, b store.Entry) int { return cmp.Compare(b.Version, a.Version) }) // newest first
	var ops []store.Op
	needed := map[string]bool{}
	bytes := 0
	for i, e := range sets {
		bytes += len(e.Value)
		if (i >= keep || i >= leastKept && bytes > keptBytes) && e.Key != RevisionPrefix+inForce.Hash {
			ops = append(ops, store.Op{Key: e.Key, Check: true, IfVersion: e.Version})
			continue
		}
		var set v1alpha1.PolicyRolloutSpec
		if err := json.Unmarshal(e.Value, &set); err != nil {
			return nil, fmt.Errorf("read %s: %w", e.Key, err)
		}
		for _, p := range set.Pins {
			needed[DocumentPrefix+p.Document] = true
		}
	}
	for _, e := range documents {
		if !needed[e.Key] {
			ops = append(ops, store.Op{Key: e.Key, Check: true, IfVersion: e.Version})
		}
	}
	return ops, nil
}
