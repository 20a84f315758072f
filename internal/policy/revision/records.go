package revision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/store"
)

// read returns the revision that the pointer names, and the pointer's entry.
func (k *Keeper) read(ctx context.Context) (policy.Revision, store.Entry, bool, error) {
	entry, err := k.store.Get(ctx, pointerKey)
	if errors.Is(err, store.ErrNotFound) {
		return policy.Revision{}, store.Entry{}, false, nil
	}
	if err != nil {
		return policy.Revision{}, entry, false, fmt.Errorf("read the pointer of the revision: %w", err)
	}
	var p pointer
	if err := json.Unmarshal(entry.Value, &p); err != nil {
		return policy.Revision{}, entry, false, fmt.Errorf("read the pointer of the revision: %w", err)
	}
	rev, err := k.revision(ctx, p)
	return rev, entry, err == nil, err
}

func (k *Keeper) revision(ctx context.Context, p pointer) (policy.Revision, error) {
	raw, err := k.store.Get(ctx, revisionPrefix+p.Hash)
	if err != nil {
		return policy.Revision{}, fmt.Errorf("read revision %d (%s): %w", p.Number, p.Hash, err)
	}
	var rec revisionRecord
	if err := json.Unmarshal(raw.Value, &rec); err != nil {
		return policy.Revision{}, fmt.Errorf("read revision %d (%s): %w", p.Number, p.Hash, err)
	}
	rev := policy.Revision{Hash: p.Hash, Number: p.Number}
	for _, pin := range rec.Pins {
		d, err := k.document(ctx, pin)
		if err != nil {
			return policy.Revision{}, fmt.Errorf("read revision %d (%s): %s %s/%s: %w", p.Number, p.Hash, pin.Kind, pin.Namespace, pin.Name, err)
		}
		rev.Documents = append(rev.Documents, d)
	}
	rev.Changed = changed(policy.Revision{}, rev)
	return rev, nil
}

func (k *Keeper) document(ctx context.Context, p pin) (*policy.Document, error) {
	raw, err := k.store.Get(ctx, documentPrefix+p.Document)
	if err != nil {
		return nil, err
	}
	var rec documentRecord
	if err := json.Unmarshal(raw.Value, &rec); err != nil {
		return nil, err
	}
	d, err := k.decode(rec.Source, rec.Document)
	if err != nil {
		return nil, err
	}
	d.Generation = p.Generation
	return d, nil
}

// records are the writes of a revision, the pointer last. Documents that the
// stored revision before holds too stand already.
func records(rev, before policy.Revision) ([]store.Op, error) {
	stored := map[string]bool{}
	for _, d := range before.Documents {
		stored[d.Hash] = true
	}
	var rec revisionRecord
	var ops []store.Op
	put := func(key string, v any) error {
		raw, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("encode %s: %w", key, err)
		}
		ops = append(ops, store.Op{Key: key, Value: raw})
		return nil
	}
	var errs []error
	for _, d := range rev.Documents {
		rec.Pins = append(rec.Pins, pin{Kind: d.Kind, Namespace: d.Namespace, Name: d.Name, Generation: d.Generation, Document: d.Hash})
		if stored[d.Hash] {
			continue
		}
		errs = append(errs, put(documentPrefix+d.Hash, documentRecord{Source: d.Source, Document: d.Canonical}))
	}
	errs = append(errs,
		put(revisionPrefix+rev.Hash, rec),
		put(pointerKey, pointer{Hash: rev.Hash, Number: rev.Number, Builder: Builder}))
	return ops, errors.Join(errs...)
}

// garbage removes revisions beyond the newest keptRevisions, and the documents
// that only they name.
func (k *Keeper) garbage(ctx context.Context, next policy.Revision) ([]store.Op, error) {
	revisions, err := k.store.List(ctx, revisionPrefix)
	if err != nil {
		return nil, fmt.Errorf("list revisions: %w", err)
	}
	slices.SortFunc(revisions, func(a, b store.Entry) int { return int(int64(b.Version) - int64(a.Version)) }) // newest first
	needed := map[string]bool{}
	for _, d := range next.Documents {
		needed[documentPrefix+d.Hash] = true
	}
	var ops []store.Op
	for i, r := range revisions {
		if i >= keptRevisions-1 && r.Key != revisionPrefix+next.Hash {
			ops = append(ops, store.Op{Key: r.Key})
			continue
		}
		var rec revisionRecord
		if err := json.Unmarshal(r.Value, &rec); err != nil {
			return nil, fmt.Errorf("read %s: %w", r.Key, err)
		}
		for _, p := range rec.Pins {
			needed[documentPrefix+p.Document] = true
		}
	}
	documents, err := k.store.List(ctx, documentPrefix)
	if err != nil {
		return nil, fmt.Errorf("list documents: %w", err)
	}
	for _, d := range documents {
		if !needed[d.Key] {
			ops = append(ops, store.Op{Key: d.Key})
		}
	}
	return ops, nil
}
