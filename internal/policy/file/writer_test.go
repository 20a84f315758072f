package file_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/file"
	"meshlite.dev/internal/policy/policytest"
)

// TestAFileOfTheOperatorsOwnIsNamed, and left alone, even where it has faults.
func TestAFileOfTheOperatorsOwnIsNamed(t *testing.T) {
	w := &file.Writer{Dir: t.TempDir()}
	write(t, w.Dir, "mine.yaml", document("orders", "many"))
	c := policytest.Put(t, "orders", 1, "")
	if h := policytest.Held(t, w, c.Key); h.Owner != "mine.yaml" || h.Version != "" {
		t.Errorf("held %+v", h)
	}
	for _, c := range []policy.Change{c, {Key: c.Key}} {
		if err := w.Write(t.Context(), []policy.Change{c}); err == nil || !strings.Contains(err.Error(), "stands in mine.yaml, which is yours") {
			t.Errorf("Write = %v", err)
		}
	}
}

// TestWritersTakeTurns: of many that read the same version, one writes.
func TestWritersTakeTurns(t *testing.T) {
	w := &file.Writer{Dir: t.TempDir()}
	var wrote sync.Map
	var g sync.WaitGroup
	for i := range 8 {
		c := policytest.Put(t, "orders", i, policy.Absent)
		g.Go(func() {
			if err := w.Write(t.Context(), []policy.Change{c}); err == nil {
				wrote.Store(i, true)
			} else if !errors.Is(err, policy.ErrChanged) {
				t.Error(err)
			}
		})
	}
	g.Wait()
	n := 0
	wrote.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d of 8 wrote", n)
	}
	left, err := filepath.Glob(filepath.Join(w.Dir, ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestAFolderThatCannotBeWrittenKeepsWhatItHas, every document of the set.
func TestAFolderThatCannotBeWrittenKeepsWhatItHas(t *testing.T) {
	w := &file.Writer{Dir: t.TempDir()}
	c := policytest.Put(t, "orders", 1, "")
	if err := w.Write(t.Context(), []policy.Change{c}); err != nil {
		t.Fatal(err)
	}
	// The second document's name is longer than a file's may be.
	long := policytest.Put(t, "long", 1, "")
	long.Name = strings.Repeat("x", 250)
	if err := w.Write(t.Context(), []policy.Change{policytest.Put(t, "orders", 2, ""), long}); err == nil {
		t.Fatal("it was written")
	}
	if h := policytest.Held(t, w, c.Key); !strings.Contains(string(h.Text), "attempts: 1") {
		t.Errorf("half a change set was written: %s", h.Text)
	}
	entries, err := os.ReadDir(w.Dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}
