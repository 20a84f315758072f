package file_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"meshlite.dev/internal/store"
	"meshlite.dev/internal/store/file"
	"meshlite.dev/internal/store/storetest"
)

func open(t *testing.T, path string) *file.Store {
	t.Helper()
	s, err := file.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, filepath.Join(t.TempDir(), "state.json")) })
}

func TestLocks(t *testing.T) {
	storetest.RunLocker(t, func(t *testing.T) storetest.Locks {
		s := open(t, filepath.Join(t.TempDir(), "state.json"))
		return storetest.Locks{Open: func(*testing.T) store.Locker { return s }}
	})
}

func TestFences(t *testing.T) {
	storetest.RunFencer(t, func(t *testing.T) storetest.Fenced { return open(t, filepath.Join(t.TempDir(), "state.json")) })
}

func TestARestartFindsEverythingWithItsVersions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	s := open(t, path)
	if err := s.Commit(t.Context(), store.Op{Key: "a", Value: []byte(`{"x":1}`)}, store.Op{Key: "b", Value: []byte{0, 1}}); err != nil {
		t.Fatal(err)
	}
	before, _ := s.List(t.Context(), "")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	after, err := open(t, path).List(t.Context(), "")
	if err != nil || len(after) != 2 {
		t.Fatalf("List = %v, %v", after, err)
	}
	for i := range after {
		if after[i].Key != before[i].Key || after[i].Version != before[i].Version || !bytes.Equal(after[i].Value, before[i].Value) {
			t.Errorf("after the restart %v, before %v", after[i], before[i])
		}
	}
}

func TestASecondServerIsToldThatTheFileIsInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	open(t, path)
	if _, err := file.Open(path); !errors.Is(err, file.ErrLocked) {
		t.Fatalf("Open = %v, want ErrLocked", err)
	}
}

func TestADamagedFileIsRefusedWithTheWayOut(t *testing.T) {
	for _, tc := range []struct {
		name   string
		damage func([]byte) []byte
		want   string
	}{
		{"cut short", func(b []byte) []byte { return b[:len(b)/2] }, "not a state file"},
		{"edited by hand", func(b []byte) []byte { return bytes.Replace(b, []byte(`"x":1`), []byte(`"x":2`), 1) }, "checksum"},
		{"from a later release", func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"formatVersion":1`), []byte(`"formatVersion":9`), 1)
		}, "formatVersion is 9"},
		{"empty", func([]byte) []byte { return nil }, "not a state file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.json")
			s := open(t, path)
			if err := s.Commit(t.Context(), store.Op{Key: "a", Value: []byte(`{"x":1}`)}); err != nil {
				t.Fatal(err)
			}
			_ = s.Close()
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, tc.damage(raw), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = file.Open(path)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "move the file away") {
				t.Fatalf("Open = %v, want %q and the way out", err, tc.want)
			}
		})
	}
}

func TestAWriteThatFailsLeavesTheOldState(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sub", "state.json")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	if err := s.Commit(t.Context(), store.Op{Key: "a", Value: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), store.Op{Key: "a", Value: []byte("2")}); err == nil {
		t.Fatal("a write without a folder succeeded")
	}
	if e, err := s.Get(t.Context(), "a"); err != nil || string(e.Value) != "1" {
		t.Fatalf("a = %q, %v; want the old value", e.Value, err)
	}
}
