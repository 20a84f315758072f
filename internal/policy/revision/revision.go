// Package revision decides which policies are in force. Carriers propose whole
// sets of documents; a Keeper pins each to its newest acceptable version,
// stores versions and revision under the hashes of their content, and moves
// one pointer by compare-and-set. A restart at any moment finds exactly one
// revision in force, complete.
//
// Keys in the store:
//
//	documents/<hash>   one version of a document: {"source", "document"}
//	revisions/<hash>   a revision: {"pins": [{kind, namespace, name, generation, document}]}
//	revision           the pointer: {"hash", "number", "builder"}
package revision

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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

const (
	pointerKey     = "revision"
	revisionPrefix = "revisions/"
	documentPrefix = "documents/"
	keptRevisions  = 10 // older ones are removed
	maxTries       = 10 // of a lost compare-and-set
)

// Keeper owns the revision in force. Its methods may be called by any
// goroutine, one at a time does the work.
type Keeper struct {
	store  store.Store
	decode func(source string, canonical []byte) (*policy.Document, error)

	mu      sync.Mutex
	current policy.Revision
	loaded  bool
}

// New returns a keeper over s. It reads nothing yet.
func New(s store.Store) *Keeper { return &Keeper{store: s, decode: policy.DecodeCanonical} }

type pointer struct {
	Hash    string `json:"hash"`
	Number  uint64 `json:"number"`
	Builder string `json:"builder"`
}

type pin struct {
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
	Generation int64  `json:"generation"`
	Document   string `json:"document"` // hash
}

type revisionRecord struct {
	Pins []pin `json:"pins"`
}

type documentRecord struct {
	Source   string          `json:"source"`
	Document json.RawMessage `json:"document"` // canonical
}

// Load returns the revision in force; ok is false when none was ever stored.
// Changed names every document. An error means that the store cannot be read
// or holds less than it should.
func (k *Keeper) Load(ctx context.Context) (rev policy.Revision, ok bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	rev, _, ok, err = k.read(ctx)
	if err != nil || !ok {
		return policy.Revision{}, false, err
	}
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
	before, entry, ok, err := k.read(ctx)
	if err != nil {
		return policy.Revision{}, err
	}
	next := Decide(before, p)
	next.Changed = changed(k.seen(), next)
	if ok && next.Hash == before.Hash {
		next.Number = before.Number
		k.current, k.loaded = next, true
		return next, nil
	}
	next.Number = before.Number + 1
	ops, err := records(next, before)
	if err != nil {
		return policy.Revision{}, err
	}
	ops[len(ops)-1].Check, ops[len(ops)-1].IfVersion = true, entry.Version
	stale, err := k.garbage(ctx, next)
	if err != nil {
		return policy.Revision{}, err
	}
	if err := k.store.Commit(ctx, append(stale, ops...)...); err != nil {
		return policy.Revision{}, fmt.Errorf("store revision %d: %w", next.Number, err)
	}
	k.current, k.loaded = next, true
	return next, nil
}

// Copy stores a revision that another keeper decided, as it is: last known good
// beside a store that may not answer at the next start.
func (k *Keeper) Copy(ctx context.Context, rev policy.Revision) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	ops, err := records(rev, policy.Revision{})
	if err != nil {
		return err
	}
	stale, err := k.garbage(ctx, rev)
	if err != nil {
		return err
	}
	if err := k.store.Commit(ctx, append(stale, ops...)...); err != nil {
		return fmt.Errorf("copy revision %d: %w", rev.Number, err)
	}
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
	slices.SortFunc(next.Documents, func(a, b *policy.Document) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	next.Hash = hashOf(next.Documents)
	return next
}

func version(old, d *policy.Document) *policy.Document {
	next := *d
	switch {
	case old == nil:
		next.Generation = max(d.Generation, 1)
	case old.Hash == d.Hash:
		next.Generation = old.Generation
	default:
		next.Generation = max(d.Generation, old.Generation+1)
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
