// Package boltfile opens bbolt files so that one which is damaged, or in use by
// another process, is an error and never a crash.
package boltfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// ErrLocked reports that another process uses the file.
var ErrLocked = errors.New("in use by another process")

// lockWait is how long Open waits for another process to let the file go, as
// one that is being replaced does.
const lockWait = time.Second

// Open opens the file at path, and makes it where there is none; its folder must
// exist. Only one process may hold it: a second gets ErrLocked. A file that is
// damaged is refused, with the way out, advice, in the error.
func Open(path, advice string) (*bbolt.DB, error) {
	if err := ensure(path); err != nil {
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	db, err := open(path)
	if err == nil {
		if err = sound(db); err == nil {
			return db, nil
		}
		err = errors.Join(err, db.Close())
	}
	var system *fs.PathError
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("open %s: %w", path, ErrLocked)
	case errors.As(err, &system):
		return nil, err // names the file
	}
	return nil, fmt.Errorf("open %s: %w; %s", path, err, advice)
}

// ensure makes an empty file, whole or not at all: a crash leaves no half of one.
func ensure(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // path is a name of its own by then
	if err := tmp.Close(); err != nil {
		return err
	}
	db, err := open(tmp.Name())
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func open(path string) (db *bbolt.DB, err error) {
	var file *os.File
	defer func() {
		if err != nil && file != nil {
			// bbolt did, unless it panicked. The lock would stay with the mapping.
			_ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN)
			_ = file.Close()
		}
	}()
	defer Caught(&err)()
	return bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: lockWait, FreelistType: bbolt.FreelistMapType,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
	})
}

// sound reads everything once. bbolt's own check runs in a goroutine where a
// fault would end the process.
func sound(db *bbolt.DB) (err error) {
	defer Caught(&err)()
	return db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			if err := walk(b); err != nil {
				return fmt.Errorf("bucket %q: %w", name, err)
			}
			return nil
		})
	})
}

func walk(b *bbolt.Bucket) error {
	return b.ForEach(func(key, value []byte) error {
		if value != nil {
			return nil
		}
		inner := b.Bucket(key)
		if inner == nil {
			return errors.New("a bucket that is none")
		}
		return walk(inner)
	})
}

// Caught turns the panics and page faults that bbolt has for a file which was
// cut or overwritten into errors, when what it returns is deferred.
func Caught(err *error) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		if p := recover(); p != nil {
			*err = fmt.Errorf("its pages are damaged: %v", p)
		}
	}
}

// Number reads what Bytes wrote; 0 where b is no such thing, nil say.
func Number(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// Bytes are those of a number in a bucket: 8, big endian, so that keys sort as
// numbers do.
func Bytes(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }
