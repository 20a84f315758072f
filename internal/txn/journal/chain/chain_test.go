package chain_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"meshlite.dev/internal/store"
	"meshlite.dev/internal/store/mem"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/journal"
	"meshlite.dev/internal/txn/journal/chain"
	"meshlite.dev/internal/txn/journal/journaltest"
)

// oneKey is a store that changes one key at a time: a commit of more is a fault of
// the journal's, deletes apart, which may come one by one.
type oneKey struct {
	store.Store
	t *testing.T
}

func (s oneKey) Commit(ctx context.Context, ops ...store.Op) error {
	for _, op := range ops {
		if len(ops) > 1 && (op.Check || op.Value != nil) {
			s.t.Errorf("%d operations in one commit, with %s", len(ops), op.Key)
		}
		if err := s.Store.Commit(ctx, op); err != nil {
			return err
		}
	}
	return nil
}

type content struct{ store.Store }

func (c content) Open() journal.Journal { return chain.New(c, "txn") }

func TestContract(t *testing.T) {
	journaltest.Run(t, func(t *testing.T) journaltest.Content { return content{oneKey{mem.New(), t}} })
}

func recovered(t *testing.T, s store.Store) (journal.Journal, uint64, []txn.Record) {
	t.Helper()
	j := chain.New(s, "txn")
	term, records, err := j.Recover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return j, term, records
}

func batches(t *testing.T, s store.Store) int {
	t.Helper()
	entries, err := s.List(t.Context(), "txn/log/")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestTheChainStaysShort: however much is written, what is kept goes with what lives.
func TestTheChainStaysShort(t *testing.T) {
	s := mem.New()
	j, term, _ := recovered(t, s)
	most := 0
	for i := range 3_000 {
		id := txn.ID(fmt.Sprint("t", i))
		for seq := range uint64(2) {
			if err := j.Append(t.Context(), journaltest.Record(id, term, seq+1)); err != nil {
				t.Fatal(err)
			}
		}
		if i >= 20 {
			if err := j.Forget(t.Context(), txn.ID(fmt.Sprint("t", i-20))); err != nil {
				t.Fatal(err)
			}
		}
		if i%100 == 0 {
			most = max(most, batches(t, s))
		}
	}
	if most > 200 {
		t.Errorf("%d batches are kept of 20 transactions", most)
	}
	_, _, records := recovered(t, s)
	if len(records) != 20 || records[0].ID != "t2980" || records[0].Seq != 2 {
		t.Errorf("%d records, from %s", len(records), records[0].ID)
	}
}

// TestALateWriteOfOneThatIsShutOut: a former coordinator's batch, and even its head,
// arrive after the next one has recovered. They mean nothing, now and later.
func TestALateWriteOfOneThatIsShutOut(t *testing.T) {
	s := mem.New()
	slow := &faulty{Store: s, t: t}
	old, first, _ := recovered(t, slow)
	if err := old.Append(t.Context(), journaltest.Record("a", first, 1)); err != nil {
		t.Fatal(err)
	}
	slow.fate = func(op store.Op) fate {
		if strings.HasSuffix(op.Key, "/head") {
			return later
		}
		return done
	}
	if err := old.Append(t.Context(), journaltest.Record("a", first, 2), journaltest.Record("b", first, 1)); !errors.Is(err, errAway) {
		t.Fatalf("Append = %v", err)
	}
	next, second, records := recovered(t, s)
	if len(records) != 1 || records[0].Seq != 1 {
		t.Fatalf("recovered %v", records)
	}
	slow.arrive()
	if err := next.Append(t.Context(), journaltest.Record("a", second, 2)); err != nil {
		t.Fatal(err)
	}
	slow.fate = nil
	if err := old.Append(t.Context(), journaltest.Record("b", first, 1)); !errors.Is(err, journal.ErrFenced) {
		t.Errorf("Append of the former = %v, want ErrFenced", err)
	}
	if _, _, records := recovered(t, s); len(records) != 1 || records[0].Term != second {
		t.Errorf("at last it has %v", records)
	}
}

func TestWhatIsDamagedIsNotRecovered(t *testing.T) {
	for name, spoil := range map[string]func(s *mem.Store, batch string) store.Op{
		"a batch that is missing": func(_ *mem.Store, b string) store.Op { return store.Op{Key: b} },
		"one that is cut":         func(s *mem.Store, b string) store.Op { return store.Op{Key: b, Value: value(t, s, b)[:90]} },
		"one with more":           func(s *mem.Store, b string) store.Op { return store.Op{Key: b, Value: append(value(t, s, b), 'x')} },
		"one that is no JSON":     func(_ *mem.Store, b string) store.Op { return store.Op{Key: b, Value: []byte("{")} },
		"one that names itself": func(_ *mem.Store, b string) store.Op {
			return store.Op{Key: b, Value: []byte(`{"version":1,"prev":"` + strings.TrimPrefix(b, "txn/log/") + `"}` + "\n")}
		},
		"one of a later release": func(_ *mem.Store, b string) store.Op { return store.Op{Key: b, Value: []byte(`{"version":2}`)} },
		"a head of a later one":  func(*mem.Store, string) store.Op { return store.Op{Key: "txn/head", Value: []byte(`{"version":2}`)} },
		"a head that is no JSON": func(*mem.Store, string) store.Op { return store.Op{Key: "txn/head", Value: []byte(`x`)} },
		"a size that is negative": func(_ *mem.Store, b string) store.Op {
			return store.Op{Key: b, Value: []byte(`{"version":1,"sizes":[-1]}` + "\n")}
		},
	} {
		s := mem.New()
		j, term, _ := recovered(t, s)
		if err := j.Append(t.Context(), journaltest.Record("a", term, 1)); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context(), spoil(s, "txn/log/1-1")); err != nil {
			t.Fatal(err)
		}
		if _, records, err := chain.New(s, "txn").Recover(t.Context()); err == nil {
			t.Errorf("%s: recovered %v", name, records)
		}
	}
}

func value(t *testing.T, s store.Store, key string) []byte {
	t.Helper()
	e, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{}, e.Value...)
}

// fate is what becomes of a commit.
type fate int

const (
	done   fate = iota
	lost        // it says that it failed, and did
	silent      // it says that it failed, and was applied
	later       // it says that it failed, and is applied at arrive
)

var errAway = errors.New("no answer in time")

// faulty is a store whose commits go wrong.
type faulty struct {
	store.Store
	t    *testing.T
	fate func(store.Op) fate
	late []store.Op
}

func (f *faulty) Commit(ctx context.Context, ops ...store.Op) error {
	fates := done
	if f.fate != nil {
		fates = f.fate(ops[0])
	}
	switch fates {
	case lost:
		return errAway
	case later:
		f.late = append(f.late, ops...)
		return errAway
	}
	err := f.Store.Commit(ctx, ops...)
	if fates == silent {
		return errAway
	}
	return err
}

// arrive applies what is late, in any order, as far as it can be applied.
func (f *faulty) arrive() {
	rand.Shuffle(len(f.late), func(i, k int) { f.late[i], f.late[k] = f.late[k], f.late[i] })
	for _, op := range f.late {
		if err := f.Store.Commit(f.t.Context(), op); err != nil && !errors.Is(err, store.ErrConflict) {
			f.t.Error(err)
		}
	}
	f.late = nil
}

// TestNoOrderOfFaultsLosesARecord: coordinators come one after the other and go on
// without knowing that they are replaced, while commits are lost, applied in silence,
// or applied late. What an append said is there; who was replaced is told so; and what
// a former one could not be sure of is what the next one finds, once and for all.
func TestNoOrderOfFaultsLosesARecord(t *testing.T) {
	for range 300 {
		seed := rand.Uint64()
		if !survives(t, seed) {
			t.Fatalf("seed %d", seed)
		}
	}
}

// keeper is a coordinator's handle and what it knows to be durable.
type keeper struct {
	j    journal.Journal
	term uint64
	seq  map[txn.ID]uint64 // of the newest record that it tried to write
}

func survives(t *testing.T, seed uint64) bool {
	random := rand.New(rand.NewPCG(seed, 1))
	base := mem.New()
	bad := &faulty{Store: base, t: t}
	bad.fate = func(store.Op) fate {
		return []fate{done, done, done, done, done, done, lost, silent, later}[random.IntN(9)]
	}
	sure := map[txn.ID]txn.Record{} // what the journal must have, at least
	var all []*keeper
	begin := func() bool {
		k := &keeper{j: chain.New(bad, "txn"), seq: map[txn.ID]uint64{}}
		term, records, err := k.j.Recover(t.Context())
		if err != nil {
			return !errors.Is(err, journal.ErrDamaged)
		}
		k.term = term
		found := map[txn.ID]txn.Record{}
		for _, r := range records {
			found[r.ID], k.seq[r.ID] = r, 0
			if r.Term >= term {
				t.Errorf("term %d finds a record of term %d", term, r.Term)
			}
		}
		for id, want := range sure {
			got, ok := found[id]
			if !ok || got.Term < want.Term || got.Term == want.Term && got.Seq < want.Seq {
				t.Errorf("term %d finds %d of term %d of %s; %d of term %d was written", term, got.Seq, got.Term, id, want.Seq, want.Term)
			}
		}
		sure = found // whatever it is, it stays so
		all = append(all, k)
		return true
	}
	for range 120 {
		if random.IntN(10) == 0 {
			bad.arrive()
		}
		if len(all) == 0 || random.IntN(12) == 0 {
			if !begin() {
				t.Error("it is damaged")
			}
			continue
		}
		newest := len(all) - 1
		k := all[newest]
		if random.IntN(4) == 0 {
			k = all[random.IntN(len(all))]
		}
		id := txn.ID(fmt.Sprint("t", random.IntN(6)))
		if random.IntN(10) == 0 {
			_ = k.j.Forget(t.Context(), id) // what it says does not matter: sure has what must not go
			if k == all[newest] {
				delete(sure, id) // or it may be
			}
			continue
		}
		k.seq[id]++
		r := journaltest.Record(id, k.term, k.seq[id])
		err := k.j.Append(t.Context(), r)
		switch {
		case k != all[newest] && err == nil:
			t.Errorf("term %d of %d appends %s", k.term, all[newest].term, id)
		case k == all[newest] && err == nil:
			sure[id] = r
		}
	}
	bad.fate = nil
	bad.arrive()
	_, _, records := recovered(t, base)
	_, _, again := recovered(t, base)
	if !reflect.DeepEqual(records, again) {
		t.Error("two recoveries differ")
	}
	for id, want := range sure {
		i := 0
		for i < len(records) && records[i].ID != id {
			i++
		}
		if i == len(records) || records[i].Term < want.Term || records[i].Term == want.Term && records[i].Seq < want.Seq {
			t.Errorf("at last %s is not there as it was written", id)
		}
	}
	return !t.Failed()
}
