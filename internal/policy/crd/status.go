package crd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"meshlite.dev/internal/kube"
	"meshlite.dev/internal/policy"
)

// writers is how many statuses are written at once.
const writers = 8

// StatusSink writes statuses into the objects' status by server-side apply.
type StatusSink struct{ client *rest.RESTClient }

var _ policy.StatusSink = (*StatusSink)(nil)

// NewStatusSink returns a sink that calls nothing yet.
func NewStatusSink(cfg *rest.Config) (*StatusSink, error) {
	client, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	return &StatusSink{client}, nil
}

// WriteStatus implements policy.StatusSink. Fields that others wrote into a
// status stay; those of an earlier release of ours that no status has any more
// go.
func (s *StatusSink) WriteStatus(ctx context.Context, statuses []policy.Status) error {
	errs := make([]error, len(statuses))
	var g errgroup.Group
	g.SetLimit(writers)
	for i, status := range statuses {
		g.Go(func() error {
			errs[i] = s.apply(ctx, status)
			return nil
		})
	}
	_ = g.Wait() // the functions above return nil
	return errors.Join(errs...)
}

func (s *StatusSink) apply(ctx context.Context, status policy.Status) error {
	resource, ok := resources[status.Kind]
	if !ok {
		return fmt.Errorf("write the status of %s: Kubernetes holds no such kind", status.Key)
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": policy.APIVersion, "kind": status.Kind,
		"metadata": map[string]any{"name": status.Name, "namespace": status.Namespace},
		"status":   status.PolicyStatus,
	})
	if err != nil {
		return fmt.Errorf("write the status of %s: %w", status.Key, err)
	}
	ctx, cancel := context.WithTimeout(ctx, direct)
	defer cancel()
	force := true // nobody else writes these fields
	err = s.client.Patch(types.ApplyPatchType).Namespace(status.Namespace).Resource(resource).Name(status.Name).SubResource("status").
		VersionedParams(&metav1.PatchOptions{FieldManager: kube.FieldManager, Force: &force}, metav1.ParameterCodec).
		Body(body).Do(ctx).Error()
	// The object is gone, or another replica writes the same just now.
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return fmt.Errorf("write the status of %s: %w", status.Key, err)
}
