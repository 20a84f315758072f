// Package bolt keeps the journal in a bbolt file: for one replica, or embedded.
package bolt

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"meshlite.dev/internal/store/boltfile"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/journal"
)

// The file's layout, version 1: bucket "transactions-meta" has "format" (the
// version) and "term" (the last one taken), each 8 bytes, big endian; bucket
// "transactions" has a record, as journal.Encode gives it, under each ID.
var (
	metaBucket    = []byte("transactions-meta")
	recordsBucket = []byte("transactions")
	formatKey     = []byte("format")
	termKey       = []byte("term")
)

const formatVersion = 1

// Also does more in the transaction that makes records durable, such as the
// outbox row of their event. Its error undoes the whole.
type Also func(tx *bbolt.Tx, records []txn.Record) error

// Journal implements journal.Journal in a file that others may use too.
type Journal struct {
	db   *bbolt.DB
	also Also
	term uint64
}

var _ journal.Journal = (*Journal)(nil)

// ErrLocked reports that another process uses the file.
var ErrLocked = boltfile.ErrLocked

const advice = "restore it from a copy, or move it away to start without it (transactions that it holds then read ROLLED_BACK, also where they were committed)"

// Open opens the file of a journal at path, as boltfile.Open does.
func Open(path string) (*bbolt.DB, error) {
	db, err := boltfile.Open(path, advice)
	if err != nil {
		return nil, fmt.Errorf("open a journal: %w", err)
	}
	return db, nil
}

// New returns a handle on the journal in db; also may be nil.
func New(db *bbolt.DB, also Also) *Journal { return &Journal{db: db, also: also} }

// Recover implements journal.Journal.
func (j *Journal) Recover(context.Context) (uint64, []txn.Record, error) {
	term, records, err := j.recover()
	if err != nil {
		return 0, nil, fmt.Errorf("recover the journal in %s: %w", j.db.Path(), err)
	}
	j.term = term
	return term, records, nil
}

func (j *Journal) recover() (term uint64, records []txn.Record, err error) {
	defer boltfile.Caught(&err)()
	err = j.db.Update(func(tx *bbolt.Tx) (err error) {
		if term, err = nextTerm(tx); err == nil {
			records, err = load(tx)
		}
		return err
	})
	return term, records, err
}

func nextTerm(tx *bbolt.Tx) (uint64, error) {
	meta, err := tx.CreateBucketIfNotExists(metaBucket)
	if err != nil {
		return 0, err
	}
	if v := boltfile.Number(meta.Get(formatKey)); v != formatVersion && v != 0 {
		return 0, fmt.Errorf("its format is %d, this release reads %d", v, formatVersion)
	}
	term := boltfile.Number(meta.Get(termKey)) + 1
	return term, errors.Join(meta.Put(formatKey, boltfile.Bytes(formatVersion)), meta.Put(termKey, boltfile.Bytes(term)))
}

func load(tx *bbolt.Tx) (records []txn.Record, err error) {
	bucket, err := tx.CreateBucketIfNotExists(recordsBucket)
	if err != nil {
		return nil, err
	}
	err = bucket.ForEach(func(id, raw []byte) error {
		r, err := journal.Decode(raw)
		if err == nil && string(r.ID) != string(id) {
			err = fmt.Errorf("%w: it is that of %s", journal.ErrDamaged, r.ID)
		}
		if err != nil {
			return fmt.Errorf("transaction %.140q: %w", id, err)
		}
		records = append(records, r)
		return nil
	})
	return records, err
}

// Append implements journal.Journal; all records or none.
func (j *Journal) Append(_ context.Context, records ...txn.Record) error {
	return j.update("append to", func(tx *bbolt.Tx, bucket *bbolt.Bucket) error {
		for _, r := range records {
			raw, there, err := journal.Admit(j.term, bucket.Get([]byte(r.ID)), r)
			if err == nil && !there {
				err = bucket.Put([]byte(r.ID), raw)
			}
			if err != nil {
				return err
			}
		}
		if j.also == nil {
			return nil
		}
		return j.also(tx, records)
	})
}

// Forget implements journal.Journal.
func (j *Journal) Forget(_ context.Context, ids ...txn.ID) error {
	return j.update("forget in", func(_ *bbolt.Tx, bucket *bbolt.Bucket) error {
		for _, id := range ids {
			if err := bucket.Delete([]byte(id)); err != nil {
				return err
			}
		}
		return nil
	})
}

// update changes records while the term is this handle's.
func (j *Journal) update(what string, change func(*bbolt.Tx, *bbolt.Bucket) error) error {
	err := j.db.Update(func(tx *bbolt.Tx) error {
		meta, bucket := tx.Bucket(metaBucket), tx.Bucket(recordsBucket)
		if j.term == 0 || meta == nil || bucket == nil || boltfile.Number(meta.Get(termKey)) != j.term {
			return journal.ErrFenced
		}
		return change(tx, bucket)
	})
	if err != nil {
		return fmt.Errorf("%s the journal in %s: %w", what, j.db.Path(), err)
	}
	return nil
}
