package revision_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/policy/v1alpha1"
	"meshlite.dev/internal/store"
	"meshlite.dev/internal/store/mem"
)

// steps is a store whose transactions take one key, in the order that
// store.Store tells of. between is called before every step.
type steps struct {
	*mem.Store
	between func() error
}

func (s *steps) Get(ctx context.Context, key string) (store.Entry, error) {
	if err := s.between(); err != nil {
		return store.Entry{}, err
	}
	return s.Store.Get(ctx, key)
}

func (s *steps) List(ctx context.Context, prefix string) ([]store.Entry, error) {
	if err := s.between(); err != nil {
		return nil, err
	}
	return s.Store.List(ctx, prefix)
}

func (s *steps) Commit(ctx context.Context, ops ...store.Op) error {
	for _, op := range ops {
		if !op.Check {
			continue
		}
		e, err := s.Get(ctx, op.Key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if e.Version != op.IfVersion {
			return store.ErrConflict
		}
	}
	for _, pass := range []func(store.Op) bool{
		func(o store.Op) bool { return !o.Check && o.Value != nil },
		func(o store.Op) bool { return o.Check },
		func(o store.Op) bool { return !o.Check && o.Value == nil },
	} {
		for _, op := range ops {
			if !pass(op) {
				continue
			}
			if err := s.between(); err != nil {
				return err
			}
			if err := s.Store.Commit(ctx, op); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestNoOrderOfStepsBreaksTheRevision: on a store without transactions two
// keepers propose and sweep, each in the midst of the other's steps, and any of
// them may die between two. At every moment a restart finds a revision in
// force, whole.
func TestNoOrderOfStepsBreaksTheRevision(t *testing.T) {
	decoded := map[string]*policy.Document{} // by canonical form
	var one [3][12]policy.Proposal           // of each document, by its attempts
	for i, name := range []string{"a", "b", "c"} {
		for n := range one[i] {
			text := doc(name, n%10) + strings.Repeat("  effect: shadow\n", n/10)
			one[i][n] = files(name+".yaml", text)
			decoded[string(one[i][n].Documents[0].Canonical)] = one[i][n].Documents[0]
		}
	}
	decode := func(_ string, canonical []byte) (*policy.Document, error) {
		d := *decoded[string(canonical)]
		return &d, nil
	}
	for seed := uint64(80); seed < 110; seed++ { // among them those that found faults
		r := rand.New(rand.NewPCG(seed, 1))
		inner := mem.New()
		check := func(when string) {
			t.Helper()
			if err := complete(inner); err != nil {
				t.Fatalf("seed %d, %s: %v", seed, when, err)
			}
		}
		act := func(k *revision.Keeper) {
			var err error
			if r.IntN(3) == 0 {
				err = k.Sweep(t.Context())
			} else {
				var parts []policy.Proposal
				for i := range one {
					if r.IntN(4) > 0 {
						parts = append(parts, one[i][r.IntN(len(one[i]))])
					}
				}
				_, err = k.Propose(t.Context(), policy.Join(parts...))
			}
			if err != nil && !errors.Is(err, errDisk) && !errors.Is(err, store.ErrConflict) {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		first, second := &steps{Store: inner}, &steps{Store: inner}
		fault := func() error {
			check("between two steps")
			if r.IntN(60) == 0 {
				return errDisk
			}
			return nil
		}
		second.between = fault
		nested := false
		first.between = func() error {
			if !nested && r.IntN(3) == 0 {
				nested = true
				k := revision.NewOver(second, decode)
				for range 1 + r.IntN(12) {
					act(k)
				}
				nested = false
			}
			return fault()
		}
		propose(t, revision.NewOver(inner, decode), one[0][0])
		k := revision.NewOver(first, decode)
		for range 12 {
			act(k)
			if r.IntN(3) == 0 {
				k = revision.NewOver(first, decode) // died and came back
			}
		}
		if _, ok, err := revision.New(inner).Load(t.Context()); !ok || err != nil {
			t.Fatalf("seed %d, at the end: %v %v", seed, ok, err)
		}
	}
}

// complete follows the pointer of a store to the last document, without the
// cost of decoding any.
func complete(s *mem.Store) error {
	read := func(key string) (spec v1alpha1.PolicyRolloutSpec, err error) {
		e, err := s.Get(context.Background(), key)
		if err != nil {
			return spec, fmt.Errorf("%s: %w", key, err)
		}
		return spec, json.Unmarshal(e.Value, &spec)
	}
	pointer, err := read(revision.PointerKey)
	if err != nil {
		return err
	}
	set, err := read(revision.RevisionPrefix + pointer.Hash)
	if err != nil {
		return err
	}
	for _, p := range set.Pins {
		if _, err := s.Get(context.Background(), revision.DocumentPrefix+p.Document); err != nil {
			return fmt.Errorf("document %s of %s: %w", p.Document, pointer.Hash, err)
		}
	}
	return nil
}

// TestAnEditedDocumentIsNotRead: the store holds what it was given, or nothing.
func TestAnEditedDocumentIsNotRead(t *testing.T) {
	s := mem.New()
	propose(t, revision.New(s), files("a.yaml", doc("a", 1)))
	entries, err := s.List(t.Context(), revision.DocumentPrefix)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d documents: %v", len(entries), err)
	}
	other := files("a.yaml", doc("a", 2)).Documents[0]
	edited := fmt.Appendf(nil, `{"source":"a.yaml","document":%s}`, other.Canonical)
	if err := s.Commit(t.Context(), store.Op{Key: entries[0].Key, Value: edited}); err != nil {
		t.Fatal(err)
	}
	if rev, ok, err := revision.New(s).Load(t.Context()); err == nil || ok {
		t.Errorf("loaded %s", pins(rev))
	}
}

// TestAnEarlierFormIsReadAndReplaced: an earlier release kept "effect: enforce"
// in the canonical form, and records without names.
func TestAnEarlierFormIsReadAndReplaced(t *testing.T) {
	s := mem.New()
	const document = `{"apiVersion":"meshlite.dev/v1alpha1","kind":"ResiliencePolicy","metadata":{"name":"a","namespace":"default"},"spec":{"effect":"enforce","retry":{"attempts":1},"targetRefs":[{"kind":"Service","name":"a"}]}}`
	hash := sum(document)
	put := func(key, value string) {
		t.Helper()
		if err := s.Commit(t.Context(), store.Op{Key: key, Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
	}
	put("documents/"+hash, `{"source":"a.yaml","document":`+document+`}`)
	put("revisions/r1", `{"pins":[{"kind":"ResiliencePolicy","namespace":"default","name":"a","generation":7,"document":"`+hash+`"}]}`)
	put("revision", `{"hash":"r1","number":3,"builder":"1"}`)
	k := revision.New(s)
	rev, ok, err := k.Load(t.Context())
	if err != nil || !ok || rev.Number != 3 || pins(rev) != "rp/default/a@7=1" {
		t.Fatalf("loaded %s, number %d, %v %v", pins(rev), rev.Number, ok, err)
	}
	propose(t, k, files("a.yaml", doc("a", 1), "b.yaml", doc("b", 1)))
	if again, ok, err := revision.New(s).Load(t.Context()); err != nil || !ok || again.Number != 4 || pins(again) != "rp/default/a@7=1 rp/default/b@1=1" {
		t.Errorf("after the next proposal: %s, number %d, %v %v", pins(again), again.Number, ok, err)
	}
}

// TestACarriersOwnGenerationsAreKept, also when an object was made anew.
func TestACarriersOwnGenerationsAreKept(t *testing.T) {
	k := revision.New(mem.New())
	at := func(attempts int, generation int64) policy.Proposal {
		p := files("a.yaml", doc("a", attempts))
		p.Documents[0].Generation = generation
		return p
	}
	for _, step := range []struct {
		proposal policy.Proposal
		want     string
	}{
		{at(1, 4), "rp/default/a@4=1"},
		{at(2, 6), "rp/default/a@6=2"},
		{at(2, 8), "rp/default/a@8=2"},
		{at(3, 1), "rp/default/a@1=3"},
	} {
		if got := pins(propose(t, k, step.proposal)); got != step.want {
			t.Errorf("in force is %s, want %s", got, step.want)
		}
	}
}

func sum(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}
