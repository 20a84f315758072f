package stored_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"meshlite.dev/internal/store"
	"meshlite.dev/internal/store/mem"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/journal"
	"meshlite.dev/internal/txn/journal/journaltest"
	"meshlite.dev/internal/txn/journal/stored"
)

// backend is a store with locks whose holders can tie what they write to them.
type backend interface {
	store.Store
	store.Fencer
}

// held gives each coordinator the lock in turn, and takes it from the one before.
type held struct {
	t      *testing.T
	store  backend
	leave  context.CancelFunc
	left   chan struct{}
	broken func(store.Fence) store.Fence // what stands between journal and fence; nil is nothing
}

func newHeld(t *testing.T, s backend) *held {
	h := &held{t: t, store: s, leave: func() {}, left: make(chan struct{})}
	close(h.left)
	t.Cleanup(func() { h.leave(); <-h.left })
	return h
}

func (h *held) Open() journal.Journal {
	h.leave()
	<-h.left
	ctx, leave := context.WithCancel(context.Background())
	h.leave, h.left = leave, make(chan struct{})
	fences := make(chan store.Fence)
	go func(left chan struct{}) {
		defer close(left)
		h.store.HoldFenced(ctx, "transactions", func(work context.Context, f store.Fence) {
			fences <- f
			<-work.Done()
		})
	}(h.left)
	f := <-fences
	if h.broken != nil {
		f = h.broken(f)
	}
	return stored.New(h.store, f, "txn")
}

func recovered(t *testing.T, h *held) (journal.Journal, uint64) {
	t.Helper()
	j := h.Open()
	term, _, err := j.Recover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return j, term
}

func TestContract(t *testing.T) {
	journaltest.Run(t, func(t *testing.T) journaltest.Content { return newHeld(t, mem.New()) })
}

// silent applies commits and says that it did not, as often as next says.
type silent struct {
	store.Fence
	next *int
}

var errTimeout = errors.New("no answer in time")

func (s silent) Commit(ctx context.Context, ops ...store.Op) (uint64, error) {
	v, err := s.Fence.Commit(ctx, ops...)
	if *s.next > 0 && err == nil {
		*s.next--
		return 0, errTimeout
	}
	return v, err
}

// TestACommitThatSeemedToFail was applied: the next one, of newer records and
// more of them, finds that out and goes through.
func TestACommitThatSeemedToFail(t *testing.T) {
	lost := 0
	h := newHeld(t, mem.New())
	h.broken = func(f store.Fence) store.Fence { return silent{f, &lost} }
	j, term := recovered(t, h)
	a1, a2, b1 := journaltest.Record("a", term, 1), journaltest.Record("a", term, 2), journaltest.Record("b", term, 1)
	for _, records := range [][]txn.Record{{a1}, {a2, b1}} {
		lost = 1
		if err := j.Append(t.Context(), records...); !errors.Is(err, errTimeout) || errors.Is(err, journal.ErrFenced) {
			t.Fatalf("Append = %v", err)
		}
	}
	if err := j.Append(t.Context(), journaltest.Record("a", term, 3), b1, journaltest.Record("c", term, 1)); err != nil {
		t.Fatalf("Append after lost answers: %v", err)
	}
	if _, got, err := h.Open().Recover(t.Context()); err != nil || len(got) != 3 || got[0].Seq != 3 {
		t.Fatalf("Recover = %v, %v", got, err)
	}
}

// TestSomebodyElsesRecordStays, though the lock says that there is nobody else.
func TestSomebodyElsesRecordStays(t *testing.T) {
	s := mem.New()
	h := newHeld(t, s)
	j, term := recovered(t, h)
	raw, err := journal.Encode(journaltest.Record("a", term+1, 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), store.Op{Key: "txn/tx/a", Value: raw}); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(t.Context(), journaltest.Record("a", term, 1)); !errors.Is(err, journal.ErrFenced) {
		t.Fatalf("Append = %v, want ErrFenced", err)
	}
}

func TestWhatIsNoJournalIsNamed(t *testing.T) {
	record, err := journal.Encode(journaltest.Record("a", 1, 1))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, key, value, want string }{
		{"a term that is no number", "txn/term", "seven", `txn/term is "seven": must be a number`},
		{"a record that is none", "txn/tx/a", "{}", "read txn/tx/a: journal: damaged record"},
		{"a record under another's key", "txn/tx/b", string(record), "it is that of a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := mem.New()
			if err := s.Commit(t.Context(), store.Op{Key: tc.key, Value: []byte(tc.value)}); err != nil {
				t.Fatal(err)
			}
			if _, _, err := newHeld(t, s).Open().Recover(t.Context()); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Recover = %v; want %q in it", err, tc.want)
			}
		})
	}
}
