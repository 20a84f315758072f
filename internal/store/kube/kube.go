// Package kube keeps small values in a Kubernetes API, in one namespace: versions
// of documents are PolicyRevisions, sets of them PolicyRollouts, the pointer is
// the PolicyRollout named current, and any other value a PolicyRollout that
// names its key. People read them with kubectl; xds-server alone writes them.
//
// Kubernetes has no transaction over several objects. A commit looks at every
// condition first, then puts what has none, then writes what has one, by the
// API's own compare-and-set, and deletes last. Documents and sets are named by
// the hash of their content, so what a commit that was cut short leaves behind
// is garbage and never half of a truth.
package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"

	policyv1alpha1 "meshlite.dev/internal/kube/generated/versioned/typed/policy/v1alpha1"
	"meshlite.dev/internal/store"
)

// timeout bounds one call of the API.
const timeout = 10 * time.Second

// Config of a Store. REST and Namespace are required.
type Config struct {
	REST      *rest.Config
	Namespace string       // where the objects live
	Log       *slog.Logger // nil discards
}

// Store keeps entries as objects. It implements store.Store, store.Locker and
// store.Board.
type Store struct {
	revisions policyv1alpha1.PolicyRevisionInterface
	rollouts  policyv1alpha1.PolicyRolloutInterface
	leases    coordinationv1.LeasesGetter
	namespace string
	log       *slog.Logger
}

var _ store.Store = (*Store)(nil)

// New returns a store that calls nothing yet.
func New(cfg Config) (*Store, error) {
	policies, err := policyv1alpha1.NewForConfig(cfg.REST)
	if err != nil {
		return nil, fmt.Errorf("set up the client for Kubernetes at %s: %w", cfg.REST.Host, err)
	}
	leases, err := coordinationv1.NewForConfig(cfg.REST)
	if err != nil {
		return nil, fmt.Errorf("set up the client for Kubernetes at %s: %w", cfg.REST.Host, err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Store{
		revisions: policies.PolicyRevisions(cfg.Namespace), rollouts: policies.PolicyRollouts(cfg.Namespace),
		leases: leases, namespace: cfg.Namespace, log: cfg.Log,
	}, nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	e, err := s.at(key).get(ctx)
	switch {
	case apierrors.IsNotFound(err):
		return store.Entry{}, store.ErrNotFound
	case err != nil:
		return store.Entry{}, fmt.Errorf("read %s of Kubernetes: %w", key, err)
	}
	return e, nil
}

// Commit implements store.Store, in the order of the package comment.
func (s *Store) Commit(ctx context.Context, ops ...store.Op) error {
	var puts, checked, deletes []store.Op
	for _, op := range ops {
		switch {
		case op.Check:
			checked = append(checked, op)
		case op.Value == nil:
			deletes = append(deletes, op)
		default:
			puts = append(puts, op)
		}
	}
	if len(ops) > 1 { // one alone is compared as it is written
		if err := s.eachOf(ctx, checked, s.met); err != nil {
			return err
		}
	}
	for len(puts) > 0 {
		n := 1 // versions of documents stand for themselves: their order is free
		for n < len(puts) && s.at(puts[0].Key).document() && s.at(puts[n].Key).document() {
			n++
		}
		if err := s.eachOf(ctx, puts[:n], s.put); err != nil {
			return err
		}
		puts = puts[n:]
	}
	for _, op := range checked {
		if err := s.swap(ctx, op); err != nil {
			return err
		}
	}
	return s.eachOf(ctx, deletes, s.delete)
}

// atOnce is how many calls of one commit run side by side.
const atOnce = 16

// eachOf does all ops whatever becomes of the others.
func (s *Store) eachOf(ctx context.Context, ops []store.Op, do func(context.Context, store.Op) error) error {
	errs := make([]error, len(ops))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, op := range ops {
		g.Go(func() error {
			errs[i] = do(ctx, op)
			return nil
		})
	}
	_ = g.Wait() // the functions above return nil
	return errors.Join(errs...)
}

// met reports ErrConflict where the condition of op does not hold now.
func (s *Store) met(ctx context.Context, op store.Op) error {
	e, err := s.Get(ctx, op.Key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if e.Version != op.IfVersion {
		return store.ErrConflict
	}
	return nil
}

// put writes a value whatever stands there. A value that another replica writes
// at the same time is written again, and one that stands already is marked: who
// has taken it for garbage then sees a new version, and lets it be.
func (s *Store) put(ctx context.Context, op store.Op) error {
	op.Check, op.IfVersion = true, 0
	for {
		err := s.swap(ctx, op)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		e, err := s.Get(ctx, op.Key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		op.IfVersion = e.Version
	}
}

// swap writes or deletes by compare-and-set.
func (s *Store) swap(ctx context.Context, op store.Op) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	at := s.at(op.Key)
	var err error
	switch {
	case op.Value == nil && op.IfVersion == 0:
		return s.met(ctx, op)
	case op.Value == nil:
		err = at.delete(ctx, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: version(op.IfVersion)}})
	case op.IfVersion == 0:
		err = at.create(ctx, op.Value)
	default:
		err = at.update(ctx, op.Value, *version(op.IfVersion))
	}
	switch {
	case err == nil:
		return nil
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err) && op.IfVersion != 0:
		return store.ErrConflict
	}
	return fmt.Errorf("write %s to Kubernetes: %w", op.Key, err)
}

func (s *Store) delete(ctx context.Context, op store.Op) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := s.at(op.Key).delete(ctx, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s of Kubernetes: %w", op.Key, err)
	}
	return nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]store.Entry, error) {
	var out []store.Entry
	keep := func(e store.Entry, err error) error {
		if err == nil && strings.HasPrefix(e.Key, prefix) {
			out = append(out, e)
		}
		return err
	}
	err := s.eachRollout(ctx, func(o *rollout) error { return keep(o.entry()) })
	if err == nil && overlap(prefix, documentPrefix) {
		err = s.eachRevision(ctx, func(o *revision) error { return keep(o.entry()) })
	}
	if err != nil {
		return nil, fmt.Errorf("list %s of Kubernetes: %w", prefix, err)
	}
	slices.SortFunc(out, func(a, b store.Entry) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

// overlap reports whether a key can start with both.
func overlap(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }

const pageSize = 500

func (s *Store) eachRollout(ctx context.Context, do func(*rollout) error) error {
	for o := (metav1.ListOptions{Limit: pageSize}); ; {
		page, err := call(ctx, func(ctx context.Context) (*rolloutList, error) { return s.rollouts.List(ctx, o) })
		if err != nil {
			return err
		}
		for i := range page.Items {
			if err := do((*rollout)(&page.Items[i])); err != nil {
				return err
			}
		}
		if o.Continue = page.Continue; o.Continue == "" {
			return nil
		}
	}
}

func (s *Store) eachRevision(ctx context.Context, do func(*revision) error) error {
	for o := (metav1.ListOptions{Limit: pageSize}); ; {
		page, err := call(ctx, func(ctx context.Context) (*revisionList, error) { return s.revisions.List(ctx, o) })
		if err != nil {
			return err
		}
		for i := range page.Items {
			if err := do((*revision)(&page.Items[i])); err != nil {
				return err
			}
		}
		if o.Continue = page.Continue; o.Continue == "" {
			return nil
		}
	}
}

func call[T any](ctx context.Context, do func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return do(ctx)
}
