package kube

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	keys "meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/policy/v1alpha1"
	"meshlite.dev/internal/store"
)

// Keys that have objects of their own.
const (
	documentPrefix = keys.DocumentPrefix
	setPrefix      = keys.RevisionPrefix
	pointerKey     = keys.PointerKey
	pointerName    = "current"
)

// writtenAnnotation is another one after each write: the API gives no new
// version to an object that stays the same.
const writtenAnnotation = "meshlite.dev/written"

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Annotations: map[string]string{writtenAnnotation: rand.Text()[:12]}}
}

type (
	revision     v1alpha1.PolicyRevision
	revisionList = v1alpha1.PolicyRevisionList
	rollout      v1alpha1.PolicyRollout
	rolloutList  = v1alpha1.PolicyRolloutList
)

// place is the object that holds the value of one key.
type place struct {
	*Store
	key, name string
}

func (s *Store) at(key string) place {
	for _, prefix := range []string{documentPrefix, setPrefix} {
		if hash, ok := strings.CutPrefix(key, prefix); ok {
			return place{s, key, hash}
		}
	}
	if key == pointerKey {
		return place{s, key, pointerName}
	}
	sum := sha256.Sum256([]byte(key))
	return place{s, key, "value-" + hex.EncodeToString(sum[:16])} // any text, as a name
}

func (p place) document() bool { return strings.HasPrefix(p.key, documentPrefix) }

func (p place) get(ctx context.Context) (store.Entry, error) {
	if p.document() {
		o, err := p.revisions.Get(ctx, p.name, metav1.GetOptions{})
		if err != nil {
			return store.Entry{}, err
		}
		return (*revision)(o).entry()
	}
	o, err := p.rollouts.Get(ctx, p.name, metav1.GetOptions{})
	if err != nil {
		return store.Entry{}, err
	}
	return (*rollout)(o).entry()
}

func (p place) create(ctx context.Context, value []byte) error {
	if p.document() {
		o, err := revisionOf(p.name, value)
		if err == nil {
			_, err = p.revisions.Create(ctx, o, metav1.CreateOptions{})
		}
		return err
	}
	o, err := rolloutOf(p, value)
	if err == nil {
		_, err = p.rollouts.Create(ctx, o, metav1.CreateOptions{})
	}
	return err
}

// update replaces the object if it still has the resource version.
func (p place) update(ctx context.Context, value []byte, resourceVersion string) error {
	if p.document() {
		o, err := revisionOf(p.name, value)
		if err == nil {
			o.ResourceVersion = resourceVersion
			_, err = p.revisions.Update(ctx, o, metav1.UpdateOptions{})
		}
		return err
	}
	o, err := rolloutOf(p, value)
	if err == nil {
		o.ResourceVersion = resourceVersion
		_, err = p.rollouts.Update(ctx, o, metav1.UpdateOptions{})
	}
	return err
}

func (p place) delete(ctx context.Context, o metav1.DeleteOptions) error {
	if p.document() {
		return p.revisions.Delete(ctx, p.name, o)
	}
	return p.rollouts.Delete(ctx, p.name, o)
}

// version is a store version as the API writes it.
func version(v uint64) *string {
	s := strconv.FormatUint(v, 10)
	return &s
}

// entryOf puts an entry together. Resource versions are numbers that grow.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
func entryOf(key string, value []byte, resourceVersion string) (store.Entry, error) {
	v, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return store.Entry{}, fmt.Errorf("%s has resource version %q, which is no number", key, resourceVersion)
	}
	if value == nil {
		value = []byte{}
	}
	return store.Entry{Key: key, Value: value, Version: v}, nil
}

func revisionOf(name string, value []byte) (*v1alpha1.PolicyRevision, error) {
	o := &v1alpha1.PolicyRevision{ObjectMeta: meta(name)}
	if err := json.Unmarshal(value, &o.Spec); err != nil {
		return nil, fmt.Errorf("documents/%s: %w", name, err)
	}
	return o, nil
}

func (o *revision) entry() (store.Entry, error) {
	value, err := json.Marshal(o.Spec)
	if err != nil {
		return store.Entry{}, fmt.Errorf("documents/%s: %w", o.Name, err)
	}
	return entryOf(documentPrefix+o.Name, value, o.ResourceVersion)
}
