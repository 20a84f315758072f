package bolt_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/journal"
	"meshlite.dev/internal/txn/journal/bolt"
	"meshlite.dev/internal/txn/journal/journaltest"
)

func open(t *testing.T, path string) *bbolt.DB {
	t.Helper()
	db, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

type file struct{ db *bbolt.DB }

func (f file) Open() journal.Journal { return bolt.New(f.db, nil) }

func TestContract(t *testing.T) {
	journaltest.Run(t, func(t *testing.T) journaltest.Content {
		return file{open(t, filepath.Join(t.TempDir(), "transactions.db"))}
	})
}

func fill(t *testing.T, path string, n int) (want []txn.Record) {
	t.Helper()
	db := open(t, path)
	j := bolt.New(db, nil)
	term, _, err := j.Recover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		r := journaltest.Full(term)
		r.ID = txn.ID(fmt.Sprintf("t%03d", i))
		want = append(want, r)
	}
	if err := errors.Join(j.Append(t.Context(), want...), db.Close()); err != nil {
		t.Fatal(err)
	}
	return want
}

func TestARestartFindsEverythingAndTheNextTerm(t *testing.T) {
	path := filepath.Join(t.TempDir(), "transactions.db")
	want := fill(t, path, 10)
	term, got, err := bolt.New(open(t, path), nil).Recover(t.Context())
	if err != nil || term != 2 || !reflect.DeepEqual(got, want) {
		t.Fatalf("Recover = %d, %d records, %v", term, len(got), err)
	}
}

func TestASecondProcessIsTurnedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "transactions.db")
	open(t, path)
	if _, err := bolt.Open(path); !errors.Is(err, bolt.ErrLocked) {
		t.Fatalf("Open = %v, want ErrLocked", err)
	}
}

func TestAFolderThatIsMissingIsNamed(t *testing.T) {
	_, err := bolt.Open(filepath.Join(t.TempDir(), "none", "transactions.db"))
	if !errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), "restore") {
		t.Fatalf("Open = %v", err)
	}
}

func TestWhatIsNoJournalIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "transactions.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a journal\n", 5_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bolt.Open(path); err == nil || !strings.Contains(err.Error(), "restore it from a copy") {
		t.Fatalf("Open = %v", err)
	}
}

// TestDamagedFilesAreNotTakenForWhole cuts a file short, and overwrites parts of
// it at random: the process lives, and no record comes back changed.
func TestDamagedFilesAreNotTakenForWhole(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.db")
	want := map[txn.ID]txn.Record{}
	for _, r := range fill(t, whole, 60) {
		want[r.ID] = r
	}
	raw, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	refused, path := 0, filepath.Join(dir, "damaged.db")
	try := func(what string, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := recovered(t, path)
		if err != nil {
			refused++
			return
		}
		for _, r := range got {
			if !reflect.DeepEqual(r, want[r.ID]) {
				t.Errorf("seed %d: with %s, %s comes back changed", seed, what, r.ID)
			}
		}
	}
	for n := 1; n < len(raw); n += 1_777 {
		try(fmt.Sprint("the first bytes alone: ", n), raw[:n])
	}
	cuts := refused
	for range 150 {
		b := append([]byte(nil), raw...)
		at := random.IntN(len(b) - 64)
		for i := range 1 + random.IntN(64) {
			b[at+i] = byte(random.Uint32())
		}
		try(fmt.Sprint("other bytes at ", at), b)
	}
	if cuts < 10 || refused-cuts < 10 {
		t.Errorf("seed %d: only %d cut and %d changed files were refused", seed, cuts, refused-cuts)
	}
}

func recovered(t *testing.T, path string) ([]txn.Record, error) {
	db, err := bolt.Open(path)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	_, records, err := bolt.New(db, nil).Recover(t.Context())
	return records, err
}

func TestAnotherFormatIsNamed(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "transactions.db"))
	err := db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("transactions-meta"))
		return errors.Join(err, b.Put([]byte("format"), binary.BigEndian.AppendUint64(nil, 2)))
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := bolt.New(db, nil).Recover(t.Context()); err == nil || !strings.Contains(err.Error(), "format is 2, this release reads 1") {
		t.Fatalf("Recover = %v", err)
	}
}

// TestWhatIsDoneAlsoSharesTheFate of the records: both or neither.
func TestWhatIsDoneAlsoSharesTheFate(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "transactions.db"))
	full := errors.New("the outbox is full")
	var fail error
	j := bolt.New(db, func(tx *bbolt.Tx, records []txn.Record) error {
		b, err := tx.CreateBucketIfNotExists([]byte("outbox"))
		if err == nil {
			err = b.Put([]byte(records[0].ID), []byte(records[0].Status()))
		}
		return errors.Join(err, fail)
	})
	term, _, err := j.Recover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append(t.Context(), journaltest.Record("a", term, 1)); err != nil {
		t.Fatal(err)
	}
	fail = full
	if err := j.Append(t.Context(), journaltest.Record("b", term, 1)); !errors.Is(err, full) {
		t.Fatalf("Append = %v", err)
	}
	_, records, err := bolt.New(db, nil).Recover(t.Context())
	if err != nil || len(records) != 1 {
		t.Fatalf("Recover = %v, %v", records, err)
	}
	_ = db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("outbox"))
		if string(b.Get([]byte("a"))) != "PENDING" || b.Get([]byte("b")) != nil {
			t.Error("the outbox does not have what the journal has")
		}
		return nil
	})
}
