// Package stored keeps the journal in a store.Store, for one of several replicas:
// the one that holds a lock, whose fence every write passes. In Consul that is a
// compare-and-set of each record and check-session in the same transaction.
package stored

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"meshlite.dev/internal/store"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/journal"
)

// One commit has at most as much as a transaction of Consul takes, with the
// largest record there is.
const (
	maxRecords = 100
	maxBytes   = 352_000
	tries      = 4 // of a commit whose predecessor was applied although it failed
)

// Journal implements journal.Journal: the last term, in digits, under PREFIX/term,
// and a record, as journal.Encode gives it, under PREFIX/tx/ID.
type Journal struct {
	store  store.Store
	fence  store.Fence
	prefix string
	term   uint64
	stored map[txn.ID]image
}

// image is what a key had when it was last seen.
type image struct {
	version uint64
	raw     []byte
}

var _ journal.Journal = (*Journal)(nil)

// New returns a handle for the holder of a lock; the fence is that of its hold.
func New(s store.Store, f store.Fence, prefix string) *Journal {
	return &Journal{store: s, fence: f, prefix: prefix, stored: map[txn.ID]image{}}
}

func (j *Journal) key(id txn.ID) string { return j.prefix + "/tx/" + string(id) }

// Recover implements journal.Journal.
func (j *Journal) Recover(ctx context.Context) (uint64, []txn.Record, error) {
	term, err := j.nextTerm(ctx)
	if err != nil {
		return 0, nil, fmt.Errorf("take the next term of %s: %w", j.prefix, fenced(err))
	}
	entries, err := j.store.List(ctx, j.key(""))
	if err != nil {
		return 0, nil, fmt.Errorf("recover the journal in %s: %w", j.prefix, err)
	}
	var records []txn.Record
	for _, e := range entries {
		r, err := journal.Decode(e.Value)
		if err == nil && j.key(r.ID) != e.Key {
			err = fmt.Errorf("%w: it is that of %s", journal.ErrDamaged, r.ID)
		}
		if err != nil {
			return 0, nil, fmt.Errorf("read %s: %w", e.Key, err)
		}
		records, j.stored[r.ID] = append(records, r), image{e.Version, e.Value}
	}
	j.term = term
	return term, records, nil
}

func (j *Journal) nextTerm(ctx context.Context) (uint64, error) {
	key := j.prefix + "/term"
	e, err := j.store.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	last := uint64(0)
	if err == nil {
		if last, err = strconv.ParseUint(string(e.Value), 10, 63); err != nil {
			return 0, fmt.Errorf("%s is %.40q: must be a number", key, e.Value)
		}
	}
	_, err = j.fence.Commit(ctx, store.Op{Key: key, Value: strconv.AppendUint(nil, last+1, 10), Check: true, IfVersion: e.Version})
	return last + 1, err
}

// fenced says in the journal's word that nothing more will be written.
func fenced(err error) error {
	if errors.Is(err, store.ErrLost) || errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("%w: %w", journal.ErrFenced, err)
	}
	return err
}

// Append implements journal.Journal.
func (j *Journal) Append(ctx context.Context, records ...txn.Record) error {
	for len(records) > 0 {
		n, err := j.append(ctx, records)
		if err != nil {
			return fmt.Errorf("append to the journal in %s: %w", j.prefix, fenced(err))
		}
		records = records[n:]
	}
	return nil
}

// append writes as many records as fit one commit. A conflict may be the fruit
// of an earlier commit that seemed to fail: then what is stored is read again.
func (j *Journal) append(ctx context.Context, records []txn.Record) (n int, err error) {
	for range tries {
		var ops []store.Op
		if ops, n, err = j.ops(records); err != nil || len(ops) == 0 {
			return n, err
		}
		version, fault := j.fence.Commit(ctx, ops...)
		if err = fault; err == nil {
			j.note(records[:n], ops, version)
			return n, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return 0, err
		}
		if fault := j.look(ctx, records[:n]); fault != nil {
			return 0, fault
		}
	}
	return 0, err
}

// ops are the writes of the first n records; none for those that are there.
func (j *Journal) ops(records []txn.Record) (ops []store.Op, n int, err error) {
	bytes := 0
	for _, r := range records {
		old := j.stored[r.ID]
		raw, there, err := journal.Admit(j.term, old.raw, r)
		if err != nil {
			return nil, 0, err
		}
		if !there {
			bytes += len(raw) + len(j.key(r.ID))
			if len(ops) == maxRecords || len(ops) > 0 && bytes > maxBytes {
				return ops, n, nil
			}
			ops = append(ops, store.Op{Key: j.key(r.ID), Value: raw, Check: true, IfVersion: old.version})
		}
		n++
	}
	return ops, n, nil
}

func (j *Journal) note(records []txn.Record, ops []store.Op, version uint64) {
	for _, r := range records {
		key := j.key(r.ID)
		if i := slices.IndexFunc(ops, func(o store.Op) bool { return o.Key == key }); i >= 0 {
			j.stored[r.ID] = image{version, ops[i].Value}
		}
	}
}

// look reads what is stored of records.
func (j *Journal) look(ctx context.Context, records []txn.Record) error {
	for _, r := range records {
		e, err := j.store.Get(ctx, j.key(r.ID))
		switch {
		case errors.Is(err, store.ErrNotFound):
			delete(j.stored, r.ID)
		case err != nil:
			return err
		default:
			j.stored[r.ID] = image{e.Version, e.Value}
		}
	}
	return nil
}

// Forget implements journal.Journal.
func (j *Journal) Forget(ctx context.Context, ids ...txn.ID) error {
	for some := range slices.Chunk(ids, maxRecords) {
		ops := make([]store.Op, len(some))
		for i, id := range some {
			ops[i].Key = j.key(id)
		}
		if _, err := j.fence.Commit(ctx, ops...); err != nil {
			return fmt.Errorf("forget in the journal in %s: %w", j.prefix, fenced(err))
		}
		for _, id := range some {
			delete(j.stored, id)
		}
	}
	return nil
}
