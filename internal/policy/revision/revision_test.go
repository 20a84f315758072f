package revision_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/store"
	"meshlite.dev/internal/store/file"
	"meshlite.dev/internal/store/mem"
)

// doc is a valid document that targets the service of its name.
func doc(name string, attempts int) string {
	return fmt.Sprintf("apiVersion: meshlite.dev/v1alpha1\nkind: ResiliencePolicy\nmetadata: {name: %s}\nspec:\n  targetRefs: [{kind: Service, name: %s}]\n  retry: {attempts: %d}\n", name, name, attempts)
}

// files makes a proposal of files and their texts.
func files(texts ...string) policy.Proposal {
	var parts []policy.Proposal
	for i := 0; i < len(texts); i += 2 {
		parts = append(parts, policy.Decode(texts[i], []byte(texts[i+1])))
	}
	return policy.Join(parts...)
}

func pins(r policy.Revision) string {
	var out []string
	for _, d := range r.Documents {
		out = append(out, fmt.Sprintf("%s=%d", d.Ref(), *d.Resilience.Retry.Attempts))
	}
	return strings.Join(out, " ")
}

// onBoth runs a test on every store; reopen is the store after a restart.
func onBoth(t *testing.T, test func(t *testing.T, s store.Store, reopen func() store.Store)) {
	t.Run("mem", func(t *testing.T) {
		s := mem.New()
		test(t, s, func() store.Store { return s })
	})
	t.Run("file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "state.json")
		s, err := file.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		test(t, s, func() store.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = file.Open(path); err != nil {
				t.Fatal(err)
			}
			return s
		})
	})
}

func propose(t *testing.T, k *revision.Keeper, p policy.Proposal) policy.Revision {
	t.Helper()
	rev, err := k.Propose(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// TestHistory walks a folder's life, with a restart after each step.
func TestHistory(t *testing.T) {
	onBoth(t, func(t *testing.T, s store.Store, reopen func() store.Store) {
		k := revision.New(s)
		if _, ok, err := k.Load(t.Context()); ok || err != nil {
			t.Fatalf("an empty store holds a revision: %v", err)
		}
		for i, step := range []struct {
			what    string
			propose policy.Proposal
			pins    string
			number  uint64
			changed int
			refused int
		}{
			{"nothing is an answer", files(), "", 1, 0, 0},
			{"two documents", files("a.yaml", doc("a", 1), "b.yaml", doc("b", 1)), "rp/default/a@1=1 rp/default/b@1=1", 2, 2, 0},
			{"the same again", files("a.yaml", doc("a", 1), "b.yaml", doc("b", 1)), "rp/default/a@1=1 rp/default/b@1=1", 2, 0, 0},
			{"only the layout changes", files("a.yaml", "# new\n"+doc("a", 1), "c.yaml", doc("b", 1)), "rp/default/a@1=1 rp/default/b@1=1", 2, 0, 0},
			{"one changes", files("a.yaml", doc("a", 2), "b.yaml", doc("b", 1)), "rp/default/a@2=2 rp/default/b@1=1", 3, 1, 0},
			{"one is refused and holds up nobody", files("a.yaml", doc("a", 99), "b.yaml", doc("b", 5)), "rp/default/a@2=2 rp/default/b@2=5", 4, 1, 1},
			{"a file that hides what it holds", files("a.yaml", "{", "b.yaml", doc("b", 5)), "rp/default/a@2=2 rp/default/b@2=5", 4, 0, 1},
			{"a mistyped name is no deletion", files("a.yaml", doc("mesh-default", 2), "b.yaml", doc("b", 5)), "rp/default/a@2=2 rp/default/b@2=5", 4, 0, 1},
			{"the fault is cured", files("a.yaml", doc("a", 3), "b.yaml", doc("b", 5)), "rp/default/a@3=3 rp/default/b@2=5", 5, 1, 0},
			{"one goes", files("b.yaml", doc("b", 5)), "rp/default/b@2=5", 6, 1, 0},
			{"one refused that never was", files("a.yaml", doc("a", 99), "b.yaml", doc("b", 5)), "rp/default/b@2=5", 6, 0, 1},
		} {
			if i > 0 {
				k = revision.New(reopen())
				if _, ok, err := k.Load(t.Context()); !ok || err != nil {
					t.Fatalf("%s: after a restart: %v %v", step.what, ok, err)
				}
			}
			rev := propose(t, k, step.propose)
			if got := pins(rev); got != step.pins || rev.Number != step.number || len(rev.Changed) != step.changed || len(rev.Refused) != step.refused {
				t.Errorf("%s: %s, number %d, changed %v, refused %d; want %s, %d, %d, %d", step.what, got, rev.Number, rev.Changed, len(rev.Refused), step.pins, step.number, step.changed, step.refused)
			}
			again, ok, err := revision.New(s).Load(t.Context())
			if _, isMem := s.(*mem.Store); isMem && (err != nil || !ok || again.Hash != rev.Hash || pins(again) != step.pins) {
				t.Errorf("%s: stored is %s (%v %v)", step.what, pins(again), ok, err)
			}
		}
	})
}

// failing refuses the n-th commit from now on.
type failing struct {
	store.Store
	left int
}

var errDisk = errors.New("disk full")

func (f *failing) Commit(ctx context.Context, ops ...store.Op) error {
	if f.left--; f.left < 0 {
		return errDisk
	}
	return f.Store.Commit(ctx, ops...)
}

// TestAFailedWriteLeavesTheOldRevisionWhole: whichever write fails, a restart
// finds the revision before or the one after, complete.
func TestAFailedWriteLeavesTheOldRevisionWhole(t *testing.T) {
	for n := range 4 {
		inner := mem.New()
		s := &failing{inner, 1 << 30}
		k := revision.New(s)
		before := propose(t, k, files("a.yaml", doc("a", 1)))
		s.left = n
		_, err := k.Propose(t.Context(), files("a.yaml", doc("a", 2), "b.yaml", doc("b", 1)))
		rev, ok, lerr := revision.New(inner).Load(t.Context())
		if lerr != nil || !ok {
			t.Fatalf("write %d: load: %v %v", n, ok, lerr)
		}
		if err != nil && (!errors.Is(err, errDisk) || rev.Hash != before.Hash) {
			t.Errorf("write %d: %v, and in force is %s", n, err, pins(rev))
		}
		if err == nil && pins(rev) != "rp/default/a@2=2 rp/default/b@1=1" {
			t.Errorf("write %d: in force is %s", n, pins(rev))
		}
	}
}

// TestTwoKeepersAgree: two replicas propose by turns on one store; each sees
// what the other decided, and the pointer only moves forward.
func TestTwoKeepersAgree(t *testing.T) {
	s := mem.New()
	one, two := revision.New(s), revision.New(s)
	propose(t, one, files("a.yaml", doc("a", 1)))
	second := propose(t, two, files("a.yaml", doc("a", 2)))
	if second.Number != 2 || pins(second) != "rp/default/a@2=2" {
		t.Errorf("the second keeper: %d %s", second.Number, pins(second))
	}
	third := propose(t, one, files("a.yaml", doc("a", 2)))
	if third.Number != 2 || third.Hash != second.Hash || len(third.Changed) != 1 {
		t.Errorf("the first keeper learns: %d %s changed %v", third.Number, pins(third), third.Changed)
	}
}

// TestOldRevisionsGo: a hundred are kept, and what came since the last sweep, and no
// document that none of them pins.
func TestOldRevisionsGo(t *testing.T) {
	s := mem.New()
	k := revision.New(s)
	for i := range 240 {
		propose(t, k, files("a.yaml", doc("a", i%9), "b.yaml", doc("b", 1)))
		if err := k.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for prefix, most := range map[string]int{"revisions/": 108, "documents/": 12} {
		entries, err := s.List(t.Context(), prefix)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) > most || len(entries) == 0 {
			t.Errorf("%d entries under %s, want at most %d", len(entries), prefix, most)
		}
	}
	if rev, ok, err := revision.New(s).Load(t.Context()); err != nil || !ok || len(rev.Documents) != 2 {
		t.Errorf("in force after the clean-up: %s %v %v", pins(rev), ok, err)
	}
}

// TestP5RevisionsAreAddressedByContent: the order of files and their names do
// not change what is in force.
func TestP5RevisionsAreAddressedByContent(t *testing.T) {
	texts := []string{"a.yaml", doc("a", 1), "b.yaml", doc("b", 2), "c.yaml", doc("c", 3)}
	want := revision.Decide(policy.Revision{}, files(texts...)).Hash
	turned := slices.Concat(texts[4:], texts[:4])
	if got := revision.Decide(policy.Revision{}, files(turned...)).Hash; got != want {
		t.Error("another order gives another hash")
	}
	all := doc("a", 1) + "---\n" + doc("b", 2) + "---\n" + doc("c", 3)
	if got := revision.Decide(policy.Revision{}, files("all.yaml", all)).Hash; got != want {
		t.Error("one file gives another hash than three")
	}
}

// TestADamagedStoreIsAnError and no half of a revision.
func TestADamagedStoreIsAnError(t *testing.T) {
	s := mem.New()
	propose(t, revision.New(s), files("a.yaml", doc("a", 1)))
	entries, err := s.List(t.Context(), "documents/")
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d documents: %v", len(entries), err)
	}
	if err := s.Commit(t.Context(), store.Op{Key: entries[0].Key}); err != nil {
		t.Fatal(err)
	}
	if rev, ok, err := revision.New(s).Load(t.Context()); err == nil || ok || !strings.Contains(err.Error(), "default/a") {
		t.Errorf("loaded %s, %v, %v", pins(rev), ok, err)
	}
}
