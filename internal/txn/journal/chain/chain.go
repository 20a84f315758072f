// Package chain keeps the journal in a store.Store that changes one key at a time,
// such as that of Kubernetes, for one of several replicas. It needs no fence of the
// store: each write of records is a batch under a key of its own, which names the
// batch before it, and counts once the head names it. The head has the term, and is
// moved by compare-and-set alone. So who recovers, and thereby changes the head, shuts
// out every earlier handle, whatever it believes of its lock; what one of those left
// behind is in no chain, and means nothing. The main type is [Journal].
package chain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"meshlite.dev/internal/store"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/journal"
)

// A batch has at most as much as an object of Kubernetes takes in base64, with the
// largest record there is.
const (
	maxRecords = 100
	maxBytes   = 352_000
	maxForget  = 1_000
	tries      = 4 // of a commit whose predecessor was applied although it failed
)

// Journal implements journal.Journal: the head under PREFIX/head, batches under
// PREFIX/log/NAME.
type Journal struct {
	store  store.Store
	prefix string
	term   uint64

	last    string             // the batch that the head names; "": none
	version uint64             // of the head
	stale   bool               // it is not known
	unsure  map[string]attempt // that may have been applied, by the batch that the head would name
	named   uint64             // batches so far; no name comes twice

	live    map[txn.ID][]byte // the newest record of each
	chain   []string          // batches, the first one first
	bytes   int               // of the records of the chain
	base    int               // batches that it had when it was made anew
	tidyAt  int               // batches, from which on that is tried again
	garbage []string          // batches that are in no chain
}

// head is the value of the head's key.
type head struct {
	Version int    `json:"version"`
	Term    uint64 `json:"term"`
	Last    string `json:"last,omitempty"`
}

var _ journal.Journal = (*Journal)(nil)

// New returns a handle. Its user holds a lock that keeps others from recovering
// without need; nothing is lost where two believe that they do.
func New(s store.Store, prefix string) *Journal {
	return &Journal{store: s, prefix: prefix, unsure: map[string]attempt{}, live: map[txn.ID][]byte{}}
}

func (j *Journal) headKey() string             { return j.prefix + "/head" }
func (j *Journal) batchKey(name string) string { return j.prefix + "/log/" + name }

// Recover implements journal.Journal.
func (j *Journal) Recover(ctx context.Context) (uint64, []txn.Record, error) {
	if err := j.claim(ctx); err != nil {
		return 0, nil, fmt.Errorf("take the next term of %s: %w", j.prefix, err)
	}
	if err := j.read(ctx); err != nil {
		return 0, nil, fmt.Errorf("recover the journal in %s: %w", j.prefix, err)
	}
	var records []txn.Record
	for _, id := range slices.Sorted(maps.Keys(j.live)) {
		r, err := journal.Decode(j.live[id]) // read has seen it
		if err != nil {
			return 0, nil, err
		}
		records = append(records, r)
	}
	return j.term, records, nil
}

// claim takes the next term. The chain of the last one goes on.
func (j *Journal) claim(ctx context.Context) (err error) {
	for range tries {
		h, version, fault := j.readHead(ctx)
		if fault != nil {
			return fault
		}
		h.Term++
		if err = j.writeHead(ctx, h, version); err == nil {
			j.term, j.last, j.stale = h.Term, h.Last, true
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", journal.ErrFenced, err)
}

func (j *Journal) readHead(ctx context.Context) (h head, version uint64, err error) {
	e, err := j.store.Get(ctx, j.headKey())
	if errors.Is(err, store.ErrNotFound) {
		return head{}, 0, nil
	}
	if err != nil {
		return h, 0, err
	}
	if err := json.Unmarshal(e.Value, &h); err != nil {
		return h, 0, fmt.Errorf("%s: %w: %w", j.headKey(), journal.ErrDamaged, err)
	}
	if h.Version != layout {
		return h, 0, fmt.Errorf("%s has version %d, this release reads %d", j.headKey(), h.Version, layout)
	}
	return h, e.Version, nil
}

func (j *Journal) writeHead(ctx context.Context, h head, version uint64) error {
	h.Version = layout
	raw, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return j.store.Commit(ctx, store.Op{Key: j.headKey(), Value: raw, Check: true, IfVersion: version})
}

// read follows the chain from its end, and takes it in from its beginning.
func (j *Journal) read(ctx context.Context) error {
	entries, err := j.store.List(ctx, j.batchKey(""))
	if err != nil {
		return err
	}
	all := map[string]batch{}
	for _, e := range entries {
		all[strings.TrimPrefix(e.Key, j.batchKey(""))] = batch{raw: e.Value}
	}
	var chain []batch
	for name := j.last; name != ""; {
		b, ok := all[name]
		if !ok {
			return fmt.Errorf("%w: %s is missing, or comes twice", journal.ErrDamaged, j.batchKey(name))
		}
		if b, err = decode(b.raw); err != nil {
			return fmt.Errorf("%s: %w", j.batchKey(name), err)
		}
		delete(all, name)
		b.name, name = name, b.Prev
		chain = append(chain, b)
	}
	for _, b := range slices.Backward(chain) {
		j.take(b)
	}
	j.garbage = slices.Sorted(maps.Keys(all))
	return nil
}

// Append implements journal.Journal.
func (j *Journal) Append(ctx context.Context, records ...txn.Record) error {
	for len(records) > 0 {
		n, err := j.commit(ctx, func() (attempt, int, error) { return j.records(records) })
		if err != nil {
			return fmt.Errorf("append to the journal in %s: %w", j.prefix, err)
		}
		records = records[n:]
	}
	return nil
}

// records is an attempt at the first n; without a batch where they are there.
func (j *Journal) records(records []txn.Record) (a attempt, n int, err error) {
	var b batch
	bytes := 0
	for _, r := range records {
		raw, there, err := journal.Admit(j.term, j.live[r.ID], r)
		if err != nil {
			return a, 0, err
		}
		if !there {
			if bytes += len(raw); len(b.records) == maxRecords || len(b.records) > 0 && bytes > maxBytes {
				break
			}
			b.add(r.ID, raw)
		}
		n++
	}
	if len(b.records) > 0 {
		a.batches = []batch{b}
	}
	return a, n, nil
}

// Forget implements journal.Journal.
func (j *Journal) Forget(ctx context.Context, ids ...txn.ID) error {
	for len(ids) > 0 {
		n, err := j.commit(ctx, func() (attempt, int, error) { return j.without(ids) })
		if err != nil {
			return fmt.Errorf("forget in the journal in %s: %w", j.prefix, err)
		}
		ids = ids[n:]
	}
	return nil
}

func (j *Journal) without(ids []txn.ID) (a attempt, n int, err error) {
	if j.term == 0 {
		return a, 0, journal.ErrFenced
	}
	n = min(len(ids), maxForget)
	var b batch
	for _, id := range ids[:n] {
		if _, ok := j.live[id]; ok {
			b.Forget = append(b.Forget, id)
		}
	}
	if len(b.Forget) > 0 {
		a.batches = []batch{b}
	}
	return a, n, nil
}
