package crd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/gather"
)

// informer follows one kind in every namespace. Credentials that do not let it
// list are sent to refused.
func (s *Source) informer(kind string, refused chan<- error) (cache.SharedIndexInformer, error) {
	r := &reader{Source: s, kind: kind, refused: refused}
	lw := &cache.ListWatch{ListWithContextFunc: r.list, WatchFuncWithContext: r.watch}
	informer := cache.NewSharedIndexInformer(lw, &object{}, 0, cache.Indexers{})
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { s.gather.Touch() },
		DeleteFunc: func(any) { s.gather.Touch() },
		UpdateFunc: func(before, now any) {
			if itemOf(before.(*object)) != itemOf(now.(*object)) { // else it is a status, or annotations
				s.gather.Touch()
			}
		},
	})
	return informer, errors.Join(err, informer.SetTransform(trim), informer.SetWatchErrorHandlerWithContext(
		func(ctx context.Context, _ *cache.Reflector, err error) {
			if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				s.health.note(ctx, kind, explain(kind, err))
			}
		}))
}

// reader lists and watches one kind, for one informer.
type reader struct {
	*Source
	kind    string
	refused chan<- error

	// Owned by the informer, which makes one call at a time.
	listed bool      // the next watch goes on from a list
	until  time.Time // when the API server was asked to end the watch
}

func (r *reader) list(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	l, err := r.page(ctx, r.kind, o)
	r.health.note(ctx, r.kind, err)
	if apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) {
		select {
		case r.refused <- err:
		default: // told already
		}
	}
	if err != nil {
		return nil, err
	}
	r.listed = true
	r.gather.Touch()
	return l, nil
}

// watch goes on from where the last one ended only where that came to its end.
// One that was cut off is followed by a list: it ends so when the definition of
// the kind changes too, and then the last objects may have come as the old
// definition has them, without the fields that are new.
func (r *reader) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	lists := o.SendInitialEvents != nil && *o.SendInitialEvents
	if !lists && !r.listed && time.Now().Before(r.until) {
		r.until = time.Time{}
		return nil, apierrors.NewResourceExpired("the watch was cut off; listing anew")
	}
	o.Watch = true
	w, err := r.client.Get().Resource(resources[r.kind]).VersionedParams(&o, metav1.ParameterCodec).Watch(ctx)
	r.health.note(ctx, r.kind, explain(r.kind, err))
	if err != nil {
		return nil, err
	}
	r.listed, r.until = false, time.Now().Add(-time.Second)
	if o.TimeoutSeconds != nil {
		r.until = r.until.Add(time.Duration(*o.TimeoutSeconds) * time.Second)
	}
	if lists {
		r.gather.Touch()
	}
	return w, nil
}

// page reads one page of a kind's objects in every namespace.
func (s *Source) page(ctx context.Context, kind string, o metav1.ListOptions) (*objectList, error) {
	l := &objectList{}
	if err := s.client.Get().Resource(resources[kind]).VersionedParams(&o, metav1.ParameterCodec).Do(ctx).Into(l); err != nil {
		return nil, explain(kind, err)
	}
	return l, nil
}

// explain adds the cure to an error of the API server.
func explain(kind string, err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err):
		return fmt.Errorf("the API server serves no %s; apply manifests/crds: %w", kind, err)
	default:
		return fmt.Errorf("list and watch %s: %w", kind, err)
	}
}

// trim drops what nobody reads before it is kept.
func trim(o any) (any, error) {
	in, ok := o.(*object)
	if !ok {
		return o, nil
	}
	return &object{Spec: in.Spec, ObjectMeta: metav1.ObjectMeta{
		Namespace: in.Namespace, Name: in.Name, UID: in.UID, Generation: in.Generation, ResourceVersion: in.ResourceVersion, Labels: in.Labels,
	}}, nil
}

// health gathers what is wrong with any kind; "" is the API as a whole.
type health struct {
	gather *gather.Gatherer[item]

	mu     sync.Mutex
	faults map[string]error
}

func newHealth(g *gather.Gatherer[item]) *health {
	return &health{gather: g, faults: map[string]error{}}
}

// note takes the outcome of a call. What is served again may have changed
// without an event.
func (h *health) note(ctx context.Context, kind string, err error) {
	if ctx.Err() != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.faults[kind]
	h.faults[kind] = err
	if before == nil && err == nil {
		return
	}
	var all []error
	for _, k := range append([]string{""}, policy.Kinds()...) {
		if f := h.faults[k]; f != nil {
			all = append(all, f)
		}
	}
	h.gather.Trouble(ctx, errors.Join(all...))
	if err == nil && kind != "" {
		h.gather.Touch()
	}
}
