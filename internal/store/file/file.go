// Package file is the store of a single replica: one JSON file, replaced as a
// whole. It is written to a temporary file, synced and renamed, so that a crash
// at any moment leaves the old state or the new one.
package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"meshlite.dev/internal/store"
	"meshlite.dev/internal/store/mem"
)

// formatVersion counts changes of the file's layout.
const formatVersion = 1

// ErrLocked reports that another process uses the file.
var ErrLocked = errors.New("in use by another process")

// Store keeps entries in memory and in one file. Close releases the file.
type Store struct {
	path string
	lock *os.File
	mem  *mem.Store
}

var (
	_ store.Store  = (*Store)(nil)
	_ store.Locker = (*Store)(nil)
	_ store.Fencer = (*Store)(nil)
)

// document is the file's layout, stated exactly:
//
//	{"formatVersion": 1, "checksum": "<SHA-256 of entries' bytes, hex>",
//	 "entries": [{"key": "…", "version": 1, "value": "<base64>"}, …]}
//
// Entries stand in byte order of their keys; values that are JSON are kept as
// JSON under "json" instead, so that a person can read the file.
type document struct {
	FormatVersion int             `json:"formatVersion"`
	Checksum      string          `json:"checksum"`
	Entries       json.RawMessage `json:"entries"`
}

type entry struct {
	Key     string          `json:"key"`
	Version uint64          `json:"version"`
	JSON    json.RawMessage `json:"json,omitempty"`
	Value   []byte          `json:"value,omitempty"`
}

// Open reads the file at path, which need not exist; its folder must. Only one
// process may hold it: a second gets ErrLocked. A file that is not what was
// written is refused, with the way out in the error.
func Open(path string) (*Store, error) {
	lock, err := acquire(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	entries, err := read(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w; move the file away to start without it (policies then count generations from 1, and there is no last known good)", path, err), lock.Close())
	}
	return &Store{path: path, lock: lock, mem: mem.Restore(entries)}, nil
}

// Close releases the lock; the file is complete at any time.
func (s *Store) Close() error { return s.lock.Close() }

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) { return s.mem.Get(ctx, key) }

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]store.Entry, error) {
	return s.mem.List(ctx, prefix)
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, ops ...store.Op) error {
	_, err := s.commit(ctx, ops...)
	return err
}

func (s *Store) commit(ctx context.Context, ops ...store.Op) (uint64, error) {
	return s.mem.CommitAfter(ctx, func(all []store.Entry) error { return write(s.path, all) }, ops...)
}

// Hold implements store.Locker. The file has one process, so the lock is among
// its goroutines.
func (s *Store) Hold(ctx context.Context, name string, do func(context.Context)) {
	s.mem.Hold(ctx, name, do)
}

// HoldFenced implements store.Fencer, likewise.
func (s *Store) HoldFenced(ctx context.Context, name string, do func(context.Context, store.Fence)) {
	s.mem.Hold(ctx, name, func(ctx context.Context) { store.Fenced(ctx, s.commit, do) })
}

func acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func read(path string) ([]store.Entry, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("not a state file: %w", err)
	}
	if doc.FormatVersion != formatVersion {
		return nil, fmt.Errorf("formatVersion is %d, this release reads %d", doc.FormatVersion, formatVersion)
	}
	if got := checksum(doc.Entries); got != doc.Checksum {
		return nil, fmt.Errorf("checksum is %.12q, the content has %.12q: the file was cut or edited", doc.Checksum, got)
	}
	var list []entry
	if err := json.Unmarshal(doc.Entries, &list); err != nil {
		return nil, fmt.Errorf("entries: %w", err)
	}
	out := make([]store.Entry, len(list))
	for i, e := range list {
		value := e.Value
		if e.JSON != nil {
			value = e.JSON
		}
		out[i] = store.Entry{Key: e.Key, Value: value, Version: e.Version}
	}
	return out, nil
}

func write(path string, all []store.Entry) error {
	list := make([]entry, len(all))
	for i, e := range all {
		list[i] = entry{Key: e.Key, Version: e.Version}
		if compact(e.Value) {
			list[i].JSON = e.Value
		} else {
			list[i].Value = e.Value
		}
	}
	entries, err := json.Marshal(list)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(document{FormatVersion: formatVersion, Checksum: checksum(entries), Entries: entries})
	if err != nil {
		return err
	}
	if err := replace(path, raw); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// compact reports whether value comes back byte for byte when it is embedded
// in the file as JSON.
func compact(value []byte) bool {
	if !json.Valid(value) {
		return false
	}
	again, err := json.Marshal(json.RawMessage(value))
	return err == nil && string(again) == string(value)
}

func replace(path string, raw []byte) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name()) // the write's own error matters more
		}
	}()
	_, err = tmp.Write(raw)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the rename itself survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func checksum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
