package revision

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
	"meshlite.dev/internal/store"
)

// base is a revision as the store holds it.
type base struct {
	revision policy.Revision
	stored   map[string]*policy.Document // by the hash that each document stands under
}

func newBase(rev policy.Revision) base {
	b := base{rev, make(map[string]*policy.Document, len(rev.Documents))}
	for _, d := range rev.Documents {
		b.stored[d.Hash] = d
	}
	return b
}

// read returns the revision that the pointer names, and the pointer's entry.
// What is known already is not read again: it never changes.
func (k *Keeper) read(ctx context.Context) (b base, entry store.Entry, ok bool, err error) {
	for last := uint64(0); ; last = entry.Version {
		entry, err = k.store.Get(ctx, PointerKey)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return base{}, store.Entry{}, false, nil
		case err != nil:
			return base{}, entry, false, fmt.Errorf("read the pointer of the revision: %w", err)
		}
		b, err = k.follow(ctx, entry)
		// A revision that others replaced meanwhile may be gone half-way.
		if err == nil || !errors.Is(err, store.ErrNotFound) || entry.Version == last {
			return b, entry, err == nil, err
		}
	}
}

func (k *Keeper) follow(ctx context.Context, pointer store.Entry) (base, error) {
	var p v1alpha1.PolicyRolloutSpec
	if err := json.Unmarshal(pointer.Value, &p); err != nil {
		return base{}, fmt.Errorf("read the pointer of the revision: %w", err)
	}
	if p.Hash != k.known.revision.Hash {
		known, err := k.revision(ctx, p.Hash)
		if err != nil {
			return base{}, fmt.Errorf("read revision %d (%s): %w", p.Number, p.Hash, err)
		}
		k.known = known
	}
	k.known.revision.Number = p.Number
	return k.known, nil
}

func (k *Keeper) revision(ctx context.Context, hash string) (base, error) {
	raw, err := k.store.Get(ctx, RevisionPrefix+hash)
	if err != nil {
		return base{}, err
	}
	var rec v1alpha1.PolicyRolloutSpec
	if err := json.Unmarshal(raw.Value, &rec); err != nil {
		return base{}, err
	}
	values, err := k.values(ctx, rec.Pins)
	if err != nil {
		return base{}, err
	}
	b := base{policy.Revision{Hash: hash}, map[string]*policy.Document{}}
	for _, pin := range rec.Pins {
		d, err := k.document(ctx, pin, values)
		if err != nil {
			return base{}, fmt.Errorf("%s %s/%s: %w", pin.Kind, pin.Namespace, pin.Name, err)
		}
		b.revision.Documents = append(b.revision.Documents, d)
		b.stored[pin.Document] = d
	}
	return b, nil
}

// fewDocuments are read one by one; more are listed.
const fewDocuments = 16

// values lists the documents where many of pins are not known yet.
func (k *Keeper) values(ctx context.Context, pins []v1alpha1.Pin) (map[string][]byte, error) {
	unknown := 0
	for _, p := range pins {
		if k.known.stored[p.Document] == nil {
			unknown++
		}
	}
	if unknown <= fewDocuments {
		return nil, nil
	}
	entries, err := k.store.List(ctx, DocumentPrefix)
	if err != nil {
		return nil, fmt.Errorf("list documents: %w", err)
	}
	out := make(map[string][]byte, len(entries))
	for _, e := range entries {
		out[e.Key[len(DocumentPrefix):]] = e.Value
	}
	return out, nil
}

func (k *Keeper) document(ctx context.Context, pin v1alpha1.Pin, values map[string][]byte) (*policy.Document, error) {
	if d := k.known.stored[pin.Document]; d != nil && d.Key == (policy.Key{Kind: pin.Kind, Namespace: pin.Namespace, Name: pin.Name}) {
		if d.Generation == pin.Generation {
			return d, nil
		}
		next := *d
		next.Generation = pin.Generation
		return &next, nil
	}
	value, ok := values[pin.Document]
	if !ok {
		e, err := k.store.Get(ctx, DocumentPrefix+pin.Document)
		if err != nil {
			return nil, err
		}
		value = e.Value
	}
	var rec v1alpha1.PolicyRevisionSpec
	if err := json.Unmarshal(value, &rec); err != nil {
		return nil, err
	}
	d, err := k.decode(rec.Source, rec.Document.Raw)
	if err != nil {
		return nil, err
	}
	// An earlier release may have had another canonical form.
	if sum := sha256.Sum256(rec.Document.Raw); d.Hash != pin.Document && hex.EncodeToString(sum[:]) != pin.Document {
		return nil, fmt.Errorf("what is stored under %s is another document: it was edited", pin.Document)
	}
	d.Generation = pin.Generation
	return d, nil
}

// records are the writes of a revision: the set first, so that nobody takes its
// documents for garbage, and the pointer last. Documents that stored names are
// there already.
func records(rev policy.Revision, stored map[string]*policy.Document) ([]store.Op, error) {
	set := v1alpha1.PolicyRolloutSpec{Number: rev.Number, Documents: len(rev.Documents)}
	documents := map[string]v1alpha1.PolicyRevisionSpec{}
	for _, d := range rev.Documents {
		set.Pins = append(set.Pins, v1alpha1.Pin{Kind: d.Kind, Namespace: d.Namespace, Name: d.Name, Generation: d.Generation, Document: d.Hash})
		if stored[d.Hash] == nil {
			documents[d.Hash] = v1alpha1.PolicyRevisionSpec{
				Kind: d.Kind, Namespace: d.Namespace, Name: d.Name, Generation: d.Generation,
				Source: d.Source, Document: runtime.RawExtension{Raw: d.Canonical},
			}
		}
	}
	var ops []store.Op
	put := func(key string, v any) error {
		raw, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("encode %s: %w", key, err)
		}
		ops = append(ops, store.Op{Key: key, Value: raw})
		return nil
	}
	errs := []error{put(RevisionPrefix+rev.Hash, set)}
	for _, d := range rev.Documents {
		if spec, ok := documents[d.Hash]; ok {
			errs = append(errs, put(DocumentPrefix+d.Hash, spec))
			delete(documents, d.Hash)
		}
	}
	errs = append(errs, put(PointerKey, v1alpha1.PolicyRolloutSpec{Hash: rev.Hash, Number: rev.Number, Builder: Builder, Documents: len(rev.Documents)}))
	return ops, errors.Join(errs...)
}
