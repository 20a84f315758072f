package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"meshlite.dev/internal/policy"
)

// atOnce is how many requests are under way.
const atOnce = 8

// Held implements policy.Writer. A version is the object's identity and its
// generation, which counts changes of the spec: a status that is written
// meanwhile moves neither.
func (w *Writer) Held(ctx context.Context, keys []policy.Key) (map[policy.Key]policy.Held, error) {
	out := map[policy.Key]policy.Held{}
	var mu sync.Mutex
	err := each(keys, func(k policy.Key) error {
		obj, err := w.resource(k).Get(ctx, k.Name, metav1.GetOptions{})
		if w.isAbsent(err) {
			return nil
		}
		if err != nil {
			return w.explain(k, err)
		}
		text, err := json.Marshal(document(obj))
		mu.Lock()
		defer mu.Unlock()
		out[k] = policy.Held{Text: text, Version: versionOf(obj)}
		return err
	})
	return out, err
}

func versionOf(obj *unstructured.Unstructured) string {
	return fmt.Sprintf("%s/%d", obj.GetUID(), obj.GetGeneration())
}

// document is the part of an object that its author wrote.
func document(obj *unstructured.Unstructured) map[string]any {
	meta := map[string]any{"name": obj.GetName(), "namespace": obj.GetNamespace()}
	if labels := obj.GetLabels(); len(labels) > 0 {
		meta["labels"] = labels
	}
	if notes := obj.GetAnnotations(); len(notes) > 0 {
		delete(notes, policy.LastApplied)
		if len(notes) > 0 {
			meta["annotations"] = notes
		}
	}
	return map[string]any{"apiVersion": obj.GetAPIVersion(), "kind": obj.GetKind(), "metadata": meta, "spec": obj.Object["spec"]}
}

// Check implements policy.Writer: the API server says what it would refuse, its
// admission and the user's rights included.
func (w *Writer) Check(ctx context.Context, changes []policy.Change) error {
	return each(changes, func(c policy.Change) error { return w.do(ctx, c, []string{metav1.DryRunAll}) })
}

// Write implements policy.Writer. Kubernetes has no transactions: what any part
// of a change set would be refused for is asked first.
func (w *Writer) Write(ctx context.Context, changes []policy.Change) error {
	if err := w.Check(ctx, changes); err != nil {
		return err
	}
	for i, c := range changes {
		err := w.do(ctx, c, nil)
		if err != nil && i > 0 {
			return fmt.Errorf("%d of %d documents are written, the rest is not: %w", i, len(changes), err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// each runs f for every item, some at once, and joins all errors in order.
func each[T any](items []T, f func(T) error) error {
	faults := make([]error, len(items))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, item := range items {
		g.Go(func() error {
			faults[i] = f(item)
			return nil
		})
	}
	_ = g.Wait() // the functions above return nil
	return errors.Join(faults...)
}

// do makes one change; dryRun is the API's option of that name.
func (w *Writer) do(ctx context.Context, c policy.Change, dryRun []string) error {
	if c.Version != "" {
		return w.edit(ctx, c, dryRun)
	}
	var err error
	if c.Document == nil {
		err = w.resource(c.Key).Delete(ctx, c.Name, metav1.DeleteOptions{DryRun: dryRun})
		if w.isAbsent(err) {
			return nil
		}
		return w.explain(c.Key, err)
	}
	obj, err := object(c.Document)
	if err != nil {
		return err
	}
	how := metav1.ApplyOptions{FieldManager: FieldManager, Force: w.force, DryRun: dryRun}
	if _, err = w.resource(c.Key).Apply(ctx, c.Name, obj, how); ourOwn(err) {
		how.Force = true
		_, err = w.resource(c.Key).Apply(ctx, c.Name, obj, how)
	}
	return w.explain(c.Key, err)
}

// ourOwn reports whether a conflict is with nothing but an earlier edit by
// meshctl, which the API server counts as another manager of the same name.
func ourOwn(err error) bool {
	var s apierrors.APIStatus
	if !apierrors.IsConflict(err) || !errors.As(err, &s) || s.Status().Details == nil {
		return false
	}
	causes := s.Status().Details.Causes
	return len(causes) > 0 && !slices.ContainsFunc(causes, func(c metav1.StatusCause) bool {
		return c.Type != metav1.CauseTypeFieldManagerConflict || !strings.Contains(c.Message, strconv.Quote(FieldManager))
	})
}

// object is a document as the API server takes it.
func object(d *policy.Document) (*unstructured.Unstructured, error) {
	obj := &unstructured.Unstructured{}
	if err := obj.UnmarshalJSON(d.Canonical); err != nil {
		return nil, fmt.Errorf("write %s: %w", d.Key, err)
	}
	obj.SetLabels(d.Labels)
	obj.SetAnnotations(d.Annotations)
	return obj, nil
}

// edit makes a change of an object that must still be as it was read. Whoever
// wrote only its status meanwhile does not stand in the way.
func (w *Writer) edit(ctx context.Context, c policy.Change, dryRun []string) error {
	for range 5 {
		now, err := w.resource(c.Key).Get(ctx, c.Name, metav1.GetOptions{})
		held := map[policy.Key]policy.Held{}
		if err == nil {
			held[c.Key] = policy.Held{Version: versionOf(now)}
		} else if !w.isAbsent(err) {
			return w.explain(c.Key, err)
		}
		if err := policy.Refused(held, []policy.Change{c}); err != nil {
			return err
		}
		err = w.replace(ctx, c, now, dryRun)
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			return w.explain(c.Key, err)
		}
	}
	return fmt.Errorf("%s is %w, again and again", c.Key, policy.ErrChanged)
}

// replace writes over now, nil or empty where there is none, and nothing newer.
func (w *Writer) replace(ctx context.Context, c policy.Change, now *unstructured.Unstructured, dryRun []string) error {
	there := now != nil && now.GetUID() != ""
	if c.Document == nil && !there {
		return nil
	}
	if c.Document == nil {
		uid, version := now.GetUID(), now.GetResourceVersion()
		return w.resource(c.Key).Delete(ctx, c.Name, metav1.DeleteOptions{DryRun: dryRun, Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}})
	}
	obj, err := object(c.Document)
	if err != nil {
		return err
	}
	if !there {
		_, err = w.resource(c.Key).Create(ctx, obj, metav1.CreateOptions{FieldManager: FieldManager, DryRun: dryRun})
		return err
	}
	now.Object["spec"] = obj.Object["spec"]
	now.SetLabels(c.Document.Labels)
	now.SetAnnotations(keep(now.GetAnnotations(), c.Document.Annotations))
	_, err = w.resource(c.Key).Update(ctx, now, metav1.UpdateOptions{FieldManager: FieldManager, DryRun: dryRun})
	return err
}

// keep returns next with kubectl's own annotation, which no editor shows.
func keep(now, next map[string]string) map[string]string {
	own, ok := now[policy.LastApplied]
	if !ok {
		return next
	}
	out := map[string]string{policy.LastApplied: own}
	for k, v := range next {
		out[k] = v
	}
	return out
}

// isAbsent tells an object that is not there from a kind or an API that is not.
func (w *Writer) isAbsent(err error) bool {
	var s apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &s) {
		return false
	}
	d := s.Status().Details
	return d != nil && d.Name != "" && d.Kind != "namespaces"
}
