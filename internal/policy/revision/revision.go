// Package revision decides which policies are in force. Carriers propose whole
// sets of documents; a Keeper pins each to its newest acceptable version,
// stores versions and revision under the hashes of their content, and moves
// one pointer by compare-and-set. A restart at any moment finds exactly one
// revision in force, complete.
//
// Keys in the store, with the specs of package v1alpha1 as their values; in
// Kubernetes they are objects of these kinds:
//
//	documents/<hash>   PolicyRevisionSpec: one version of a document
//	revisions/<hash>   PolicyRolloutSpec with pins: a revision
//	revision           PolicyRolloutSpec with hash: the pointer
package revision

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/store"
)

// Builder is the version of the road from documents to Envoy messages. It is
// part of the pointer, so that replicas of two releases can tell each other's.
const Builder = "1"

// Keys in the store.
const (
	PointerKey     = "revision"
	RevisionPrefix = "revisions/"
	DocumentPrefix = "documents/"
)

const maxTries = 10 // of a lost compare-and-set

// Keeper owns the revision in force. Its methods may be called by any
// goroutine, one at a time does the work.
type Keeper struct {
	store  store.Store
	decode func(source string, canonical []byte) (*policy.Document, error)

	mu      sync.Mutex
	current policy.Revision // given to the caller last
	loaded  bool
	known   base // what the pointer named when it was last read or moved
	unswept int  // writes of revisions since the last sweep
	keep    int  // revisions that a sweep leaves
}

// New returns a keeper over s. It reads nothing yet.
func New(s store.Store) *Keeper {
	return &Keeper{store: s, decode: policy.DecodeCanonical, unswept: sweepEvery, keep: keptRevisions}
}

// Load returns the revision in force; ok is false when none was ever stored.
// Changed names every document. An error means that the store cannot be read
// or holds less than it should.
func (k *Keeper) Load(ctx context.Context) (rev policy.Revision, ok bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b, _, ok, err := k.read(ctx)
	if err != nil || !ok {
		return policy.Revision{}, false, err
	}
	rev = b.revision
	rev.Changed, rev.Refused = changed(policy.Revision{}, rev), nil
	k.current, k.loaded = rev, true
	return rev, true, nil
}

// Propose decides on a carrier's whole set and returns the revision then in
// force: unchanged documents keep their generation, changed ones count one up,
// refused ones stay pinned, absent ones go. Proposing the same again changes
// nothing.
func (k *Keeper) Propose(ctx context.Context, p policy.Proposal) (policy.Revision, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for range maxTries {
		rev, err := k.try(ctx, p)
		if !errors.Is(err, store.ErrConflict) {
			return rev, err
		}
	}
	return policy.Revision{}, fmt.Errorf("move the pointer of the revision: %w, %d times", store.ErrConflict, maxTries)
}

func (k *Keeper) try(ctx context.Context, p policy.Proposal) (policy.Revision, error) {
	stored, entry, ok, err := k.read(ctx)
	if err != nil {
		return policy.Revision{}, err
	}
	before := stored.revision
	next := Decide(before, p)
	next.Changed = changed(k.seen(), next)
	if ok && next.Hash == before.Hash {
		next.Number = before.Number
		k.current, k.loaded = next, true
		return next, nil
	}
	if err := k.held(ctx); err != nil {
		return policy.Revision{}, err
	}
	next.Number = before.Number + 1
	ops, err := records(next, stored.stored)
	if err != nil {
		return policy.Revision{}, err
	}
	ops[len(ops)-1].Check, ops[len(ops)-1].IfVersion = true, entry.Version
	k.unswept++ // also where it comes to nothing
	if err := k.store.Commit(ctx, append([]store.Op{unfrozen()}, ops...)...); err != nil {
		return policy.Revision{}, fmt.Errorf("store revision %d: %w", next.Number, err)
	}
	k.current, k.loaded, k.known = next, true, newBase(next)
	return next, nil
}

// Copy stores a revision that another keeper decided, as it is: last known good
// beside a store that may not answer at the next start.
func (k *Keeper) Copy(ctx context.Context, rev policy.Revision) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	ops, err := records(rev, nil)
	if err != nil {
		return err
	}
	if err := k.store.Commit(ctx, ops...); err != nil {
		return fmt.Errorf("copy revision %d: %w", rev.Number, err)
	}
	k.known = newBase(rev)
	k.unswept++
	return nil
}

// seen is what the caller was last given: Changed counts from there, whatever
// another replica did meanwhile.
func (k *Keeper) seen() policy.Revision {
	if k.loaded {
		return k.current
	}
	return policy.Revision{}
}

// Decide is the whole rule, without a store: what is in force after p was
// proposed over before.
func Decide(before policy.Revision, p policy.Proposal) policy.Revision {
	old := map[policy.Key]*policy.Document{}
	for _, d := range before.Documents {
		old[d.Key] = d
	}
	pins := map[policy.Key]*policy.Document{}
	for _, d := range p.Documents {
		pins[d.Key] = version(old[d.Key], d)
	}
	held := policy.Holding(p.Refused)
	for key, d := range old {
		if _, proposed := pins[key]; !proposed && held(d) {
			pins[key] = d
		}
	}
	next := policy.Revision{Refused: p.Refused}
	for _, d := range pins {
		next.Documents = append(next.Documents, d)
	}
	slices.SortFunc(next.Documents, byKey)
	next.Hash = hashOf(next.Documents)
	return next
}

func byKey(a, b *policy.Document) int { return strings.Compare(a.Key.String(), b.Key.String()) }

// version gives d its generation: the carrier's own where it has one, else a
// count of the changes.
func version(old, d *policy.Document) *policy.Document {
	next := *d
	switch {
	case d.Generation > 0:
	case old == nil:
		next.Generation = 1
	case old.Hash == d.Hash:
		next.Generation = old.Generation
	default:
		next.Generation = old.Generation + 1
	}
	return &next
}

func hashOf(docs []*policy.Document) string {
	h := sha256.New()
	for _, d := range docs {
		fmt.Fprintf(h, "%s %d %s\n", d.Key, d.Generation, d.Hash)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// changed names the documents that differ between two revisions, sorted.
func changed(before, after policy.Revision) []policy.Key {
	old := map[policy.Key]*policy.Document{}
	for _, d := range before.Documents {
		old[d.Key] = d
	}
	var keys []policy.Key
	for _, d := range after.Documents {
		if o := old[d.Key]; o == nil || o.Hash != d.Hash || o.Generation != d.Generation {
			keys = append(keys, d.Key)
		}
		delete(old, d.Key)
	}
	for key := range old {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b policy.Key) int { return strings.Compare(a.String(), b.String()) })
	return keys
}
